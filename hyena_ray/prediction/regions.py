"""Join called bases to regions, while a genome goes by.

In: `Stretch`es of probabilities in order.  Out: `Region`s in the same order.  One region in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.genome.intervals import true_runs
from hyena_ray.settings import Settings


class RegionSettings(Settings):
    """What counts as a region."""

    threshold: float = Field(ge=0)
    """Probability from which a base is called."""
    min_length: int = Field(default=1, ge=1)
    """Shorter regions are left out, after joining."""
    merge_gap: int = Field(default=0, ge=0)
    """Runs of called bases are joined where at most so many bases lie between them."""


class Stretch(NamedTuple):
    """Probabilities of neighbouring bases."""

    contig: str
    start: int
    """First base, 0-based."""
    values: NDArray[np.float32]
    """(n,) multiples of `PRECISION`; NaN for N."""


class Region(NamedTuple):
    """Called bases of one contig, with the gaps that were joined."""

    contig: str
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""
    mean: float
    """Probability, over its bases that are not N."""
    max: float
    summit: int
    """First base that has it."""


class RegionCaller:
    """Takes stretch after stretch, a contig at a time and in order; gives regions as they end.

    The stretches of a contig ascend; where one does not begin at the other's end, every base
    between them is N. How a contig is cut into stretches changes nothing.
    """

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._open: _Open | None = None

    def add(self, stretch: Stretch) -> Iterator[Region]:
        """Regions that end before the last ones of this stretch."""
        settings = self._settings
        if self._open is not None and self._open.contig != stretch.contig:
            yield from self.finish()
        runs = true_runs(stretch.values >= settings.threshold)
        known = np.isfinite(stretch.values)
        values = np.where(known, stretch.values, 0).astype(np.float64)
        # Exact, since probabilities are multiples of `PRECISION`.
        sums = np.append(0.0, np.cumsum(values))
        counts = np.append(0, np.cumsum(known))
        done = 0
        for start, end in zip(runs.start.tolist(), runs.end.tolist(), strict=True):
            place = stretch.start + start
            if self._open is not None and place - self._open.end > settings.merge_gap:
                yield from self.finish()
            summit = start + int(np.argmax(values[start:end]))
            if self._open is None:
                self._open = _Open(stretch.contig, place)
            else:
                self._open.pass_by(sums[start] - sums[done], counts[start] - counts[done])
            self._open.extend(
                stretch.start + end,
                sums[end] - sums[start],
                counts[end] - counts[start],
                float(values[summit]),
                stretch.start + summit,
            )
            done = end
        if self._open is not None:
            self._open.pass_by(sums[-1] - sums[done], counts[-1] - counts[done])

    def finish(self) -> Iterator[Region]:
        """The region that is open, if any: nothing more comes."""
        last, self._open = self._open, None
        if last is not None and last.end - last.start >= self._settings.min_length:
            yield Region(
                last.contig, last.start, last.end, last.sum / last.count, last.max, last.summit
            )


class _Open:
    """A region that may go on."""

    def __init__(self, contig: str, start: int) -> None:
        self.contig, self.start, self.end, self.summit = contig, start, start, start
        self.sum, self.count, self.max = 0.0, 0, -1.0
        self._gap_sum, self._gap_count = 0.0, 0

    def pass_by(self, total: float, count: int) -> None:
        """Bases behind its end that are not called: its own only if it goes on."""
        self._gap_sum += total
        self._gap_count += int(count)

    def extend(self, end: int, total: float, count: int, highest: float, summit: int) -> None:
        """A run of called bases belongs to it, and so does what was passed by."""
        self.end = end
        self.sum += total + self._gap_sum
        self.count += int(count) + self._gap_count
        self._gap_sum, self._gap_count = 0.0, 0
        if highest > self.max:
            self.max, self.summit = highest, summit
