"""Write values of bases as a bigWig file, which genome browsers show.

pyBigWig reads such files, and writes them too, but looks every contig up along the list of all
contigs: a track over 200,000 contigs takes hours. What is here takes time for every value and every
contig once. Format: https://doi.org/10.1093/bioinformatics/btq351, its supplement.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath

SECTION = 1024
"""Runs of a section, which is what is compressed and read at once."""
ZOOM_BASES, ZOOM_FACTOR, ZOOM_LEVELS = 1024, 4, 10
"""Bases of a summary of the first zoom level, how many times as many the next one has, and levels
at most."""
ZOOM_SECTION = 512
"""Summaries of a section."""
NODE = 256
"""Children of a node of an index."""
PENDING = 1 << 16
"""Runs that are collected before they are written."""

_SIGNATURE, _TREE, _INDEX = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_HEADER = struct.Struct("<IHHQQQHHQQIQ")
_ZOOM_HEADER = struct.Struct("<IIQQ")
_SUMMARY = struct.Struct("<Q4d")
_SECTION = struct.Struct("<5I2BH")
_BEDGRAPH = 1
_BUFFER = 1 << 15
"""Bytes of the largest section before compression, at least."""
_RUN = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_BIN = np.dtype(
    [
        *((name, "<u4") for name in ("contig", "start", "end", "valid")),
        *((name, "<f4") for name in ("min", "max", "sum", "squares")),
    ]
)
_PLACE = [(name, "<u4") for name in ("first_contig", "first", "last_contig", "last")]
_LEAF = np.dtype([*_PLACE, ("offset", "<u8"), ("size", "<u8")])
_BRANCH = np.dtype([*_PLACE, ("offset", "<u8")])


class _Runs(NamedTuple):
    """Runs of equal values, in the order of the file."""

    contig: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    value: NDArray[np.float64]


class _Bins(NamedTuple):
    """Sums over bins of one size, in the order of the file."""

    contig: NDArray[np.int64]
    bin: NDArray[np.int64]
    end: NDArray[np.int64]
    valid: NDArray[np.int64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    sum: NDArray[np.float64]
    squares: NDArray[np.float64]


class BigWigTrack:
    """A bigWig file that is being written, contig by contig and base by base.

    Contigs are written in the order of the file's header, bases in ascending order.

    Args:
        file: File opened for writing.
        contigs: Name and length in bases of each contig.
    """

    def __init__(self, file: BinaryIO, contigs: Sequence[tuple[str, int]]) -> None:
        self._file = file
        self._numbers = {name: number for number, (name, _) in enumerate(contigs)}
        self._pending: list[_Runs] = []
        self._held = 0
        self._bins: list[_Bins] = []
        self._index: list[NDArray[np.void]] = []
        self._sections = 0
        file.write(bytes(_HEADER.size + ZOOM_LEVELS * _ZOOM_HEADER.size + _SUMMARY.size))
        self._tree = file.tell()
        _write_names(file, contigs)
        self._data = file.tell()
        file.write(bytes(8))

    def add_bases(
        self, contig: str, position: NDArray[np.int64], values: NDArray[np.floating]
    ) -> None:
        """Add single bases.

        Args:
            contig: Name of the contig.
            position: (n,) bases, 0-based, strictly ascending.
            values: (n,) finite value of each.
        """
        number = np.full(len(position), self._numbers[contig])
        self._add(number, position, position + 1, values)

    def add_spans(
        self, spans: Sequence[tuple[str, int, int]], values: NDArray[np.floating]
    ) -> None:
        """Add the bases of spans, each run of equal values as one entry.

        Args:
            spans: Name of the contig, first base, 0-based, and number of bases of each span.
            values: (n,) values of the bases of all spans, one after the other; NaN gets no entry.
        """
        contig = np.array([self._numbers[name] for name, _, _ in spans])
        start, size = np.array([span[1:] for span in spans], np.int64).T
        first = np.cumsum(size) - size
        # NaN differs from itself, so each NaN is a run of its own, which is left out.
        begins = np.append(True, values[1:] != values[:-1])
        begins[first] = True
        begin = np.flatnonzero(begins)
        end = np.append(begin[1:], len(values))
        kept = np.isfinite(values[begin])
        begin, end = begin[kept], end[kept]
        span = np.searchsorted(first, begin, "right") - 1
        moved = (start - first)[span]
        self._add(contig[span], begin + moved, end + moved, values[begin])

    def _add(
        self,
        number: NDArray[np.int64],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        values: NDArray[np.floating],
    ) -> None:
        if not len(start):
            return
        self._pending.append(_Runs(number, start, end, values.astype(np.float64)))
        self._held += len(start)
        if self._held >= PENDING:
            self._flush()

    def _flush(self) -> None:
        """Write what is pending, in sections of one contig each."""
        if not self._pending:
            return
        runs = _Runs(*map(np.concatenate, zip(*self._pending, strict=True)))
        self._pending, self._held = [], 0
        # A section ends where a contig does, and when it is full.
        change = np.flatnonzero(np.diff(runs.contig, prepend=-1))
        rank = np.arange(len(runs.contig)) - np.repeat(change, np.diff(change, append=len(runs[0])))
        first = np.flatnonzero(rank % SECTION == 0)
        last = np.append(first[1:], len(runs.contig))
        stored = np.empty(len(runs.contig), _RUN)
        stored["start"], stored["end"], stored["value"] = runs.start, runs.end, runs.value
        sections = [
            _SECTION.pack(contig, start, end, 0, 0, _BEDGRAPH, 0, b - a) + stored[a:b].tobytes()
            for a, b, contig, start, end in zip(
                first.tolist(),
                last.tolist(),
                runs.contig[first].tolist(),
                runs.start[first].tolist(),
                runs.end[last - 1].tolist(),
                strict=True,
            )
        ]
        contig = runs.contig[first]
        places = contig, runs.start[first], contig, runs.end[last - 1]
        self._index.append(_write_sections(self._file, sections, places))
        self._sections += len(sections)
        self._bins.append(_summarise(runs, ZOOM_BASES))

    def close(self) -> None:
        """Write indices, zoom levels and, last, the header."""
        self._flush()
        file, index = self._file, _joined_index(self._index)
        index_at = _write_index(file, index)
        bins = [_merge(_joined_bins(self._bins))]
        while len(bins) < ZOOM_LEVELS and len((coarse := _coarser(bins[-1])).bin) > 1:
            if 10 * len(coarse.bin) > 9 * len(bins[-1].bin):
                break  # nearly all contigs are smaller than a bin
            bins.append(coarse)
        zooms = []
        for level, of_level in enumerate(bins):
            if not len(of_level.bin):
                break
            bases = ZOOM_BASES * ZOOM_FACTOR**level
            zooms.append(_ZOOM_HEADER.pack(bases, 0, *_write_zoom(file, of_level, bases)))
        file.write(struct.pack("<I", _SIGNATURE))
        file.seek(0)
        at = _HEADER.size + ZOOM_LEVELS * _ZOOM_HEADER.size
        file.write(
            _HEADER.pack(
                *(_SIGNATURE, 4, len(zooms), self._tree, self._data, index_at, 0, 0, 0, at),
                *(_BUFFER, 0),
            )
        )
        file.write(b"".join(zooms))
        file.seek(at)
        total = bins[0]
        extremes = (total.min.min(), total.max.max()) if len(total.bin) else (0.0, 0.0)
        file.write(
            _SUMMARY.pack(int(total.valid.sum()), *extremes, total.sum.sum(), total.squares.sum())
        )
        file.seek(self._data)
        file.write(struct.pack("<Q", self._sections))


def _write_names(file: BinaryIO, contigs: Sequence[tuple[str, int]]) -> None:
    """Write the tree from names to numbers and lengths of contigs."""
    items = sorted(
        (name.encode(), struct.pack("<II", number, length))
        for number, (name, length) in enumerate(contigs)
    )
    size = max(len(key) for key, _ in items)
    file.write(struct.pack("<4I2Q", _TREE, NODE, size, 8, len(items), 0))
    level = [(key.ljust(size, b"\0"), value) for key, value in items]
    node_bytes = 4 + NODE * (size + 8)
    nodes = [[level[at : at + NODE] for at in range(0, len(level), NODE)]]
    while len(nodes[-1]) > 1:
        below = [node[0][0] for node in nodes[-1]]
        nodes.append(
            [[(key, b"") for key in below[at : at + NODE]] for at in range(0, len(below), NODE)]
        )
    at = file.tell()
    for depth, of_level in enumerate(reversed(nodes)):
        is_leaf = depth == len(nodes) - 1
        at += node_bytes * len(of_level)
        child = at
        for node in of_level:
            body = b""
            for key, value in node:
                body += key + (value if is_leaf else struct.pack("<Q", child))
                child += 0 if is_leaf else node_bytes
            header = struct.pack("<2BH", is_leaf, 0, len(node))
            file.write((header + body).ljust(node_bytes, b"\0"))


def _write_sections(
    file: BinaryIO, sections: list[bytes], places: Sequence[NDArray[np.int64]]
) -> NDArray[np.void]:
    """Compress and write sections; return where each of them is."""
    index = np.empty(len(sections), _LEAF)
    for (name, _), values in zip(_PLACE, places, strict=True):
        index[name] = values
    packed = list(map(zlib.compress, sections))
    index["size"] = sizes = np.array(list(map(len, packed)))
    index["offset"] = file.tell() + np.cumsum(sizes) - sizes
    file.write(b"".join(packed))
    return index


def _write_index(file: BinaryIO, leaves: NDArray[np.void]) -> int:
    """Write the tree from places to sections, its root first; return where it is."""
    at = file.tell()
    levels = [leaves]
    while len(levels[-1]) > NODE:
        levels.append(_parents(levels[-1]))
    (whole,) = _parents(levels[-1]) if len(leaves) else np.zeros(1, _BRANCH)
    places = [int(whole[name]) for name, _ in _PLACE]
    file.write(struct.pack("<2IQ4IQ2I", _INDEX, NODE, len(leaves), *places, at, SECTION, 0))
    below = file.tell()
    for level, children in zip(levels[::-1], [*levels[-2::-1], None], strict=True):
        below += int(_node_sizes(level).sum())
        if children is not None:
            sizes = _node_sizes(children)
            level["offset"] = below + np.cumsum(sizes) - sizes
        for first in range(0, max(1, len(level)), NODE):
            node = level[first : first + NODE]
            file.write(struct.pack("<2BH", children is None, 0, len(node)) + node.tobytes())
    return at


def _node_sizes(items: NDArray[np.void]) -> NDArray[np.int64]:
    """Return the bytes of every node of a level of an index."""
    first = np.arange(0, max(1, len(items)), NODE)
    sizes: NDArray[np.int64] = 4 + items.dtype.itemsize * np.minimum(NODE, len(items) - first)
    return sizes


def _parents(children: NDArray[np.void]) -> NDArray[np.void]:
    """Return one item for each node of children, with the place that they cover together."""
    first = np.arange(0, len(children), NODE)
    last = np.append(first[1:], len(children)) - 1
    parents = np.zeros(len(first), _BRANCH)
    for name in ("first_contig", "first"):
        parents[name] = children[name][first]
    for name in ("last_contig", "last"):
        parents[name] = children[name][last]
    return parents


def _joined_index(parts: list[NDArray[np.void]]) -> NDArray[np.void]:
    return np.concatenate(parts) if parts else np.empty(0, _LEAF)


def _joined_bins(parts: list[_Bins]) -> _Bins:
    if not parts:
        return _Bins(*(np.empty(0, np.int64),) * 4, *(np.empty(0),) * 4)
    return _Bins(*map(np.concatenate, zip(*parts, strict=True)))


def _summarise(runs: _Runs, bases: int) -> _Bins:
    """Sum up runs over bins."""
    first, last = runs.start // bases, (runs.end - 1) // bases
    owner = np.repeat(np.arange(len(first)), last - first + 1)
    rank = np.arange(len(owner)) - np.repeat(
        np.cumsum(last - first + 1) - (last - first + 1), last - first + 1
    )
    place = first[owner] + rank
    start = np.maximum(runs.start[owner], place * bases)
    end = np.minimum(runs.end[owner], (place + 1) * bases)
    valid, value = end - start, runs.value[owner]
    return _merge(
        _Bins(runs.contig[owner], place, end, valid, value, value, valid * value, valid * value**2)
    )


def _merge(bins: _Bins) -> _Bins:
    """Add up neighbours that are of the same bin."""
    if not len(bins.bin):
        return bins
    new = (np.diff(bins.contig, prepend=-1) != 0) | (np.diff(bins.bin, prepend=-1) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new)) - 1
    return _Bins(
        bins.contig[first],
        bins.bin[first],
        bins.end[last],
        np.add.reduceat(bins.valid, first),
        np.minimum.reduceat(bins.min, first),
        np.maximum.reduceat(bins.max, first),
        np.add.reduceat(bins.sum, first),
        np.add.reduceat(bins.squares, first),
    )


def _coarser(bins: _Bins) -> _Bins:
    return _merge(bins._replace(bin=bins.bin // ZOOM_FACTOR))


def _write_zoom(file: BinaryIO, bins: _Bins, bases: int) -> tuple[int, int]:
    """Write a zoom level; return where its data and its index are."""
    stored = np.empty(len(bins.bin), _BIN)
    for name, values in zip(
        ("contig", "start", "end", "valid", "min", "max", "sum", "squares"),
        (bins.contig, bins.bin * bases, *bins[2:]),
        strict=True,
    ):
        stored[name] = values
    at = file.tell()
    file.write(struct.pack("<I", len(stored)))
    first = np.arange(0, len(stored), ZOOM_SECTION)
    last = np.minimum(first + ZOOM_SECTION, len(stored)) - 1
    sections = [stored[a : b + 1].tobytes() for a, b in zip(first, last, strict=True)]
    # The end of the last bin is not the largest where a section has several contigs, and need not
    # be: places are compared by contig first.
    places = bins.contig[first], stored["start"][first], bins.contig[last], bins.end[last]
    index = _write_sections(file, sections, places)
    return at, _write_index(file, index)


@contextmanager
def create_bigwig(path: AnyPath, contigs: Sequence[tuple[str, int]]) -> Iterator[BigWigTrack]:
    """Create a bigWig file, which appears whole when the block succeeds, or not at all.

    Args:
        path: The file to write.
        contigs: Name and length in bases of each contig, in the order in which they are added.

    Yields:
        The track to fill.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        track = BigWigTrack(file, contigs)
        yield track
        track.close()
