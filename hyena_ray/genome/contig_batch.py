"""Contigs that are cut together: a large one alone, small ones many at a time.

A genome may be 200,000 contigs of a few hundred bases. Arrays over one of them cost more time to
make than to fill, so that consecutive contigs are put into one array, with N between them. Places
in that array are called positions; on its contig, a base has a coordinate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.contigs import N_CODE, Contig
from hyena_ray.genome.intervals import Intervals, label_bases, merge_intervals, true_runs
from hyena_ray.genome.signal_tracks import SignalReader

BATCH = 1 << 20
"""Bases of a batch of several contigs, at most."""


class ContigBatch:
    """Consecutive contigs of a genome, and what their tiles are judged by.

    Args:
        contigs: The contigs.
        labels: Labelled intervals of each.
        blacklist: Intervals of each that no tile may touch.
        first: Bases of the genome before the first contig.
        padding: N between two contigs.
        signals: Signal tracks, open; None where there is none.

    Example:
        >>> acgt, none = np.array([0, 1, 2, 3], np.uint8), Intervals.empty()
        >>> labels = Intervals(np.array([1]), np.array([3]))
        >>> contigs = [Contig("a", acgt, ""), Contig("b", acgt, "")]
        >>> batch = ContigBatch(contigs, [none, labels], [none, none], first=0, padding=2)
        >>> batch.codes.tolist(), batch.offset.tolist(), batch.labels.start.tolist()
        ([0, 1, 2, 3, 4, 4, 0, 1, 2, 3], [0, 6], [7])
    """

    def __init__(
        self,
        contigs: list[Contig],
        labels: list[Intervals],
        blacklist: list[Intervals],
        *,
        first: int,
        padding: int,
        signals: SignalReader | None = None,
    ) -> None:
        self._signals = signals
        self._levels: NDArray[np.uint8] | None = None
        self._read: set[int] = set()
        self.names = [contig.name for contig in contigs]
        """Names of the contigs."""
        self.size = np.array([len(contig.codes) for contig in contigs], np.int64)
        """(k,) bases of each contig."""
        self.offset = np.cumsum(self.size + padding) - self.size - padding
        """(k,) position of the first base of each contig."""
        self.first = first + np.cumsum(self.size) - self.size
        """(k,) bases of the genome before each contig."""
        self.codes = contigs[0].codes if len(contigs) == 1 else _joined(contigs, padding)
        """Base codes of all contigs, with N between them."""
        self.labels, self.blacklist = self._at(labels), self._at(blacklist)
        """Labelled intervals, and those that no tile may touch, in positions."""

    def _at(self, intervals: list[Intervals]) -> Intervals:
        sizes = [len(of.start) for of in intervals]
        shift = np.repeat(self.offset, sizes)
        start, end = (np.concatenate(column) for column in zip(*intervals, strict=True))
        return Intervals(start + shift, end + shift)

    @cached_property
    def base_labels(self) -> NDArray[np.int8]:
        """1 for every labelled position, else 0."""
        return label_bases(self.labels, len(self.codes))

    def levels(self, contigs: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the levels of the tracks, of which those of some contigs are needed.

        Args:
            contigs: Indices of the contigs; others may have no level yet.

        Returns:
            Shape (positions, tracks), uint8.

        Raises:
            InputError: A track lacks one of the contigs, or has it with another length.
        """
        signals = self._signals
        if signals is None:
            return np.zeros((len(self.codes), 0), np.uint8)
        if self._levels is None:
            self._levels = np.zeros((len(self.codes), signals.columns), np.uint8)
        for index in set(np.unique(contigs).tolist()) - self._read:
            at, size = int(self.offset[index]), int(self.size[index])
            self._levels[at : at + size] = signals.levels(self.names[index], size, 0, size)
            self._read.add(index)
        return self._levels

    @cached_property
    def unknown(self) -> Intervals:
        """Runs of N, in positions."""
        return true_runs(self.codes == N_CODE)

    def grid(self, length: int, stride: int) -> Grid:
        """Return where tiles begin.

        Args:
            length: Bases of a tile.
            stride: Bases from one tile's start to the next one's.
        """
        count = np.maximum(0, (self.size - length) // stride + 1)
        before = np.cumsum(count) - count
        contig = np.repeat(np.arange(len(count)), count)
        start = (np.arange(len(contig)) - before[contig]) * stride
        return Grid(count, before, contig, start)

    def spans(self, stretch: int, chosen: NDArray[np.bool_]) -> Intervals:
        """Return where some stretches are, in positions; neighbours are one interval.

        Args:
            stretch: Bases of a stretch.
            chosen: Whether each stretch is wanted, in the order of `stretches`.
        """
        grid = self.stretches(stretch)
        contig, first = grid.contig[chosen], grid.start[chosen]
        last = np.minimum(first + stretch, self.size[contig])
        if not len(first):
            return Intervals.empty()
        return merge_intervals(self.offset[contig] + first, self.offset[contig] + last)

    def stretches(self, stretch: int) -> Grid:
        """Return where the stretches of each contig begin, the incomplete last one included.

        Args:
            stretch: Bases of a stretch.
        """
        return self.grid(1, stretch)


class Grid(NamedTuple):
    """Tiles of the contigs of a batch, in their order."""

    number: NDArray[np.int64]
    """(k,) tiles of each contig."""
    before: NDArray[np.int64]
    """(k,) tiles before those of each contig."""
    contig: NDArray[np.int64]
    """(n,) contig of each tile, its index in the batch."""
    start: NDArray[np.int64]
    """(n,) first base of each tile, a coordinate."""


def _joined(contigs: list[Contig], padding: int) -> NDArray[np.uint8]:
    between = np.full(padding, N_CODE, np.uint8)
    parts = [part for contig in contigs for part in (contig.codes, between)]
    return np.concatenate(parts[:-1])


def batched(contigs: Iterable[Contig], bases: int = BATCH) -> Iterator[list[Contig]]:
    """Put consecutive contigs together, as long as they have few bases.

    Args:
        contigs: Contigs of a genome.
        bases: Bases of several contigs, at most.

    Yields:
        Contigs in their order; a longer one alone, which nothing else holds in memory.

    Example:
        >>> contigs = [Contig(name, np.zeros(4, np.uint8), "") for name in "abc"]
        >>> [[contig.name for contig in batch] for batch in batched(contigs, bases=8)]
        [['a', 'b'], ['c']]
    """
    batch: list[Contig] = []
    held = 0
    for contig in contigs:
        if batch and held + len(contig.codes) > bases:
            yield batch
            batch, held = [], 0
        held += len(contig.codes)
        batch.append(contig)
        del contig  # memory is for one batch at a time
        if held > bases:
            full, batch, held = batch, [], 0
            yield full
            del full
    if batch:
        yield batch
