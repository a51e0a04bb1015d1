"""Tell what kind of file was given, before any reader trusts it.

The content decides; where it has no mark of its own, as text tables have none, the name does.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from hyena_ray.errors import InputError
from hyena_ray.genome.source import Source
from hyena_ray.storage import AnyPath

PACKED = (".gz", ".bgz", ".bgzip")
"""Endings that say nothing about what is inside."""


class Kind(NamedTuple):
    """A kind of file."""

    name: str
    marks: tuple[bytes, ...] = ()
    """What its content may begin with; empty where the name alone tells it."""
    endings: tuple[str, ...] = ()
    """Of names, in lower case."""
    packs: bool = True
    """Whether gzip may hold it; readers of the others jump about in the file."""


def _both_orders(mark: int) -> tuple[bytes, bytes]:
    return mark.to_bytes(4, "little"), mark.to_bytes(4, "big")


KINDS = (
    Kind("FASTA", (b">", b"\xef\xbb\xbf>"), (".fa", ".fasta", ".fna")),
    Kind("2bit", _both_orders(0x1A412743), (".2bit",), packs=False),
    Kind("bigBed", _both_orders(0x8789F2EB), (".bb", ".bigbed"), packs=False),
    Kind("bigWig", _both_orders(0x888FFC26), (".bw", ".bigwig"), packs=False),
    Kind("narrowPeak", (), (".narrowpeak",)),
    Kind("broadPeak", (), (".broadpeak",)),
    Kind("GTF or GFF", (b"##gff", b"##gtf"), (".gtf", ".gff", ".gff3")),
    Kind("VCF", (b"##fileformat=VCF",)),
    Kind("FASTQ", (), (".fq", ".fastq")),
    Kind("BAM", (b"BAM\x01",)),
    Kind("Parquet", (b"PAR1",)),
    Kind("zip", (b"PK\x03\x04",)),
    Kind("bzip2", (b"BZh",)),
    Kind("xz", (b"\xfd7zXZ\x00",)),
    Kind("zstd", (b"\x28\xb5\x2f\xfd",)),
)
"""Those that are read, and those that are given in their place."""


def kind_of(path: AnyPath, remedy: str) -> str | None:
    """The name of a file's kind; None for text that neither content nor name tells.

    Args:
        path: plain or gzip.
        remedy: what to do when it cannot be opened.

    Raises:
        InputError: it cannot be read; it has the name of a binary kind without its content; or gzip
            holds what is read by jumping about.
    """
    source = Source(path, remedy)
    with closing(source.blocks()) as blocks:
        start = next(blocks, b"")
    marked = next((kind for kind in KINDS if start.startswith(kind.marks)), None)
    if marked is not None:
        if source.packed and not marked.packs:
            raise InputError(
                path,
                None,
                f"{marked.name} inside gzip, where it cannot be read",
                "unpack it with gunzip",
            )
        return marked.name
    name = _bare_name(path)
    named = next((kind for kind in KINDS if name.endswith(kind.endings)), None)
    if named is not None and not named.packs:
        raise InputError(
            path,
            None,
            f"is called {named.name}, and does not begin as one",
            "copy or download the file again, or give it the name of what it is",
        )
    # A FASTA file without its mark is for the reader to refuse, which names the line.
    return None if named is None or named.name == "FASTA" else named.name


def _bare_name(path: AnyPath) -> str:
    name = path.name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return name
