"""Tables that begin like BED and are no lists of regions, or lists of regions in several blocks.

Tables of values (bedGraph, wiggle) cover a genome, and tables of pairs (BEDPE, interact) have a
second interval in each row: their first three columns are not what an experiment marked. A row of
BED12 marks its blocks, not what is between them. The name of a file, its track line and its columns
say what it is. Formats: https://genome.ucsc.edu/FAQ/FAQformat.html
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from hyena_ray.errors import InputError

REGION_TRACKS = ("bed", "bedDetail", "narrowPeak", "broadPeak", "gappedPeak")
"""Types of a track line whose rows are regions; a track line without a type is one of BED."""
VALUES_REMEDY = (
    "keep the intervals with high values, for example with awk '$4 >= 5' and then cut -f1-3; where "
    "column 4 is a name, cut -f1-3 alone"
)
PAIRS_REMEDY = "give the intervals of one side, for example those that cut -f1-3 keeps"
BLOCKS_REMEDY = "correct the blocks, or keep the whole intervals with cut -f1-3"
BED12_COLUMNS = 12
"""Columns of a row with blocks; formats such as gappedPeak have further ones."""

_TRACK_TYPE = re.compile(r"""\btype\s*=\s*["']?(\w+)""")
_DECLARATION = re.compile(r"(?:fixed|variable)Step\b")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,18}")
_LIST = re.compile(r"[0-9]{1,18}(?:,[0-9]{1,18})*,?")


class TableRow(NamedTuple):
    """A row of a table, of which the first three columns are an interval."""

    place: str
    """File and line, for the error."""
    contig: str
    """First column."""
    further: str
    """The columns behind the third one, with tabs between them; empty where there is none."""


def check_header(place: str, line: str) -> None:
    """Refuse the track line or declaration of a table that is no list of regions.

    Args:
        place: File and line, for the error.
        line: A line that is no row.

    Raises:
        InputError: The track has another type, or the table is wiggle.

    Example:
        >>> check_header("x.bed:1", "track type=bedGraph name=signal")
        Traceback (most recent call last):
            ...
        hyena_ray.errors.InputError: x.bed:1: type=bedGraph: is no list of regions; ...
    """
    if not line.startswith("track"):
        return
    kind = _TRACK_TYPE.search(line)
    if kind is not None and kind[1].lower() not in map(str.lower, REGION_TRACKS):
        values = kind[1].lower() in ("bedgraph", "wiggle_0")
        remedy = VALUES_REMEDY if values else f"give a track of {', '.join(REGION_TRACKS)}"
        raise InputError(place, f"type={kind[1]}", "is no list of regions", remedy)


def is_declaration(line: str) -> bool:
    """Tell whether a line declares where the values of a wiggle table are.

    Args:
        line: The line.
    """
    return _DECLARATION.match(line) is not None


def check_columns(rows: Sequence[TableRow], contigs: Collection[str]) -> None:
    """Refuse a table whose columns are those of values, or of pairs, in every row.

    Rows are read until one of them is neither.

    Args:
        rows: All rows of a table.
        contigs: Names in its first column.

    Raises:
        InputError: The table is no list of regions; names the first row.
    """
    if rows and all(_NUMBER.fullmatch(row.further) for row in rows):
        problem = "column 4 is a number in every row, as in bedGraph, and is the last one"
        raise InputError(rows[0].place, rows[0].further, problem, VALUES_REMEDY)
    if rows and all(_has_second_interval(row.further, contigs) for row in rows):
        problem = "a second interval is in every row, as in BEDPE"
        raise InputError(rows[0].place, rows[0].further, problem, PAIRS_REMEDY)


def _has_second_interval(further: str, contigs: Collection[str]) -> bool:
    columns = further.split("\t")
    triples = zip(columns, columns[1:], columns[2:], strict=False)
    for first, (name, start, end) in enumerate(triples):
        if first == 0 and (start, end) == ("-1", "-1"):
            return True  # BEDPE, where the second interval is not known
        if not (_WHOLE.fullmatch(start) and _WHOLE.fullmatch(end) and int(start) < int(end)):
            continue
        # The fourth column of BED is a name, which two coordinates do not follow.
        if first == 0 or name in contigs:
            return True
    return False


def row_blocks(place: str, start: int, end: int, further: str) -> list[tuple[int, int]] | None:
    """Return the blocks of a row of BED12, or of a format with still more columns.

    Args:
        place: File and line, for the error.
        start: First base of the row's interval, 0-based.
        end: One past its last base.
        further: The columns behind the third one, with tabs between them.

    Returns:
        Start and end of each block, 0-based and half-open; None where the row has no blocks.

    Raises:
        InputError: The row has 12 columns, and the last three describe no blocks.

    Example:
        >>> row_blocks("x.bed:1", 100, 200, "a\\t0\\t+\\t100\\t200\\t0\\t2\\t20,30\\t0,70")
        [(100, 120), (170, 200)]
    """
    columns = further.split("\t")
    count = len(columns) + 3
    if count < BED12_COLUMNS:
        return None
    sizes, starts = columns[7], columns[8]
    if not (_WHOLE.fullmatch(columns[6]) and _LIST.fullmatch(sizes) and _LIST.fullmatch(starts)):
        if count > BED12_COLUMNS:
            return None
        raise _block_refusal(place, columns, "columns 10 to 12 are no blocks of BED12")
    offsets, lengths = _numbers(starts), _numbers(sizes)
    if not int(columns[6]) == len(offsets) == len(lengths):
        raise _block_refusal(place, columns, "blockCount is not the number of sizes and starts")
    ends = [offset + length for offset, length in zip(offsets, lengths, strict=True)]
    if min(lengths) < 1 or any(before > after for before, after in pairwise(_edges(offsets, ends))):
        raise _block_refusal(place, columns, "blocks are empty, overlap or are not in order")
    if offsets[0] or ends[-1] != end - start:
        raise _block_refusal(place, columns, f"blocks do not span the row's {end - start} bases")
    return [(start + first, start + last) for first, last in zip(offsets, ends, strict=True)]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.removesuffix(",").split(",")]


def _edges(starts: Iterable[int], ends: Iterable[int]) -> list[int]:
    return [edge for block in zip(starts, ends, strict=True) for edge in block]


def _block_refusal(place: str, columns: Sequence[str], problem: str) -> InputError:
    return InputError(place, " ".join(columns[6:9]), problem, BLOCKS_REMEDY)
