"""Regions: runs of bases with a high probability, joined across small gaps.

A prediction writes these regions, and an evaluation counts them: both call them here, so that the
figures are of what is written. Probabilities pass by stretch after stretch; one stretch and one
region are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.genome.intervals import true_runs
from hyena_ray.settings import Settings


class RegionSettings(Settings):
    """How probabilities of single bases become regions.

    Example:
        >>> RegionSettings(threshold=0.5, merge_gap=10).min_length
        1
    """

    threshold: float = Field(ge=0)
    """Lowest probability at which a base is called."""
    min_length: int = Field(default=1, ge=1)
    """Length in bases of the shortest region that is kept, after neighbouring ones were joined."""
    merge_gap: int = Field(default=0, ge=0)
    """Largest number of uncalled bases between two runs of called bases that are joined into one
    region."""

    def changed(
        self, threshold: float | None, min_length: int | None, merge_gap: int | None
    ) -> RegionSettings:
        """Return these settings with others in their place where they are given.

        Args:
            threshold: Lowest probability at which a base is called; None keeps it.
            min_length: Bases of the shortest region; None keeps it.
            merge_gap: Largest gap that is joined; None keeps it.

        Raises:
            InputError: A value is out of range.
        """
        given = {"threshold": threshold, "min_length": min_length, "merge_gap": merge_gap}
        return self.updated(
            {name: value for name, value in given.items() if value is not None}, "regions"
        )


class Stretch(NamedTuple):
    """Probabilities of consecutive bases."""

    contig: str
    """Name of the contig."""
    start: int
    """First base, 0-based."""
    values: NDArray[np.float32]
    """Probabilities, multiples of `hyena_ray.model.predictor.PRECISION`, shape (n,); NaN for N."""


class Region(NamedTuple):
    """Called bases of one contig, with the gaps between them that were joined."""

    contig: str
    """Name of the contig."""
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""
    mean: float
    """Mean probability of the bases that are not N."""
    max: float
    """Highest probability."""
    summit: int
    """First base with the highest probability, 0-based."""


def call_regions(stretches: Iterable[Stretch], settings: RegionSettings) -> Iterator[Region]:
    """Join called bases to regions, while a genome passes by.

    How a contig is cut into stretches changes nothing.

    Args:
        stretches: Probabilities, a contig at a time, ascending within it. Where a stretch does not
            start at the end of the last one, every base between them is N.
        settings: Threshold, shortest region and largest gap.

    Yields:
        Regions in the same order.

    Example:
        >>> values = np.array([0, 0.75, 0.75, 0, 0.75, 0, 0, 0.5], np.float32)
        >>> settings = RegionSettings(threshold=0.5, min_length=2, merge_gap=1)
        >>> for region in call_regions([Stretch("chr1", 100, values)], settings):
        ...     print(region.start, region.end, region.mean)
        101 105 0.5625
    """
    caller = _RegionCaller(settings)
    for stretch in stretches:
        yield from caller.add(stretch)
    yield from caller.finish()


class _RegionCaller:
    """State of `call_regions` between stretches."""

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._open: _OpenRegion | None = None

    def add(self, stretch: Stretch) -> Iterator[Region]:
        """Yield the regions that end before the last bases of this stretch."""
        settings = self._settings
        if self._open is not None and self._open.contig != stretch.contig:
            yield from self.finish()
        called = stretch.values >= settings.threshold
        if self._open is None and not called.any():
            return
        runs = true_runs(called)
        known = np.isfinite(stretch.values)
        values = np.where(known, stretch.values, 0).astype(np.float64)
        # Exact, since probabilities are multiples of a power of two.
        sums, counts = np.zeros(len(values) + 1), np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=sums[1:])
        np.cumsum(known, out=counts[1:])
        done = 0
        for start, end in zip(runs.start.tolist(), runs.end.tolist(), strict=True):
            position = stretch.start + start
            if self._open is not None and position - self._open.end > settings.merge_gap:
                yield from self.finish()
            summit = start + int(np.argmax(values[start:end]))
            if self._open is None:
                self._open = _OpenRegion(stretch.contig, position)
            else:
                self._open.pass_gap(sums[start] - sums[done], counts[start] - counts[done])
            self._open.extend(
                stretch.start + end,
                sums[end] - sums[start],
                counts[end] - counts[start],
                float(values[summit]),
                stretch.start + summit,
            )
            done = end
        if self._open is not None:
            self._open.pass_gap(sums[-1] - sums[done], counts[-1] - counts[done])

    def finish(self) -> Iterator[Region]:
        """Yield the open region, if there is one: no more called bases follow."""
        last, self._open = self._open, None
        if last is not None and last.end - last.start >= self._settings.min_length:
            yield Region(
                last.contig, last.start, last.end, last.sum / last.count, last.max, last.summit
            )


class _OpenRegion:
    """A region that may still be extended."""

    def __init__(self, contig: str, start: int) -> None:
        self.contig, self.start, self.end, self.summit = contig, start, start, start
        self.sum, self.count, self.max = 0.0, 0, -1.0
        self._gap_sum, self._gap_count = 0.0, 0

    def pass_gap(self, total: float, count: int) -> None:
        """Remember uncalled bases after the end, which belong to it only if it is extended."""
        self._gap_sum += total
        self._gap_count += int(count)

    def extend(self, end: int, total: float, count: int, highest: float, summit: int) -> None:
        """Add a run of called bases, and the gap before it."""
        self.end = end
        self.sum += total + self._gap_sum
        self.count += int(count) + self._gap_count
        self._gap_sum, self._gap_count = 0.0, 0
        if highest > self.max:
            self.max, self.summit = highest, summit
