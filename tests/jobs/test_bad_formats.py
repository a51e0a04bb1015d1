"""Genomes and regions of other kinds, and genomes by name: what is refused, and what gives the
same windows as FASTA and BED."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.genome import _download
from hyena_ray.genome.contigs import Fasta
from hyena_ray.genome.simulation import LETTERS
from tests.binary_files import NARROW_PEAK, Item, bigbed_bytes, twobit_bytes
from tests.file_server import Served, file_server
from tests.jobs.bad_inputs import (
    PREPARE,
    SEQUENCES,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    both,
    edited,
    holds,
)

HG38 = PREPARE.replace("genome.fa", "hg38")
PATH = "/hg38/bigZips/hg38.2bit"
PEAK = "p\t0\t.\t1\t1\t1\t0"


def twobit(folder: Path) -> bytes:
    """The good genome; every third base is masked."""
    texts = []
    for contig in Fasta(folder / "genome.fa"):
        letters = LETTERS[contig.codes].copy()
        letters[::3] |= 32
        texts.append((contig.name, letters.tobytes().decode()))
    return twobit_bytes(texts)


def items(folder: Path, rest: str = "") -> list[Item]:
    """The good regions."""
    rows = [line.split("\t") for line in (folder / "regions.bed").read_text().splitlines()]
    return [Item(contig, int(start), int(end), rest) for contig, start, end in rows]


def bigbed(folder: Path, rest: str = "", sql: str = "") -> bytes:
    contigs = np.unique([item.contig for item in items(folder)])
    return bigbed_bytes(items(folder, rest), dict.fromkeys(map(str, contigs), 1200), sql=sql)


def peaks(folder: Path) -> bytes:
    return "".join("\t".join(map(str, item)) + "\n" for item in items(folder, PEAK)).encode()


SAME: dict[str, tuple[str, str, Callable[[Path], bytes]]] = {
    "2bit": ("genome.fa", "genome.2bit", twobit),
    "narrowPeak": ("regions.bed", "peaks.narrowPeak", peaks),
    "narrowPeak.gz": ("regions.bed", "peaks.narrowPeak.gz", lambda at: gzip.compress(peaks(at))),
    "bed.gz": (
        "regions.bed",
        "r.bed.gz",
        lambda at: gzip.compress((at / "regions.bed").read_bytes()),
    ),
    "bigBed": ("regions.bed", "regions.bb", bigbed),
    "bigBed of peaks": ("regions.bed", "p.bb", lambda folder: bigbed(folder, PEAK, NARROW_PEAK)),
}


@pytest.mark.parametrize("case", SAME)
def test_every_kind_of_file_gives_the_same_windows(user: User, case: str) -> None:
    instead_of, name, made = SAME[case]
    content = made(user.folder)
    (user.folder / instead_of).unlink()
    (user.folder / name).write_bytes(content)
    done = user.runs(PREPARE.replace(instead_of, name))
    assert done.code == 0, done.stderr
    made_now, plain = (Manifest.read(user.folder / folder) for folder in ("out", "data"))
    assert made_now.files == plain.files
    assert name in [file.name for file in made_now.inputs]


def test_packed_sequences_give_the_same_data(user: User) -> None:
    command = SEQUENCES
    for name in ("train.csv", "val.csv", "test.csv"):
        (user.folder / f"{name}.gz").write_bytes(gzip.compress((user.folder / name).read_bytes()))
        (user.folder / name).unlink()
        command = command.replace(name, f"{name}.gz")
    done = user.runs(command)
    assert done.code == 0, done.stderr
    made, plain = (Manifest.read(user.folder / folder) for folder in ("out", "sequences"))
    assert made.files == plain.files


def made(name: str, content: Callable[[Path], bytes]) -> Change:
    """A file made from the good ones."""
    return lambda folder: (folder / name).write_bytes(content(folder))


def command(option: str, name: str) -> str:
    """`PREPARE` with another file."""
    if option == "--blacklist":
        return f"{PREPARE} --blacklist {name}"
    return PREPARE.replace({"--genome": "genome.fa", "--regions": "regions.bed"}[option], name)


REFUSED: dict[str, tuple[str, str, Change, Line]] = {
    "truncated 2bit": (
        "--genome",
        "g.2bit",
        made("g.2bit", lambda folder: twobit(folder)[:-100]),
        at("g.2bit", "damaged"),
    ),
    "2bit in gzip": (
        "--genome",
        "g.2bit.gz",
        made("g.2bit.gz", lambda folder: gzip.compress(twobit(folder))),
        at("g.2bit.gz", "inside gzip"),
    ),
    "page of a portal": (
        "--genome",
        "g.2bit",
        holds("g.2bit", "<html>please log in</html>"),
        at("g.2bit", "does not begin"),
    ),
    "regions for a genome": (
        "--genome",
        "r.bb",
        made("r.bb", bigbed),
        at("r.bb", "--genome", "is bigBed", "FASTA, 2bit"),
    ),
    "genome for regions": (
        "--regions",
        "genome.fa",
        as_it_is,
        at("genome.fa", "--regions", "is FASTA", "BED, narrowPeak, broadPeak, bigBed"),
    ),
    "genome for a blacklist": (
        "--blacklist",
        "g.2bit",
        made("g.2bit", twobit),
        at("g.2bit", "--blacklist", "is 2bit", "BED, narrowPeak, broadPeak, bigBed"),
    ),
    "peaks of nine columns": (
        "--blacklist",
        "b.narrowPeak",
        holds("b.narrowPeak", "chr1\t1\t9\tp\t0\t.\t1\t1\t1\n"),
        at("b.narrowPeak:1", "9 columns", "10", ".broadPeak"),
    ),
    "truncated bigBed": (
        "--regions",
        "r.bb",
        made("r.bb", lambda folder: bigbed(folder)[:300]),
        at("r.bb", "damaged"),
    ),
    "item past the end": (
        "--regions",
        "r.bb",
        holds("r.bb", bigbed_bytes([Item("chr1", 1190, 1201)], {"chr1": 5000})),
        at("r.bb", "item 1", "chr1:1190-1201", "ends past"),
    ),
    "other names": (
        "--regions",
        "regions.bed",
        edited("regions.bed", lambda content: content.replace(b"chr", b"")),
        at("regions.bed:1", "chr1", "none of the 3 contigs", "renamed_regions.bed"),
    ),
    # Its index tells the names, so that they are checked before anything is cut.
    "other names in a blacklist of a 2bit": (
        "--blacklist",
        "b.bed --genome g.2bit",
        both(made("g.2bit", twobit), holds("b.bed", "chr1\t9\t1201\nNC_000002.12\t1\t5\n")),
        at("b.bed:2", "NC_000002.12", "chr2", "no such contig", "renamed_b.bed"),
    ),
    "unknown assembly": (
        "--genome",
        "hg37",
        as_it_is,
        at("--genome", "hg37", "hg38", "hg19", "mm39", "mm10"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused(user: User, case: str) -> None:
    option, name, change, line = REFUSED[case]
    user.is_refused(Case(change, command(option, name), line))


def test_a_split_names_a_contig_as_another_provider(user: User) -> None:
    line = at("--split", "1", "chr1", "no such contig")
    user.is_refused(Case(as_it_is, PREPARE.replace("train=chr1", "train=1"), line))


@pytest.fixture
def mirror(user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Has the good genome as hg38."""
    monkeypatch.setattr(_download, "WAIT", 0.001)
    monkeypatch.setenv("HYENA_RAY_CACHE", str(user.folder / "cache"))
    with file_server() as served:
        served.files[PATH] = twobit(user.folder)
        monkeypatch.setenv("HYENA_RAY_GENOMES", served.address)
        yield served


def test_a_genome_by_name_gives_the_same_windows(user: User, mirror: Served) -> None:
    for out in ("out", "again"):
        done = user.runs(HG38.replace("--out out", f"--out {out}"))
        assert done.code == 0, done.stderr
        made_now, plain = (Manifest.read(user.folder / folder) for folder in (out, "data"))
        assert made_now.files == plain.files
        assert made_now.inputs[0].name == "hg38.2bit"
    assert mirror.asked_for(".2bit") == [None]


def test_a_download_that_fails_is_no_fault_of_the_input(user: User, mirror: Served) -> None:
    """One line, exit code 1, no output."""
    mirror.statuses = [403]
    done = user.runs(HG38)
    assert done.code == 1
    assert done.stderr.startswith(f"error: {mirror.address}{PATH}: the server answers 403 For")
    assert done.stderr.count("\n") == 1
    assert not (user.folder / "out").exists()


def test_regions_that_cannot_be_read_are_told_before_anything_is_downloaded(
    user: User, mirror: Served
) -> None:
    holds("regions.bed", "chr1\t9\t5\n")(user.folder)
    assert user.runs(HG38).code == 2
    assert mirror.asked == []
