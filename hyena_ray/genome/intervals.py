"""Intervals by contig; BED and its kin are read strictly, and what overlaps is merged.

Coordinates are 0-based and half-open throughout.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.names import alike, listed, renaming
from hyena_ray.genome.peaks import Peaks
from hyena_ray.genome.source import Source
from hyena_ray.storage import AnyPath

_ROW = re.compile(r"([^\t]+)\t(0|[1-9][0-9]{0,17})\t(0|[1-9][0-9]{0,17})(?:\t.*)?")
_SKIPPED = re.compile(r"#.*|(?:track|browser)(?:\s.*)?|")
_BED_COUNTS = "BED is 0-based, half-open"


class Spans(NamedTuple):
    """Intervals of one contig: sorted, and neither overlapping nor touching."""

    start: NDArray[np.int64]
    """(n,) first base, 0-based."""
    end: NDArray[np.int64]
    """(n,) one past the last base."""

    @classmethod
    def none(cls) -> Spans:
        """No interval."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


class Rows(NamedTuple):
    """Intervals of one contig as they stand in the file."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    line: NDArray[np.int64]
    """Number in the file, from 1: of the line, or of the item where there are none."""


class Regions(NamedTuple):
    """A file of intervals."""

    path: AnyPath
    sha256: str
    rows: dict[str, Rows]
    """By contig, in order of first appearance."""
    lines: bool = True
    """Whether the file is text."""

    def place(self, number: int) -> str:
        """Where in the file an interval stands."""
        return f"{self.path}:{number}" if self.lines else f"{self.path}: item {number}"

    def on(self, contig: str, length: int) -> Spans:
        """Merged intervals of a contig of `length` bases; none when the file does not name it.

        Raises:
            InputError: an interval ends past the contig.
        """
        if contig not in self.rows:
            return Spans.none()
        rows = self.rows[contig]
        if rows.end.max() > length:
            row = int(np.argmax(rows.end > length))
            raise InputError(
                self.place(rows.line[row]),
                f"{contig}:{rows.start[row]}-{rows.end[row]}",
                f"ends past the contig, which has {length} bases",
                "give the BED of this very assembly",
            )
        return merge(rows.start, rows.end)

    def check_contigs(self, names: Collection[str]) -> None:
        """Check that the genome has every contig of the file.

        Raises:
            InputError: it lacks one; hints at the name that was probably meant.
        """
        unknown = [contig for contig in self.rows if contig not in names]
        if not unknown:
            return
        first = unknown[0]
        problem = "the genome has no such contig"
        if len(unknown) == len(self.rows) > 1:
            problem = f"the genome has none of the {len(unknown)} contigs of this file"
        elif len(unknown) > 1:
            problem += f", nor {len(unknown) - 1} more of this file"
        meant = alike(unknown, names)
        if first in meant:
            command = renaming(self.path, meant, every=len(meant) == len(self.rows))
            remedy = f"the genome calls it {meant[first]}: {command}"
        else:
            remedy = f"the genome has {listed(names)}: give regions of this very assembly"
        raise InputError(self.place(self.rows[first].line[0]), first, problem, remedy)


def merge(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """Sort intervals and join those that overlap or touch."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Spans(start[first], reach[last])


def read_bed(
    path: AnyPath, remedy: str = "give --regions a BED file", peaks: Peaks | None = None
) -> Regions:
    """Read the first three columns of a BED file, or of one with more columns, plain or gzip.

    Lines that begin with `#`, `track` or `browser` and empty lines are skipped; contig names are
    kept as text, so that `01` and `NA` stay what they are.

    Args:
        path: the file.
        remedy: what to do when it cannot be used.
        peaks: the further columns that every row must have; None leaves them unread.

    Raises:
        InputError: missing or damaged file, not UTF-8, no rows, fewer than three columns,
            coordinates that are no plain whole numbers, an end that is not after its start,
            the same interval (of peaks, with the same summit) twice, or other columns than `peaks`
            has; names file and line.
    """
    source = Source(path, remedy)
    content = source.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}", None, "not UTF-8", "give a BED text file") from None
    columns: dict[str, Columns] = {}
    for number, row in enumerate(text.split("\n"), 1):
        found = _ROW.fullmatch(row)
        if found is None or row.startswith(("#", "track", "browser")):
            row = row.removesuffix("\r")
            if _SKIPPED.fullmatch(row):
                continue
            found = _ROW.fullmatch(row)
            if found is None:
                raise _refusal(f"{path}:{number}", row)
        contig, start, end = found.groups()
        summit = peaks.check(f"{path}:{number}", row.removesuffix("\r")) if peaks else 0
        of_contig = columns.setdefault(contig, Columns([], [], [], []))
        of_contig.add(int(start), int(end), number, summit)
    return regions_of(path, source.sha256, columns, remedy)


class Columns(NamedTuple):
    """Of one contig, what is read row by row."""

    start: list[int]
    end: list[int]
    line: list[int]
    summit: list[int]
    """Of a peak, where it is highest: two of them may stand on one interval."""

    def add(self, *values: int) -> None:
        """One more row."""
        for column, value in zip(self, values, strict=True):
            column.append(value)


def regions_of(
    path: AnyPath, sha256: str, columns: dict[str, Columns], remedy: str, *, lines: bool = True
) -> Regions:
    """What was read row by row, once it was checked.

    Raises:
        InputError: no rows, an end that is not after its start, or a row twice.
    """
    if not columns:
        raise InputError(path, None, "there is no interval in the file", remedy)
    arrays = {
        contig: [np.array(column, np.int64) for column in of_contig]
        for contig, of_contig in columns.items()
    }
    rows = {contig: Rows(*of_contig[:3]) for contig, of_contig in arrays.items()}
    regions = Regions(path, sha256, rows, lines)
    for contig, (*_, summit) in arrays.items():
        _check(regions, contig, summit)
    return regions


def _check(regions: Regions, contig: str, summit: NDArray[np.int64]) -> None:
    rows = regions.rows[contig]

    def refusal(row: int, problem: str, remedy: str) -> InputError:
        interval = f"{contig}:{rows.start[row]}-{rows.end[row]}"
        return InputError(regions.place(rows.line[row]), interval, problem, remedy)

    if (rows.end <= rows.start).any():
        row = int(np.argmax(rows.end <= rows.start))
        raise refusal(row, f"end {rows.end[row]} is not after start {rows.start[row]}", _BED_COUNTS)
    key = (rows.start, rows.end, summit)
    order = np.lexsort((rows.line, *reversed(key)))
    same = np.all([np.diff(column[order]) == 0 for column in key], axis=0)
    if same.any():
        first = int(np.argmax(same))
        row, earlier = order[first + 1], order[first]
        where = f"line {rows.line[earlier]}" if regions.lines else f"item {rows.line[earlier]}"
        remedy = "remove one of them"
        if regions.lines:
            remedy += ", for example with " + ("sort -u" if summit.any() else "cut -f1-3 | sort -u")
        raise refusal(int(row), f"the interval stands in {where} already", remedy)


def _refusal(place: str, row: str) -> InputError:
    """Say why a row is no BED row."""
    columns = row.split("\t")
    if len(columns) < 3:
        blanks = len(row.split()) >= 3
        problem = "columns stand apart by blanks" if blanks else "fewer than three columns"
        return InputError(place, row, problem, "write contig, start and end with tabs between")
    if not columns[0]:
        return InputError(place, row, "the contig's name is empty", "write it in column one")
    for name, value in zip(("start", "end"), columns[1:3], strict=True):
        if re.fullmatch(r"[0-9]{19,}", value):
            return InputError(place, value, f"{name} is larger than any contig", _BED_COUNTS)
        if re.fullmatch(r"-[0-9]+", value):
            return InputError(place, value, f"{name} is negative", _BED_COUNTS)
        if not re.fullmatch(r"0|[1-9][0-9]*", value):
            return InputError(
                place,
                value or "''",
                f"{name} is not a whole number written in digits",
                "write it out, such as 1000; header lines begin with #",
            )
    return InputError(place, row, "not a BED row", "write contig, start and end with tabs between")
