"""Regions and labelled sequences that cannot be used: BED and CSV of the list of bad inputs."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import Manifest, read_manifest
from tests.jobs.bad_inputs import (
    PREPARE,
    SEQUENCES,
    Case,
    Change,
    User,
    as_it_is,
    edited,
    holds,
    is_folder,
    removed,
)

BED, CSV = "regions.bed", "train.csv"
TABS = "write contig, start and end with tabs between"
DIGITS = "is not a whole number written in digits; write it out, such as 1000; header lines begin "
DIGITS += "with #"
COUNTS = "BED is 0-based, half-open"
TWICE = "remove one of them, for example with cut -f1-3 | sort -u"


def row(text: str, name: str = BED) -> Change:
    """One more row, the 25th."""
    return edited(name, lambda content: content + text.encode())


def renamed(old: bytes, new: bytes, *names: str) -> Change:
    """A contig has another name in some files."""

    def change(folder: Path) -> None:
        for name in names:
            edited(name, lambda content: content.replace(old, new))(folder)

    return change


BAD_BED: dict[str, tuple[Change, str]] = {
    "missing": (removed(BED), "regions.bed: there is no such file; give --regions a BED file"),
    "folder": (is_folder(BED), "regions.bed: is a folder, not a file; give --regions a BED file"),
    "two columns": (
        row("chr1\t5\n"),
        f"regions.bed:25: chr1 5: fewer than three columns; {TABS}",
    ),
    "1e3": (row("chr1\t1e3\t1100\n"), f"regions.bed:25: 1e3: start {DIGITS}"),
    "10.5": (row("chr1\t5\t10.5\n"), f"regions.bed:25: 10.5: end {DIGITS}"),
    "negative": (row("chr1\t-5\t9\n"), f"regions.bed:25: -5: start is negative; {COUNTS}"),
    "start at end": (
        row("chr1\t9\t9\n"),
        f"regions.bed:25: chr1:9-9: end 9 is not after start 9; {COUNTS}",
    ),
    "start above end": (
        row("chr1\t90\t30\n"),
        f"regions.bed:25: chr1:90-30: end 30 is not after start 90; {COUNTS}",
    ),
    "end past the contig": (
        row("chr1\t1190\t1201\n"),
        "regions.bed:25: chr1:1190-1201: ends past the contig, which has 1200 bases; "
        "give the BED of this very assembly",
    ),
    "unknown contig": (
        row("chr9\t5\t9\n"),
        "regions.bed:25: chr9: the genome has no such contig; the genome has chr1, chr2, chr3: "
        "give regions of this very assembly",
    ),
    "1 against chr1": (
        renamed(b"chr1", b"1", BED),
        "regions.bed:1: 1: the genome has no such contig; the genome calls it chr1: rename with "
        """awk -F'\\t' -v OFS='\\t' 'BEGIN {n["1"]="chr1"} $1 in n {$1=n[$1]} 1' regions.bed > """
        "renamed_regions.bed",
    ),
    "1 against 01": (
        renamed(b"chr1", b"01", "genome.fa"),
        "regions.bed:1: chr1: the genome has no such contig; the genome calls it 01: rename with "
        """awk -F'\\t' -v OFS='\\t' 'BEGIN {n["chr1"]="01"} $1 in n {$1=n[$1]} 1' regions.bed > """
        "renamed_regions.bed",
    ),
    "huge integer": (
        row("chr1\t5\t99999999999999999999\n"),
        f"regions.bed:25: 99999999999999999999: end is larger than any contig; {COUNTS}",
    ),
    "blanks": (
        row("chr1 5 9\n"),
        f"regions.bed:25: chr1 5 9: columns are separated by blanks; {TABS}",
    ),
    "column names": (
        holds(BED, "chrom\tstart\tend\nchr1\t5\t9\n"),
        f"regions.bed:1: start: start {DIGITS}",
    ),
    "quoted newline": (
        row('"chr\n1"\t5\t9\n'),
        f'regions.bed:25: "chr: fewer than three columns; {TABS}',
    ),
    "duplicate interval": (
        row("chr1\t10\t25\n"),
        f"regions.bed:25: chr1:10-25: repeats the interval of line 1; {TWICE}",
    ),
    "conflicting labels": (
        holds(BED, "chr1\t5\t9\tZ-DNA\nchr1\t5\t9\tnone\n"),
        f"regions.bed:2: chr1:5-9: repeats the interval of line 1; {TWICE}",
    ),
    "one class": (
        holds(BED, "chr1\t0\t1200\nchr2\t0\t1200\nchr3\t0\t1200\n"),
        "--regions: train, 20 bases: every base is labelled, so that there is one class only; "
        "give regions, not whole contigs, or --negatives above 0",
    ),
    "none in a split": (
        holds(BED, "chr1\t5\t9\n"),
        "--split: contig:train=chr1;val=chr2;test=chr3: val has no window of 20 bases with a "
        "labelled one; give it contigs that the regions name, or shorter windows",
    ),
    "no rows": (
        holds(BED, "# nothing\n"),
        "regions.bed: there is no interval in the file; give --regions a BED file",
    ),
    "not UTF-8": (
        edited(BED, lambda content: content + b"chr\xff\t5\t9\n"),
        "regions.bed:25: not UTF-8; give a BED text file",
    ),
    "control characters": (
        row("chr1\x1b[31m 5 9\n"),
        rf"regions.bed:25: chr1\x1b[31m 5 9: columns are separated by blanks; {TABS}",
    ),
    "truncated gzip": (
        edited(BED, lambda content: gzip.compress(content)[:-9]),
        "regions.bed: damaged gzip (...); copy or download the file again",
    ),
}


@pytest.mark.parametrize("case", BAD_BED)
def test_regions_that_cannot_be_read_are_refused(user: User, case: str) -> None:
    change, line = BAD_BED[case]
    user.is_refused(Case(change, PREPARE, line))


def test_a_blacklist_is_read_as_strictly_as_regions(user: User) -> None:
    line = f"mask.bed:1: -5: start is negative; {COUNTS}"
    user.is_refused(
        Case(holds("mask.bed", "chr1\t-5\t9\n"), f"{PREPARE} --blacklist mask.bed", line)
    )


HEAD = "sequence,label\n"
EXAMPLE = "write a first line sequence,label and then lines such as ACGTTGCA,1"
BAD_CSV: dict[str, tuple[Change, str]] = {
    "missing": (removed(CSV), "train.csv: there is no such file; give --train a CSV file"),
    "folder": (is_folder(CSV), "train.csv: is a folder, not a file; give --train a CSV file"),
    "one column": (
        holds(CSV, HEAD + "ACGTA\n"),
        f"train.csv:2: 1 columns: the first line has 2; {EXAMPLE}",
    ),
    "missing column": (
        holds(CSV, "sequence,class\nACGTA,1\n"),
        f"train.csv:1: sequence,class: the column label is missing; {EXAMPLE}",
    ),
    "duplicate column": (
        holds(CSV, "sequence,label,label\nACGTA,1,0\n"),
        f"train.csv:1: sequence,label,label: the column label is repeated; {EXAMPLE}",
    ),
    "blanks": (
        holds(CSV, "sequence label\nACGTA 1\n"),
        f"train.csv:1: sequence label: the column sequence is missing; {EXAMPLE}",
    ),
    "quoted newline": (
        holds(CSV, HEAD + '"ACG\nTA",1\n'),
        "train.csv:2: a line break is inside quotes; remove the quotes",
    ),
    "label not 0 or 1": (
        holds(CSV, HEAD + "ACGTA,2\n"),
        f"train.csv:2: 2: the label is neither 0 nor 1; {EXAMPLE}",
    ),
    "label 1e0": (
        holds(CSV, HEAD + "ACGTA,1e0\n"),
        f"train.csv:2: 1e0: the label is neither 0 nor 1; {EXAMPLE}",
    ),
    "label NA": (
        holds(CSV, HEAD + "ACGTA,NA\n"),
        f"train.csv:2: NA: the label is neither 0 nor 1; {EXAMPLE}",
    ),
    "one class": (
        holds(CSV, HEAD + "ACGTA,1\nCCCCC,1\n"),
        "train.csv: train: all sequences have label 1, so that there is one class only; "
        "give sequences of its own, of both labels",
    ),
    "no rows": (
        holds(CSV, HEAD),
        "train.csv: there is no sequence in the file; give --train a CSV file",
    ),
    "empty": (holds(CSV, ""), "train.csv: the file is empty; give --train a CSV file"),
    "not UTF-8": (
        holds(CSV, HEAD.encode() + b"ACGTA,1\nACG\xff,0\n"),
        "train.csv:3: not UTF-8; give a CSV text file",
    ),
    "protein": (
        holds(CSV, HEAD + "MKVLA,1\n"),
        "train.csv:2: 'M': letter 1 of the sequence is not one of A C G T N; "
        "give DNA; RNA, proteins and gaps cannot be read",
    ),
    "the test file as training file": (
        edited(CSV, lambda content: b"sequence,label\nACACA,1\nGTGTG,0\n"),
        "train.csv: train: every sequence is in the file of a later split as well; "
        "give sequences of its own, of both labels",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_sequences_that_cannot_be_read_are_refused(user: User, case: str) -> None:
    change, line = BAD_CSV[case]
    user.is_refused(Case(change, SEQUENCES, line))


def test_a_contig_is_not_put_into_train_and_test(user: User) -> None:
    command = PREPARE.replace("test=chr3", "test=chr1,chr3")
    line = "--split: chr1: the contig is named twice; give it to one split only"
    user.is_refused(Case(as_it_is, command, line))


SAME: dict[str, tuple[Change, str, str]] = {
    "BED with a BOM": (edited(BED, lambda c: b"\xef\xbb\xbf" + c), PREPARE, "data"),
    "BED with CRLF": (edited(BED, lambda c: c.replace(b"\n", b"\r\n")), PREPARE, "data"),
    "BED without final newline": (edited(BED, lambda c: c.rstrip(b"\n")), PREPARE, "data"),
    "BED with track and header lines": (
        edited(BED, lambda c: b"browser position chr1\ntrack name=x\n#chrom\tstart\tend\n\n" + c),
        PREPARE,
        "data",
    ),
    "CSV with a BOM": (edited(CSV, lambda c: b"\xef\xbb\xbf" + c), SEQUENCES, "sequences"),
    "CSV with CRLF": (edited(CSV, lambda c: c.replace(b"\n", b"\r\n")), SEQUENCES, "sequences"),
    "CSV without final newline": (edited(CSV, lambda c: c.rstrip(b"\n")), SEQUENCES, "sequences"),
    "CSV in lower case": (edited(CSV, bytes.lower), SEQUENCES, "sequences"),
}


@pytest.mark.parametrize("case", SAME)
def test_a_valid_spelling_gives_the_same_windows(user: User, case: str) -> None:
    change, command, plain = SAME[case]
    change(user.folder)
    done = user.runs(command)
    assert done.code == 0, done.stderr
    assert read_manifest(user.folder / "out").files == read_manifest(user.folder / plain).files


@pytest.mark.parametrize("name", ["NA", "01", "1e3", "../../x"])
def test_a_contig_may_be_called_anything_that_a_table_reader_would_change(
    user: User, name: str
) -> None:
    renamed(b"chr1", name.encode(), "genome.fa", BED)(user.folder)
    before = set(user.folder.parent.iterdir())
    done = user.runs(PREPARE.replace("chr1", name))
    assert done.code == 0, done.stderr
    found, plain = (positives(read_manifest(user.folder / name)) for name in ("out", "data"))
    assert found[name] == plain["chr1"] > 0
    assert set(user.folder.parent.iterdir()) == before


def positives(manifest: Manifest) -> Counter[str]:
    """Windows with a labelled base by contig."""
    return Counter({count.contig: count.positive for count in manifest.counts})


def test_a_sequence_of_train_and_test_is_dropped_from_train_and_said(user: User) -> None:
    row("ACACA,0\n", CSV)(user.folder)
    done = user.runs(SEQUENCES)
    assert done.code == 0
    assert "train: dropped 1 of 3 sequences that a later split has as well" in done.stdout
    assert positives(read_manifest(user.folder / "out"))["train"] == 1


def test_conflicting_labels_of_a_sequence_are_kept_and_said(user: User) -> None:
    row("ACGTA,0\n", CSV)(user.folder)
    done = user.runs(SEQUENCES)
    assert done.code == 0
    assert "train: " in done.stdout
    assert "kept 1 that repeat an earlier one and 2 that have both labels" in done.stdout
