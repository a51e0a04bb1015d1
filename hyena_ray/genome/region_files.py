"""Region files."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.contig_names import alike, listed, renaming
from hyena_ray.genome.intervals import Spans, merge
from hyena_ray.genome.source import AGAIN, Source, choose_reader, readable
from hyena_ray.storage import AnyPath, local_copy

_ROW = re.compile(r"([^\t]+)\t(0|[1-9][0-9]{0,17})\t(0|[1-9][0-9]{0,17})(?:\t.*)?")


_SKIPPED = re.compile(r"#.*|(?:track|browser)(?:\s.*)?|")


_BED_COUNTS = "BED is 0-based, half-open"


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


_NUMBERS = ("score", "signalValue", "pValue", "qValue")
_COMMON = ("chrom", "chromStart", "chromEnd", "name", "score", "strand", *_NUMBERS[1:])
_NUMBER = re.compile(r"[+-]?(inf|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)


class Peaks(NamedTuple):
    """A kind of peak file."""

    kind: str
    columns: tuple[str, ...]

    def check(self, place: str, row: str) -> int:
        """Check a row whose first three columns are those of BED.

        Returns:
            The base of the interval where the peak is highest; -1 where none is known, and in files
            that have none.

        Raises:
            InputError: other columns than the kind has; names `place`.
        """
        fields = row.split("\t")
        if len(fields) != len(self.columns):
            raise InputError(
                place,
                f"{len(fields)} columns",
                f"{self.kind} has {len(self.columns)}: {', '.join(self.columns)}",
                _other(len(fields)),
            )
        named = dict(zip(self.columns, fields, strict=True))
        for name in _NUMBERS:
            if not _NUMBER.fullmatch(named[name]):
                raise self._refusal(place, name, named[name], "a number")
        if named["strand"] not in ("+", "-", "."):
            raise self._refusal(place, "strand", named["strand"], "one of + - .")
        summit = named.get("peak", "-1")
        size = int(named["chromEnd"]) - int(named["chromStart"])
        if not re.fullmatch(r"-1|[0-9]{1,18}", summit) or int(summit) >= max(size, 1):
            allowed = f"-1, or a base of the interval, counted from 0 ({size} bases)"
            raise self._refusal(place, "peak", summit, allowed)
        return int(summit)

    def _refusal(self, place: str, name: str, value: str, allowed: str) -> InputError:
        number = self.columns.index(name) + 1
        return InputError(
            place,
            value or "''",
            f"{name}, column {number} of {self.kind}, is {allowed}",
            "correct it, or give the file a name that ends in .bed, for its first three columns",
        )


NARROW = Peaks("narrowPeak", (*_COMMON, "peak"))
BROAD = Peaks("broadPeak", _COMMON)


def _other(columns: int) -> str:
    kind = next((kind.kind for kind in (NARROW, BROAD) if len(kind.columns) == columns), "bed")
    return f"restore the columns, or give the file a name that ends in .{kind}"


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


REGIONS: dict[str, Callable[[AnyPath, str], Regions]] = {
    "BED": read_bed,
    "narrowPeak": partial(read_bed, peaks=NARROW),
    "broadPeak": partial(read_bed, peaks=BROAD),
    "bigBed": read_bigbed,
}
"""As `GENOMES`."""


def read_regions(path: AnyPath, remedy: str = "give --regions a BED file") -> Regions:
    """Intervals from BED, narrowPeak, broadPeak (plain or gzip) or bigBed.

    Args:
        path: the file.
        remedy: what to do when it cannot be used.

    Raises:
        InputError: it cannot be read, is of another kind, or breaks the rules of its kind.
    """
    return choose_reader(REGIONS, path, remedy)(path, remedy)
