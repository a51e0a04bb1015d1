"""Read the intervals of a bigBed file.

pyBigWig decodes; it trusts the file, so that the structure is checked first, and afterwards that as
many items came as the file says it has.
Format: https://doi.org/10.1093/bioinformatics/btq351, its supplement.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NoReturn

import pyBigWig

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.intervals import Columns, Regions, regions_of
from hyena_ray.genome.source import AGAIN, readable
from hyena_ray.storage import AnyPath, local_copy

_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_WORD, _LONG = struct.Struct("<I"), struct.Struct("<Q")
_MARK, _TREE_MARK, _INDEX_MARK = 0x8789F2EB, 0x78CA8C91, 0x2468ACE0
_SUMMIT = re.compile(rb"\bpeak\s*;[^;]*$")
"""In the description of the columns (autoSql): the last of them is a peak's summit."""


def read_bigbed(path: AnyPath, remedy: str = "give --regions a BED file") -> Regions:
    """Read every item of a bigBed file; its interval is chromStart to chromEnd.

    Raises:
        InputError: missing or damaged file, no items, or the same interval twice (of peaks, with
            the same summit).
    """
    with readable(path, remedy), local_copy(path) as file:
        items = _checked(path, file)
        columns = _columns(path, file, items)
        return regions_of(path, sha256_file(file), columns, remedy, lines=False)


def _checked(path: AnyPath, file: Path) -> int:
    """Items by the file's own count, once what its header points to was found where it says."""
    size = file.stat().st_size
    with file.open("rb") as stream:

        def numbers(at: int, shape: struct.Struct) -> tuple[int, ...]:
            if at < 0 or at + shape.size > size:
                _damaged(path, "it is cut short")
            stream.seek(at)
            return shape.unpack(stream.read(shape.size))

        mark, _, _, tree, data, index, *_ = numbers(0, _HEADER)
        if mark != _MARK:
            raise InputError(
                path, None, "a bigBed file of another byte order", "write it anew, with bedToBigBed"
            )
        for at, expected in ((tree, _TREE_MARK), (index, _INDEX_MARK)):
            if numbers(at, _WORD)[0] != expected:
                _damaged(path, "an index is not where its header says")
        (items,) = numbers(data, _LONG)
    return items


def _columns(path: AnyPath, file: Path, items: int) -> dict[str, Columns]:
    """All rows by contig; they are numbered in the order of the file."""
    columns: dict[str, Columns] = {}
    number = 0
    try:
        with pyBigWig.open(str(file)) as stored:
            peaks = _SUMMIT.search(stored.SQL() or b"") is not None
            for contig, size in stored.chroms().items():
                for start, end, rest in stored.entries(contig, 0, size) or ():
                    number += 1
                    summit = int(rest.rpartition("\t")[2]) if peaks else 0
                    of_contig = columns.setdefault(contig, Columns([], [], [], []))
                    of_contig.add(start, end, number, summit)
    except (RuntimeError, UnicodeDecodeError, ValueError, MemoryError) as error:
        _damaged(path, str(error).strip() or "it cannot be unpacked")
    # Some writers count blocks of items there, of which there are no more than items.
    if number < items:
        _damaged(path, f"{number} of {items} items could be read")
    return columns


def _damaged(path: AnyPath, how: str) -> NoReturn:
    raise InputError(path, None, f"damaged bigBed ({how})", AGAIN)
