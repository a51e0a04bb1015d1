"""Regions and labelled sequences that cannot be used: BED and CSV of the list of bad inputs."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import Manifest
from tests.jobs.bad_inputs import (
    PREPARE,
    SEQUENCES,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    edited,
    holds,
    is_folder,
    removed,
)

BED, CSV = "regions.bed", "train.csv"


def row(text: str, name: str = BED) -> Change:
    """One more row, the 25th."""
    return edited(name, lambda content: content + text.encode())


def renamed(old: bytes, new: bytes, *names: str) -> Change:
    """A contig has another name in some files."""

    def change(folder: Path) -> None:
        for name in names:
            edited(name, lambda content: content.replace(old, new))(folder)

    return change


BAD_BED: dict[str, tuple[Change, Line]] = {
    "missing": (removed(BED), at("regions.bed", "--regions", "no such file")),
    "folder": (is_folder(BED), at("regions.bed", "--regions", "folder")),
    "two columns": (
        row("chr1\t5\n"),
        at("regions.bed:25", "chr1 5", "fewer than three"),
    ),
    "1e3": (row("chr1\t1e3\t1100\n"), at("regions.bed:25", "1e3", "digits")),
    "10.5": (row("chr1\t5\t10.5\n"), at("regions.bed:25", "10.5", "digits")),
    "negative": (row("chr1\t-5\t9\n"), at("regions.bed:25", "-5", "negative", "0-based")),
    "start at end": (
        row("chr1\t9\t9\n"),
        at("regions.bed:25", "chr1:9-9", "0-based"),
    ),
    "start above end": (
        row("chr1\t90\t30\n"),
        at("regions.bed:25", "chr1:90-30", "0-based"),
    ),
    "end past the contig": (
        row("chr1\t1190\t1201\n"),
        at("regions.bed:25", "chr1:1190-1201", "ends past"),
    ),
    "unknown contig": (
        row("chr9\t5\t9\n"),
        at("regions.bed:25", "chr9", "no such contig"),
    ),
    "1 against chr1": (
        renamed(b"chr1", b"1", BED),
        at("regions.bed:1", "chr1", "no such contig", "renamed_regions.bed"),
    ),
    "1 against 01": (
        renamed(b"chr1", b"01", "genome.fa"),
        at("regions.bed:1", "chr1", "01", "no such contig", "renamed_regions.bed"),
    ),
    "huge integer": (
        row("chr1\t5\t99999999999999999999\n"),
        at("regions.bed:25", "99999999999999999999", "larger than any contig"),
    ),
    "blanks": (
        row("chr1 5 9\n"),
        at("regions.bed:25", "chr1 5 9", "blanks"),
    ),
    "trailing blank": (
        row("chr1\t5\t9 \n"),
        at("regions.bed:25", "'9 '", "blanks"),
    ),
    "blank behind the contig": (
        row("chr1 \t5\t9\n"),
        at("regions.bed:25", "'chr1 '", "blanks"),
    ),
    "quotes": (
        row('"chr1"\t"5"\t"9"\n'),
        at("regions.bed:25", '"chr1"', "quotes"),
    ),
    "quoted coordinate": (
        row('chr1\t"5"\t9\n'),
        at("regions.bed:25", '"5"', "quotes"),
    ),
    "column names": (
        holds(BED, "chrom\tstart\tend\nchr1\t5\t9\n"),
        at("regions.bed:1", "start", "digits"),
    ),
    "quoted newline": (
        row('"chr\n1"\t5\t9\n'),
        at("regions.bed:25", '"chr', "fewer than three"),
    ),
    "duplicate interval": (
        row("chr1\t10\t25\n"),
        at("regions.bed:25", "chr1:10-25", "line 1"),
    ),
    "conflicting labels": (
        holds(BED, "chr1\t5\t9\tZ-DNA\nchr1\t5\t9\tnone\n"),
        at("regions.bed:2", "chr1:5-9", "line 1"),
    ),
    "one class": (
        holds(BED, "chr1\t0\t1200\nchr2\t0\t1200\nchr3\t0\t1200\n"),
        at("--regions", "val, 40 bases", "--negatives", "one class only", "above 0"),
    ),
    "none in a split": (
        holds(BED, "chr1\t5\t9\n"),
        at("--split", "contig:train=chr1;val=chr2;test=chr3", "val", "40 bases"),
    ),
    "no rows": (
        holds(BED, "# nothing\n"),
        at("regions.bed", "--regions", "no intervals"),
    ),
    "not UTF-8": (
        edited(BED, lambda content: content + b"chr\xff\t5\t9\n"),
        at("regions.bed:25", "UTF-8"),
    ),
    "control characters": (
        row("chr1\x1b[31m 5 9\n"),
        at("regions.bed:25", "chr1\\x1b[31m 5 9", "blanks"),
    ),
    "truncated gzip": (
        edited(BED, lambda content: gzip.compress(content)[:-9]),
        at("regions.bed", "damaged"),
    ),
}


@pytest.mark.parametrize("case", BAD_BED)
def test_regions_that_cannot_be_read_are_refused(user: User, case: str) -> None:
    change, line = BAD_BED[case]
    user.is_refused(Case(change, PREPARE, line))


def test_a_blacklist_is_read_as_strictly_as_regions(user: User) -> None:
    line = at("mask.bed:1", "-5", "negative", "0-based")
    user.is_refused(
        Case(holds("mask.bed", "chr1\t-5\t9\n"), f"{PREPARE} --blacklist mask.bed", line)
    )


HEAD = "sequence,label\n"
BAD_CSV: dict[str, tuple[Change, Line]] = {
    "missing": (removed(CSV), at("train.csv", "--train", "no such file")),
    "folder": (is_folder(CSV), at("train.csv", "--train", "folder")),
    "one column": (
        holds(CSV, HEAD + "ACGTA\n"),
        at("train.csv:2", "1 columns"),
    ),
    "missing column": (
        holds(CSV, "sequence,class\nACGTA,1\n"),
        at("train.csv:1", "sequence,class", "missing"),
    ),
    "duplicate column": (
        holds(CSV, "sequence,label,label\nACGTA,1,0\n"),
        at("train.csv:1", "sequence,label,label", "label is repeated"),
    ),
    "blanks": (
        holds(CSV, "sequence label\nACGTA 1\n"),
        at("train.csv:1", "sequence label", "missing"),
    ),
    "quoted newline": (
        holds(CSV, HEAD + '"ACG\nTA",1\n'),
        at("train.csv:2", "quotes"),
    ),
    "label not 0 or 1": (
        holds(CSV, HEAD + "ACGTA,2\n"),
        at("train.csv:2", "2", "0 nor 1"),
    ),
    "label 1e0": (
        holds(CSV, HEAD + "ACGTA,1e0\n"),
        at("train.csv:2", "1e0", "label"),
    ),
    "label with a blank": (
        holds(CSV, HEAD + "ACGTA,1 \n"),
        at("train.csv:2", "'1 '", "label"),
    ),
    "label NA": (
        holds(CSV, HEAD + "ACGTA,NA\n"),
        at("train.csv:2", "NA", "label"),
    ),
    "one class": (
        holds(CSV, HEAD + "ACGTA,1\nCCCCC,1\n"),
        at("train.csv", "one class only", "of both labels"),
    ),
    "no rows": (
        holds(CSV, HEAD),
        at("train.csv", "--train", "no sequence in the file"),
    ),
    "empty": (holds(CSV, ""), at("train.csv", "--train", "empty")),
    "not UTF-8": (
        holds(CSV, HEAD.encode() + b"ACGTA,1\nACG\xff,0\n"),
        at("train.csv:3", "UTF-8"),
    ),
    "protein": (
        holds(CSV, HEAD + "MKVLA,1\n"),
        at("train.csv:2", "'M'"),
    ),
    "the test file as training file": (
        edited(CSV, lambda content: b"sequence,label\nACACA,1\nGTGTG,0\n"),
        at("train.csv", "of both labels"),
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_sequences_that_cannot_be_read_are_refused(user: User, case: str) -> None:
    change, line = BAD_CSV[case]
    user.is_refused(Case(change, SEQUENCES, line))


def test_a_split_by_table_gives_the_windows_of_the_rule(user: User) -> None:
    (user.folder / "splits.tsv").write_text("chr1\ttrain\nchr2\tval\nchr3\ttest\n")
    done = user.runs(PREPARE.replace("contig:train=chr1;val=chr2;test=chr3", "file:splits.tsv"))
    assert done.code == 0, done.stderr
    made, plain = (Manifest.read(user.folder / name) for name in ("out", "data"))
    assert made.files == plain.files
    assert made.inputs[-1].role == "split"
    assert made.fingerprint != plain.fingerprint


def test_a_contig_is_not_put_into_train_and_test(user: User) -> None:
    command = PREPARE.replace("test=chr3", "test=chr1,chr3")
    line = at("--split", "chr1", "twice")
    user.is_refused(Case(as_it_is, command, line))


SAME: dict[str, tuple[Change, str, str]] = {
    "BED with a BOM": (edited(BED, lambda c: b"\xef\xbb\xbf" + c), PREPARE, "data"),
    "BED with CRLF": (edited(BED, lambda c: c.replace(b"\n", b"\r\n")), PREPARE, "data"),
    "BED with CR": (edited(BED, lambda c: c.replace(b"\n", b"\r")), PREPARE, "data"),
    "BED without final newline": (edited(BED, lambda c: c.rstrip(b"\n")), PREPARE, "data"),
    "BED with track and header lines": (
        edited(BED, lambda c: b"browser position chr1\ntrack name=x\n#chrom\tstart\tend\n\n" + c),
        PREPARE,
        "data",
    ),
    "CSV with a BOM": (edited(CSV, lambda c: b"\xef\xbb\xbf" + c), SEQUENCES, "sequences"),
    "CSV with CRLF": (edited(CSV, lambda c: c.replace(b"\n", b"\r\n")), SEQUENCES, "sequences"),
    "CSV with CR": (edited(CSV, lambda c: c.replace(b"\n", b"\r")), SEQUENCES, "sequences"),
    "CSV without final newline": (
        edited(CSV, lambda c: c.rstrip(b"\n")),
        SEQUENCES,
        "sequences",
    ),
    "CSV in lower case": (edited(CSV, bytes.lower), SEQUENCES, "sequences"),
}


@pytest.mark.parametrize("case", SAME)
def test_a_valid_spelling_gives_the_same_windows(user: User, case: str) -> None:
    change, command, plain = SAME[case]
    change(user.folder)
    done = user.runs(command)
    assert done.code == 0, done.stderr
    assert Manifest.read(user.folder / "out").files == Manifest.read(user.folder / plain).files


@pytest.mark.parametrize("name", ["NA", "01", "1e3", "../../x"])
def test_a_contig_may_be_called_anything_that_a_table_reader_would_change(
    user: User, name: str
) -> None:
    renamed(b"chr1", name.encode(), "genome.fa", BED)(user.folder)
    before = set(user.folder.parent.iterdir())
    done = user.runs(PREPARE.replace("chr1", name))
    assert done.code == 0, done.stderr
    found, plain = (positives(Manifest.read(user.folder / name)) for name in ("out", "data"))
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
    assert positives(Manifest.read(user.folder / "out"))["train"] == 1


def test_conflicting_labels_of_a_sequence_are_kept_and_said(user: User) -> None:
    row("ACGTA,0\n", CSV)(user.folder)
    done = user.runs(SEQUENCES)
    assert done.code == 0
    assert "train: " in done.stdout
    assert "kept 1 that repeat an earlier one and 2 that have both labels" in done.stdout
