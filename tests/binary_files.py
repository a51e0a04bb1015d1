"""Write small 2bit and bigBed files after their published descriptions, for tests to read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_VALUES = {letter: value for value, letter in enumerate("TCAG")}


def _blocks(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    change = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return change[::2], change[1::2] - change[::2]


def twobit_bytes(
    contigs: Iterable[tuple[str, str]], *, order: str = "<", version: int = 0
) -> bytes:
    """https://genome.ucsc.edu/FAQ/FAQformat.html#format7

    Args:
        contigs: names and letters A C G T N, of which those in lower case are masked.
        order: of bytes, < or >.
        version: 1 has offsets of eight bytes.
    """
    contigs = list(contigs)
    offset = "Q" if version else "I"
    entry = 1 + struct.calcsize(order + offset)
    at = 16 + sum(len(name.encode()) + entry for name, _ in contigs)
    index, records = b"", b""
    for name, text in contigs:
        letters = np.frombuffer(text.encode(), np.uint8)
        value_of = np.zeros(256, np.uint8)
        for letter, value in _VALUES.items():
            value_of[ord(letter)] = value_of[ord(letter.lower())] = value
        values = np.pad(value_of[letters], (0, -len(letters) % 4)).reshape(-1, 4)
        packed = (values << np.array([6, 4, 2, 0], np.uint8)).sum(axis=1, dtype=np.uint8)
        words = [np.array([len(letters)])]
        for mask in ((letters | 32) == ord("n"), letters >= ord("a")):
            start, size = _blocks(mask)
            words += [np.array([len(start)]), start, size]
        words.append(np.array([0]))
        stored = name.encode()
        begin = at + len(records)
        index += bytes([len(stored)]) + stored + struct.pack(order + offset, begin)
        records += np.concatenate(words).astype(f"{order}u4").tobytes() + packed.tobytes()
    return struct.pack(f"{order}4I", 0x1A412743, version, len(contigs), 0) + index + records


class Item(NamedTuple):
    """A row of a bigBed file."""

    contig: str
    start: int
    end: int
    rest: str = ""


NARROW_PEAK = """table narrowPeak
"Peaks"
(
string chrom; "Contig"
uint chromStart; "First base"
uint chromEnd; "One past the last base"
string name; "Name"
uint score; "Score"
char[1] strand; "Strand"
float signalValue; "Signal"
float pValue; "P"
float qValue; "Q"
int peak; "Summit"
)
"""


def bigbed_bytes(
    items: Sequence[Item], sizes: dict[str, int], *, sql: str = "", per_block: int = 3
) -> bytes:
    """Supplement of https://doi.org/10.1093/bioinformatics/btq351; one node of the index holds all
    blocks, and there are no zoom levels.

    Args:
        items: any order; those of a contig must be told by start and end.
        sizes: bases of each contig.
        sql: the description of the columns, autoSql.
        per_block: items in one compressed block.
    """
    contigs = sorted(sizes)
    number_of = {contig: number for number, contig in enumerate(contigs)}
    described = sql.encode() + b"\0" if sql else b""
    key = max(len(contig.encode()) for contig in contigs)
    tree = struct.pack("<4I2Q", 0x78CA8C91, len(contigs), key, 8, len(contigs), 0)
    tree += struct.pack("<2BH", 1, 0, len(contigs))
    for contig in contigs:
        tree += contig.encode().ljust(key, b"\0")
        tree += struct.pack("<2I", number_of[contig], sizes[contig])
    summary = struct.pack("<Q4d", 0, 0, 0, 0, 0)
    tree_at = 64 + len(described) + len(summary)
    data_at = tree_at + len(tree)
    data = struct.pack("<Q", len(items))
    leaves = b""
    blocks, longest = 0, 0
    for contig in contigs:
        rows = sorted(item for item in items if item.contig == contig)
        for first in range(0, len(rows), per_block):
            block = rows[first : first + per_block]
            text = b"".join(
                struct.pack("<3I", number_of[contig], item.start, item.end)
                + item.rest.encode()
                + b"\0"
                for item in block
            )
            packed = zlib.compress(text)
            span = (number_of[contig], block[0].start, number_of[contig], max(i.end for i in block))
            leaves += struct.pack("<4I2Q", *span, data_at + len(data), len(packed))
            data += packed
            blocks, longest = blocks + 1, max(longest, len(text))
    index_at = data_at + len(data)
    index = struct.pack(
        "<2IQ4IQ2I",
        *(0x2468ACE0, max(blocks, 1), len(items), 0, 0, len(contigs) - 1),
        *(max(sizes.values()), index_at, per_block, 0),
    )
    index += struct.pack("<2BH", 1, 0, blocks) + leaves
    fields = 3 + (len(items[0].rest.split("\t")) if items and items[0].rest else 0)
    header = struct.pack(
        "<I2H3Q2H2QIQ",
        *(0x8789F2EB, 4, 0, tree_at, data_at, index_at, fields, min(fields, 6)),
        *(64 if sql else 0, 64 + len(described), longest, 0),
    )
    return header + described + summary + tree + data + index + struct.pack("<I", 0x8789F2EB)


def write_twobit(path: Path, contigs: Iterable[tuple[str, str]]) -> Path:
    """A 2bit file at `path`."""
    path.write_bytes(twobit_bytes(contigs))
    return path
