"""Files of regions: BED, narrowPeak and broadPeak (plain or gzip), and bigBed, read strictly.

Coordinates are 0-based and half-open. What is wrong is refused with file and line; nothing is
skipped, clipped or guessed. Of a row with blocks, as in BED12, each block is a region.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.contig_names import match_contig_names, renaming_command
from hyena_ray.genome.intervals import Intervals, merge_intervals
from hyena_ray.genome.source import COPY_AGAIN, Source, choose_reader, report_unreadable
from hyena_ray.genome.table_kinds import (
    TableRow,
    check_columns,
    check_header,
    is_declaration,
    row_blocks,
)
from hyena_ray.progress import shortened_list
from hyena_ray.storage import AnyPath, local_copy

log = logging.getLogger(__name__)

REGIONS_REMEDY = "give --regions a BED file"
"""Remedy for a file of regions that cannot be used."""

_COORDINATE = r"(0|[1-9][0-9]{0,17})"
_BED_ROW = re.compile(rf"([^\s\"'#]\S*)\t{_COORDINATE}\t{_COORDINATE}(?:\t(.*))?")
_BED_HEADER = re.compile(r"#.*|(?:track|browser)(?:\s.*)?|\s*")
_TABS = "write contig, start and end with tabs between"
_BED_COORDINATES = "BED is 0-based, half-open"

_PEAK_NUMBERS = ("score", "signalValue", "pValue", "qValue")
_PEAK_COLUMNS = ("chrom", "chromStart", "chromEnd", "name", "score", "strand", *_PEAK_NUMBERS[1:])
_NUMBER = re.compile(r"[+-]?(inf|nan|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)

_BIGBED_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_WORD, _LONG = struct.Struct("<I"), struct.Struct("<Q")
_BIGBED_SIGNATURE, _TREE_SIGNATURE, _INDEX_SIGNATURE = 0x8789F2EB, 0x78CA8C91, 0x2468ACE0
_SUMMIT_COLUMN = re.compile(rb"\bpeak\s*;[^;]*$")
"""Last column in the description of a bigBed's columns (autoSql) when the items are peaks."""


class RegionRows(NamedTuple):
    """Intervals of one contig as the file has them: in file order, possibly overlapping."""

    start: NDArray[np.int64]
    """(n,) first base, 0-based."""
    end: NDArray[np.int64]
    """(n,) one past the last base."""
    line: NDArray[np.int64]
    """(n,) number of the line, or of the item where the file is not text, from 1."""
    name: tuple[str, ...]
    """(n,) fourth column of BED, as the file has it; empty where there is none."""


class Regions(NamedTuple):
    """A file of regions."""

    path: AnyPath
    """File that was read."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    rows: dict[str, RegionRows]
    """Intervals by contig, in order of first appearance."""
    is_text: bool = True
    """Whether the file has lines; bigBed has items."""

    def locate(self, number: int) -> str:
        """Return the place of an interval in the file.

        Args:
            number: Line, or item where the file is not text, from 1.

        Returns:
            FILE:LINE, or FILE: item NUMBER.
        """
        return f"{self.path}:{number}" if self.is_text else f"{self.path}: item {number}"

    def merged(self, contig: str, length: int) -> Intervals:
        """Return the merged intervals of a contig; none when the file does not name it.

        Args:
            contig: Name of the contig.
            length: Bases of the contig.

        Returns:
            Sorted intervals that neither overlap nor touch.

        Raises:
            InputError: An interval ends past the contig.
        """
        if contig not in self.rows:
            return Intervals.empty()
        self.check_ends(contig, length)
        rows = self.rows[contig]
        return merge_intervals(rows.start, rows.end)

    def check_ends(self, contig: str, length: int) -> None:
        """Refuse intervals that end past their contig.

        Args:
            contig: Name of a contig of the file.
            length: Bases of the contig.

        Raises:
            InputError: An interval does.
        """
        rows = self.rows[contig]
        if rows.end.max() > length:
            row = int(np.argmax(rows.end > length))
            raise InputError(
                self.locate(rows.line[row]),
                f"{contig}:{rows.start[row]}-{rows.end[row]}",
                f"ends past the contig, which has {length} bases",
                "give the BED of this very assembly",
            )

    def moved(self, start: int, end: int) -> Regions:
        """Return the same regions with other edges.

        Args:
            start: Bases by which the start of every region is moved, to the left if negative.
            end: Bases by which the end of every region is moved, to the left if negative.

        Raises:
            InputError: A region would begin before its contig, or have no base left.
        """
        moved = {}
        for contig, rows in self.rows.items():
            moved[contig] = rows._replace(start=rows.start + start, end=rows.end + end)
            wrong = (moved[contig].start < 0) | (moved[contig].end <= moved[contig].start)
            if wrong.any():
                row = int(np.argmax(wrong))
                raise InputError(
                    self.locate(rows.line[row]),
                    f"{contig}:{rows.start[row]}-{rows.end[row]}",
                    "would begin before its contig, or have no base left, once its start is moved "
                    f"by {start:+d} and its end by {end:+d}",
                    "move edges by less, or remove the region",
                )
        return self._replace(rows=moved)

    def check_contigs(self, names: Collection[str]) -> None:
        """Check that the genome has every contig of the file.

        Args:
            names: Contigs of the genome, in its order.

        Raises:
            InputError: A contig is missing; names the one that was probably meant, with a command
                that renames it in the file.
        """
        known = frozenset(names)
        unknown = [contig for contig in self.rows if contig not in known]
        if not unknown:
            return
        first = unknown[0]
        place = self.locate(self.rows[first].line[0])
        problem = "the genome has no such contig"
        if len(unknown) == len(self.rows) > 1:
            problem = f"the genome has none of the {len(unknown)} contigs of this file"
        elif len(unknown) > 1:
            problem += f", nor {len(unknown) - 1} more of this file"
        meant = match_contig_names(unknown, names)
        # No guess by spelling: a missing chr9 is not a mistyped chr1, but of another assembly.
        remedy = f"the genome has {shortened_list(names)}: give regions of this very assembly"
        if first in meant:
            command = renaming_command(self.path, meant, complete=len(meant) == len(self.rows))
            remedy = f"the genome calls it {meant[first]}: {command}"
        raise InputError(place, first, problem, remedy)


def read_regions(path: AnyPath, remedy: str = REGIONS_REMEDY) -> Regions:
    """Read the intervals of a BED, narrowPeak, broadPeak (plain or gzip) or bigBed file.

    Args:
        path: The file.
        remedy: What to do when it cannot be used.

    Returns:
        Its intervals by contig.

    Raises:
        InputError: The file cannot be read, is of another kind, or breaks the rules of its kind.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "regions.bed"
        ...     _ = path.write_text("chr1\\t4\\t9\\nchr1\\t7\\t12\\n")
        ...     regions = read_regions(path)
        >>> merged = regions.merged("chr1", length=100)
        >>> merged.start.tolist(), merged.end.tolist()
        ([4], [12])
    """
    return choose_reader(REGION_READERS, path, remedy)(path, remedy)


class PeakFormat(NamedTuple):
    """Columns of one of ENCODE's peak formats, which are BED with more columns.

    A peak's interval is chromStart to chromEnd. The same interval may occur several times with
    other summits, as callers write it that split a peak.
    Format: https://genome.ucsc.edu/FAQ/FAQformat.html#format12
    """

    name: str
    """Name of the format."""
    columns: tuple[str, ...]
    """Names of its columns."""

    def parse_summit(self, place: str, row: str) -> int:
        """Check a row whose first three columns are valid BED, and return its summit.

        Args:
            place: File and line, for the error.
            row: The line, without its end.

        Returns:
            Base of the interval where the peak is highest, counted from 0; -1 where none is known,
            and in formats that have none.

        Raises:
            InputError: The columns are not those of the format; names `place`.
        """
        fields = row.split("\t")
        if len(fields) != len(self.columns):
            raise InputError(
                place,
                f"{len(fields)} columns",
                f"{self.name} has {len(self.columns)}: {', '.join(self.columns)}",
                _other_format_remedy(len(fields)),
            )
        values = dict(zip(self.columns, fields, strict=True))
        for name in _PEAK_NUMBERS:
            if not _NUMBER.fullmatch(values[name]):
                raise self._refusal(place, name, values[name], "a number")
        if values["strand"] not in ("+", "-", "."):
            raise self._refusal(place, "strand", values["strand"], "one of + - .")
        summit = values.get("peak", "-1")
        size = int(values["chromEnd"]) - int(values["chromStart"])
        if not re.fullmatch(r"-1|[0-9]{1,18}", summit) or int(summit) >= max(size, 1):
            allowed = f"-1, or a base of the interval, counted from 0 ({size} bases)"
            raise self._refusal(place, "peak", summit, allowed)
        return int(summit)

    def _refusal(self, place: str, name: str, value: str, allowed: str) -> InputError:
        number = self.columns.index(name) + 1
        return InputError(
            place,
            value or "''",
            f"{name}, column {number} of {self.name}, is {allowed}",
            "correct it, or give the file a name that ends in .bed, for its first three columns",
        )


NARROW_PEAK = PeakFormat("narrowPeak", (*_PEAK_COLUMNS, "peak"))
BROAD_PEAK = PeakFormat("broadPeak", _PEAK_COLUMNS)


def _other_format_remedy(columns: int) -> str:
    formats = (NARROW_PEAK, BROAD_PEAK)
    name = next((peaks.name for peaks in formats if len(peaks.columns) == columns), "bed")
    return f"restore the columns, or give the file a name that ends in .{name}"


class _RowLists(NamedTuple):
    """Rows of one contig, collected one by one."""

    start: list[int]
    end: list[int]
    line: list[int]
    name: list[str]
    summit: list[int]
    """Summit of a peak, or number of a pattern of blocks: rows that share an interval, and differ
    in it, are not the same. Else 0."""
    blocks: dict[int, list[tuple[int, int]]]
    """Start and end of every block, by index of the row; rows of one block are missing."""


class _Table:
    """The rows of a file, as they are read."""

    def __init__(self, path: AnyPath, *, is_text: bool) -> None:
        self.path, self._is_text = path, is_text
        self.by_contig: dict[str, _RowLists] = {}
        self._rows: list[TableRow] = []
        self._patterns: dict[str, int] = {}

    def locate(self, number: int) -> str:
        return f"{self.path}:{number}" if self._is_text else f"{self.path}: item {number}"

    def add(
        self, contig: str, start: int, end: int, number: int, further: str, summit: int = 0
    ) -> None:
        """Add a row.

        Args:
            contig: Name of the contig.
            start: First base, 0-based.
            end: One past the last base.
            number: Line, or item where the file is not text.
            further: The columns behind the third one, with tabs between them.
            summit: Summit of a peak.

        Raises:
            InputError: The row has blocks, and they are wrong.
        """
        place = self.locate(number)
        rows = self.by_contig.setdefault(contig, _RowLists([], [], [], [], [], {}))
        blocks = row_blocks(place, start, end, further) if end > start and further else None
        if blocks is not None and len(blocks) > 1:
            summit = self._patterns.setdefault(str(blocks), len(self._patterns))
            rows.blocks[len(rows.start)] = blocks
        rows.start.append(start)
        rows.end.append(end)
        rows.line.append(number)
        rows.name.append(further.partition("\t")[0])
        rows.summit.append(summit)
        self._rows.append(TableRow(place, contig, further))

    def regions(self, sha256: str, remedy: str) -> Regions:
        """Check the table as a whole, and return its intervals.

        Args:
            sha256: Hex SHA-256 of the file.
            remedy: What to do when there is no row.

        Raises:
            InputError: There is no row, the table is no list of regions, or an interval is empty or
                occurs twice.
        """
        if not self.by_contig:
            raise InputError(self.path, None, "the file has no intervals", remedy)
        check_columns(self._rows, self.by_contig)
        whole = {
            contig: _region_rows(zip(*rows[:4], strict=True))
            for contig, rows in self.by_contig.items()
        }
        regions = Regions(self.path, sha256, whole, self._is_text)
        for contig, rows in self.by_contig.items():
            _check_rows(regions, contig, np.array(rows.summit, np.int64))
        if not self._patterns:
            return regions
        split = {contig: _split_rows(rows) for contig, rows in self.by_contig.items()}
        log.info(
            "%s: rows have several blocks, each of which is a region: %d regions in %d rows",
            self.path,
            sum(len(rows.start) for rows in split.values()),
            len(self._rows),
        )
        return regions._replace(rows=split)


def _split_rows(rows: _RowLists) -> RegionRows:
    """Return the blocks of rows, each as an interval; rows without blocks are one."""
    parts = [
        (start, end, line, name)
        for index, (*whole, line, name) in enumerate(zip(*rows[:4], strict=True))
        for start, end in rows.blocks.get(index, [(whole[0], whole[1])])
    ]
    return _region_rows(parts)


def _region_rows(rows: Iterable[tuple[int, int, int, str]]) -> RegionRows:
    """Return rows of start, end, line and name as columns."""
    start, end, line, name = zip(*rows, strict=True)
    return RegionRows(np.array(start), np.array(end), np.array(line), name)


def read_bed(
    path: AnyPath, remedy: str = REGIONS_REMEDY, peaks: PeakFormat | None = None
) -> Regions:
    """Read intervals and names of a BED file, plain or gzip.

    Lines that begin with `#`, `track` or `browser` and blank lines are skipped. Contig names are
    kept as text, so that `01` and `NA` stay what they are.

    Args:
        path: The file.
        remedy: What to do when it cannot be used.
        peaks: Format whose further columns every row must have; None leaves them unread.

    Returns:
        Its intervals by contig.

    Raises:
        InputError: The file is missing, damaged, not UTF-8 or without rows; a row has fewer than
            three columns, coordinates that are not plain whole numbers, an end that is not after
            its start, blocks that are wrong, other columns than `peaks` has, or repeats an interval
            (of peaks, with the same summit; of rows with blocks, with the same blocks); or the
            table is one of values or pairs. Names file and line.
    """
    source = Source(path, remedy)
    table = _Table(path, is_text=True)
    for number, row in enumerate(source.read_text("a BED text file").split("\n"), 1):
        fields = _BED_ROW.fullmatch(row)
        if fields is None:
            if not _BED_HEADER.fullmatch(row):
                raise _bed_refusal(f"{path}:{number}", row)
            check_header(f"{path}:{number}", row)
            continue
        contig, start, end, further = fields.groups()
        summit = peaks.parse_summit(f"{path}:{number}", row) if peaks else 0
        table.add(contig, int(start), int(end), number, further or "", summit)
    return table.regions(source.sha256, remedy)


def _bed_refusal(place: str, row: str) -> InputError:
    """Say why a row is no BED row."""
    columns = row.split("\t")
    if is_declaration(row):
        return InputError(place, row, "is wiggle, which has values, not regions", REGIONS_REMEDY)
    if len(columns) < 3:
        blanks = len(row.split()) >= 3
        problem = "columns are separated by blanks" if blanks else "fewer than three columns"
        return InputError(place, row, problem, _TABS)
    if not columns[0]:
        return InputError(place, row, "the contig's name is empty", "write it in column one")
    for name, value in zip(("contig", "start", "end"), columns, strict=False):
        if value[:1] in ("'", '"'):
            return InputError(place, value, f"{name} is in quotes", "remove the quotes")
        if value.strip() and value.split() != [value]:
            problem = f"{name} has blanks before, inside or behind it"
            return InputError(place, repr(value), problem, "remove them; columns end with a tab")
    for name, value in zip(("start", "end"), columns[1:3], strict=True):
        if re.fullmatch(r"[0-9]{19,}", value):
            return InputError(place, value, f"{name} is larger than any contig", _BED_COORDINATES)
        if re.fullmatch(r"-[0-9]+", value):
            return InputError(place, value, f"{name} is negative", _BED_COORDINATES)
        if not re.fullmatch(r"0|[1-9][0-9]*", value):
            return InputError(
                place,
                value.strip() or repr(value),
                f"{name} is not a whole number written in digits",
                "write it out, such as 1000; header lines begin with #",
            )
    return InputError(place, row, "not a BED row", _TABS)


def read_bigbed(path: AnyPath, remedy: str = REGIONS_REMEDY) -> Regions:
    """Read every item of a bigBed file; its interval is chromStart to chromEnd.

    pyBigWig decodes. It trusts the file, so the structure is checked first, and afterwards that as
    many items came as the file says it has.
    Format: https://doi.org/10.1093/bioinformatics/btq351, its supplement.

    Args:
        path: The file.
        remedy: What to do when it cannot be used.

    Returns:
        Its intervals by contig.

    Raises:
        InputError: The file is missing, damaged or empty, or repeats an interval (of peaks, with
            the same summit; of items with blocks, with the same blocks), or has items that are no
            regions.
    """
    with report_unreadable(path, remedy), local_copy(path) as file:
        items = _count_bigbed_items(path, file)
        table = _read_bigbed_items(path, file, items)
        return table.regions(sha256_file(file), remedy)


def _count_bigbed_items(path: AnyPath, file: Path) -> int:
    """Return the file's own count of items, after its header and indices have been checked."""
    size = file.stat().st_size
    with file.open("rb") as stream:

        def read_numbers(at: int, shape: struct.Struct) -> tuple[int, ...]:
            if at < 0 or at + shape.size > size:
                _refuse_bigbed(path, "it is cut short")
            stream.seek(at)
            return shape.unpack(stream.read(shape.size))

        signature, _, _, tree, data, index, *_ = read_numbers(0, _BIGBED_HEADER)
        if signature != _BIGBED_SIGNATURE:
            raise InputError(
                path, None, "a bigBed file of another byte order", "write it anew, with bedToBigBed"
            )
        for at, expected in ((tree, _TREE_SIGNATURE), (index, _INDEX_SIGNATURE)):
            if read_numbers(at, _WORD)[0] != expected:
                _refuse_bigbed(path, "an index is not where its header says")
        (items,) = read_numbers(data, _LONG)
    return items


def _read_bigbed_items(path: AnyPath, file: Path, items: int) -> _Table:
    """Read all items, numbered in file order."""
    table = _Table(path, is_text=False)
    number = 0
    try:
        with pyBigWig.open(str(file)) as stored:
            peaks = _SUMMIT_COLUMN.search(stored.SQL() or b"") is not None
            for contig, size in stored.chroms().items():
                for start, end, rest in stored.entries(contig, 0, size) or ():
                    number += 1
                    summit = int(rest.rpartition("\t")[2]) if peaks else 0
                    table.add(contig, start, end, number, rest or "", summit)
    except InputError:  # is a ValueError as well
        raise
    except (RuntimeError, UnicodeDecodeError, ValueError, MemoryError) as error:
        _refuse_bigbed(path, str(error).strip() or "it cannot be unpacked")
    # Some writers count blocks of items there, of which there are no more than items.
    if number < items:
        _refuse_bigbed(path, f"{number} of {items} items could be read")
    return table


def _refuse_bigbed(path: AnyPath, problem: str) -> NoReturn:
    raise InputError(path, None, f"damaged bigBed ({problem})", COPY_AGAIN)


def _check_rows(regions: Regions, contig: str, summit: NDArray[np.int64]) -> None:
    rows = regions.rows[contig]

    def refusal(row: int, problem: str, remedy: str) -> InputError:
        interval = f"{contig}:{rows.start[row]}-{rows.end[row]}"
        return InputError(regions.locate(rows.line[row]), interval, problem, remedy)

    if (rows.end <= rows.start).any():
        row = int(np.argmax(rows.end <= rows.start))
        problem = f"end {rows.end[row]} is not after start {rows.start[row]}"
        raise refusal(row, problem, _BED_COORDINATES)
    key = (rows.start, rows.end, summit)
    order = np.lexsort((rows.line, *reversed(key)))
    same = np.all([np.diff(column[order]) == 0 for column in key], axis=0)
    if same.any():
        first = int(np.argmax(same))
        row, earlier = int(order[first + 1]), order[first]
        where = f"{'line' if regions.is_text else 'item'} {rows.line[earlier]}"
        remedy = "remove one of them"
        if regions.is_text:
            remedy += ", for example with " + ("sort -u" if summit.any() else "cut -f1-3 | sort -u")
        raise refusal(row, f"repeats the interval of {where}", remedy)


REGION_READERS: dict[str, Callable[[AnyPath, str], Regions]] = {
    "BED": read_bed,
    "narrowPeak": partial(read_bed, peaks=NARROW_PEAK),
    "broadPeak": partial(read_bed, peaks=BROAD_PEAK),
    "bigBed": read_bigbed,
}
"""Readers of regions by kind of file; text of no known kind is read as BED."""
