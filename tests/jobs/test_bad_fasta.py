"""Genomes that cannot be read, and spellings that can: the FASTA part of the list of bad inputs."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.genome.source import BGZF_EOF
from tests.jobs.bad_inputs import (
    PREPARE,
    Case,
    Change,
    Line,
    User,
    at,
    edited,
    holds,
    is_folder,
    removed,
)

GENOME = "genome.fa"


def unreadable(folder: Path) -> None:
    """A link to itself cannot be opened by anyone; a mode without rights, by anyone but root."""
    (folder / GENOME).unlink()
    (folder / GENOME).symlink_to(GENOME)


def bgzip(content: bytes, size: int = 500) -> bytes:
    """Blocks as bgzip writes them, with the closing one."""
    blocks = b""
    for first in range(0, len(content), size):
        chunk = content[first : first + size]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(chunk) + packer.flush()
        blocks += b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\0BC\x02\0"
        blocks += struct.pack("<H", len(packed) + 25)
        blocks += packed + struct.pack("<II", zlib.crc32(chunk), len(chunk))
    return blocks + BGZF_EOF


REFUSED: dict[str, tuple[Change, Line]] = {
    "missing": (
        removed(GENOME),
        at("genome.fa", "--genome", "no such file"),
    ),
    "folder": (
        is_folder(GENOME),
        at("genome.fa", "--genome", "folder"),
    ),
    "unreadable": (
        unreadable,
        at("genome.fa", "--genome"),
    ),
    "empty": (
        holds(GENOME, ""),
        at("genome.fa", "--genome", "empty"),
    ),
    "no header": (
        holds(GENOME, "ACGT\n"),
        at("genome.fa:1", "ACGT", "begins with"),
    ),
    "duplicate name": (
        edited(GENOME, lambda content: content + b">chr1 of a test\nACGT\n"),
        at("genome.fa:76", "chr1", "line 1"),
    ),
    "duplicate first word": (
        edited(GENOME, lambda content: content + b">chr1 again\nACGT\n"),
        at("genome.fa:76", "chr1", "line 1"),
    ),
    "empty name": (
        holds(GENOME, ">\nACGT\n"),
        at("genome.fa:1", ">", "no name"),
    ),
    "empty record": (
        holds(GENOME, ">chr1\n>chr2\nACGT\n"),
        at("genome.fa:1", "chr1", "no sequence"),
    ),
    "ragged lines": (
        holds(GENOME, ">chr1\nACGT\nAC\nACGT\n"),
        at("genome.fa:3", "2 letters"),
    ),
    "blank line inside": (
        holds(GENOME, ">chr1\nACGT\n\nACGT\n"),
        at("genome.fa:3", "blank line"),
    ),
    "letter outside IUPAC": (
        holds(GENOME, ">chr1\nACGT\nACXT\n"),
        at("genome.fa:3", "'X'", "A C G T"),
    ),
    "protein": (holds(GENOME, ">chr1\nMKVLAT\n"), at("genome.fa:2", "'L'", "A C G T")),
    "binary": (
        holds(GENOME, bytes(range(64))),
        at("genome.fa:1", "\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\t", "begins with"),
    ),
    "binary sequence": (
        holds(GENOME, b">chr1\nAC\x00T\n"),
        at("genome.fa:2", "'\\x00'", "A C G T"),
    ),
    "truncated gzip": (
        edited(GENOME, lambda content: gzip.compress(content)[:-90]),
        at("genome.fa", "damaged"),
    ),
    "truncated bgzip": (
        edited(GENOME, lambda content: bgzip(content)[:-90]),
        at("genome.fa", "damaged"),
    ),
    "bgzip without its last blocks": (
        edited(GENOME, lambda content: bgzip(content)[: -len(BGZF_EOF)]),
        at("genome.fa", "damaged", "bgzip", "cut short"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_genome_that_cannot_be_read_is_refused(user: User, case: str) -> None:
    change, line = REFUSED[case]
    user.is_refused(Case(change, PREPARE, line))


def with_stale_index(folder: Path) -> None:
    (folder / "genome.fa.fai").write_text("chr1\t1200\t3\t40\t41\nchr2\t9\t9\t9\t10\n")


ACCEPTED: dict[str, Change] = {
    "CRLF": edited(GENOME, lambda content: content.replace(b"\n", b"\r\n")),
    "lower case": edited(GENOME, lambda content: content.lower()),
    "no final newline": edited(GENOME, lambda content: content.rstrip(b"\n")),
    "BOM": edited(GENOME, lambda content: b"\xef\xbb\xbf" + content),
    "gzip": edited(GENOME, gzip.compress),
    "bgzip": edited(GENOME, bgzip),
    "stale index": with_stale_index,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_valid_spelling_gives_the_same_windows(user: User, case: str) -> None:
    ACCEPTED[case](user.folder)
    done = user.runs(PREPARE)
    assert done.code == 0, done.stderr
    made, plain = (Manifest.read(user.folder / name) for name in ("out", "data"))
    assert made.contents == plain.contents


def windows_of(folder: Path) -> dict[str, str]:
    """Return the sha256 of every Parquet file of prepared data, by its path."""
    contents = Manifest.read(folder).contents
    return {file.path: file.sha256 for file in contents if file.path.endswith(".parquet")}


@pytest.mark.parametrize("letter", "RYSWKMBDHVU")
def test_iupac_codes_are_read_as_n(user: User, letter: str) -> None:
    spelt: list[Callable[[bytes], bytes]] = [
        lambda content: content.replace(b"AC", f"A{letter}".encode()),
        lambda content: content.replace(b"AC", b"AN"),
    ]
    files = []
    good = (user.folder / GENOME).read_bytes()
    for number, spell in enumerate(spelt):
        (user.folder / GENOME).write_bytes(spell(good))
        done = user.runs(PREPARE.replace("--out out", f"--out out{number}"))
        assert done.code == 0, done.stderr
        files.append(windows_of(user.folder / f"out{number}"))
    assert files[0] == files[1]
    assert files[0] != windows_of(user.folder / "data")
