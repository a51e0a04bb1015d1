"""Read BED files strictly, and merge what overlaps.

Coordinates are 0-based and half-open throughout.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
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


class Regions(NamedTuple):
    """A BED file."""

    path: AnyPath
    sha256: str
    rows: dict[str, Rows]
    """By contig, in order of first appearance."""

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
                f"{self.path}:{rows.line[row]}",
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
        for contig, rows in self.rows.items():
            if contig in names:
                continue
            alike = next((name for name in names if _bare(name) == _bare(contig)), None)
            remedy = (
                f"the genome calls it {alike}: rename one of them"
                if alike
                else f"the genome has {_some(names)}"
            )
            raise InputError(
                f"{self.path}:{rows.line[0]}", contig, "the genome has no such contig", remedy
            )


def merge(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """Sort intervals and join those that overlap or touch."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Spans(start[first], reach[last])


def read_bed(path: AnyPath, remedy: str = "give --regions a BED file") -> Regions:
    """Read the first three columns of a BED file, plain or gzip.

    Lines that begin with `#`, `track` or `browser` and empty lines are skipped; contig names are
    kept as text, so that `01` and `NA` stay what they are.

    Raises:
        InputError: missing or damaged file, not UTF-8, no rows, fewer than three columns,
            coordinates that are no plain whole numbers, an end that is not after its start, or
            the same interval twice; names file and line.
    """
    source = Source(path, remedy)
    content = source.read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}", None, "not UTF-8", "give a BED text file") from None
    columns: dict[str, tuple[list[int], list[int], list[int]]] = {}
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
        starts, ends, lines = columns.setdefault(contig, ([], [], []))
        starts.append(int(start))
        ends.append(int(end))
        lines.append(number)
    if not columns:
        raise InputError(path, None, "there is no interval in the file", remedy)
    rows = {
        contig: Rows(*(np.array(column, np.int64) for column in triple))
        for contig, triple in columns.items()
    }
    for contig, of_contig in rows.items():
        _check(path, contig, of_contig)
    return Regions(path, source.sha256, rows)


def _check(path: AnyPath, contig: str, rows: Rows) -> None:
    if (rows.end <= rows.start).any():
        row = int(np.argmax(rows.end <= rows.start))
        raise InputError(
            f"{path}:{rows.line[row]}",
            f"{contig}:{rows.start[row]}-{rows.end[row]}",
            f"end {rows.end[row]} is not after start {rows.start[row]}",
            _BED_COUNTS,
        )
    order = np.lexsort((rows.line, rows.end, rows.start))
    same = (np.diff(rows.start[order]) == 0) & (np.diff(rows.end[order]) == 0)
    if same.any():
        first = int(np.argmax(same))
        row, earlier = order[first + 1], order[first]
        raise InputError(
            f"{path}:{rows.line[row]}",
            f"{contig}:{rows.start[row]}-{rows.end[row]}",
            f"the interval stands in line {rows.line[earlier]} already",
            "remove one of them, for example with cut -f1-3 | sort -u",
        )


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


def _bare(name: str) -> str:
    bare = name.lower().removeprefix("chr")
    return "mt" if bare == "m" else bare.lstrip("0")


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
