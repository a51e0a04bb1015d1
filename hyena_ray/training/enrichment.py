"""How much more of some regions a model calls than of the genome around them.

Regions of another experiment are few, wide, or only near what a model recognises, so that precision
and recall by the base say little about them. What can be asked is whether calls are enriched in
them. Two answers are given: an interval from blocks of the genome that are drawn with replacement,
and what the same calls have in regions that are moved along their contigs, all by the same
distance and around the end. Moved regions keep their lengths and their distances, and calls stay
where they are, in clusters or not; so neither has to be independent of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Intervals, count_covered_bases, merge_intervals
from hyena_ray.training.bootstrap import REPLICATES, Interval, interval_of
from hyena_ray.training.metrics import Numbers, ratio

SHIFTS = 999
"""Distances that regions are moved by, so that no p-value is below 0.001."""
TOP_SHARES = (0.01, 0.001)
"""Shares of the scored bases that are called besides those that reach the model's threshold."""
_AT_ONCE = 1 << 20
"""Ends of regions that are moved at once."""


class Enrichment(NamedTuple):
    """Enrichment of calls in regions, at one threshold."""

    threshold: float
    """Probability from which a base is called."""
    called: float
    """Fraction of the scored bases that is called."""
    inside: float
    """Fraction of the bases of regions that is called."""
    fold: float
    """inside / called: 1 by chance."""
    interval: Interval
    """95 % interval of `fold`, from draws of blocks."""
    shifted: Interval
    """Interval that holds 95 % of the folds of shifted regions."""
    p_value: float
    """Fraction of the shifts, the regions as they are among them, with as high a fold."""

    def __str__(self) -> str:
        (low, high), (by_chance, most) = self.interval, self.shifted
        return (
            f"enrichment from {self.threshold:.4g} on, {self.called:.3%} of the bases: "
            f"{self.inside:.2%} of the regions called, fold {self.fold:.2f}  ({low:.2f} to "
            f"{high:.2f}); regions shifted along their contigs {by_chance:.2f} to {most:.2f}, "
            f"p = {self.p_value:.3f}"
        )


class Calls(NamedTuple):
    """Bases that are called at one threshold, among the scored ones, which are counted from 0."""

    threshold: float
    """Probability from which a base is called."""
    runs: Intervals
    """Runs of called bases."""
    called: NDArray[np.int64]
    """(m,) called bases of each stretch."""
    inside: NDArray[np.int64]
    """(m,) those of them that are in a region."""


class TopScores:
    """The highest scores of a genome: exactly those from the lowest threshold that keeps so many.

    A score that too many bases share is left out with all that are lower.

    Args:
        most: Number of bases to keep at most.

    Example:
        >>> top = TopScores(2)
        >>> top.add(np.array([5, 6, 7]), np.array([0.5, 0.9, 0.5]), np.array([True, False, True]))
        >>> top.bases.tolist(), top.threshold
        ([6], 0.9)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._above = -np.inf
        self.bases: NDArray[np.int64] = np.empty(0, np.int64)
        """Numbers of the bases, ascending."""
        self.scores: NDArray[np.float32] = np.empty(0, np.float32)
        """Their scores."""
        self.labelled: NDArray[np.bool_] = np.empty(0, np.bool_)
        """Whether they are in a region."""

    @property
    def threshold(self) -> float:
        """The lowest score that is kept; infinite where none is."""
        return float(self.scores.min(initial=np.inf))

    def add(
        self,
        bases: NDArray[np.int64],
        scores: NDArray[np.float32],
        labelled: NDArray[np.bool_],
    ) -> None:
        """Add bases.

        Args:
            bases: Numbers of the bases, ascending and above those of all earlier ones, shape (n,).
            scores: Their scores, shape (n,).
            labelled: Whether they are in a region, shape (n,).
        """
        self.bases = np.concatenate((self.bases, bases))
        self.scores = np.concatenate((self.scores, scores))
        self.labelled = np.concatenate((self.labelled, labelled))
        if len(self.scores) > self._most:
            place = len(self.scores) - self._most - 1
            self._above = max(self._above, float(np.partition(self.scores, place)[place]))
        self._keep(self.scores > self._above)

    def highest(self, most: int) -> TopScores:
        """Return fewer of them.

        Args:
            most: Number of bases to keep at most.
        """
        fewer = TopScores(most)
        fewer.add(self.bases, self.scores, self.labelled)
        return fewer

    def calls(self, stretches: int, stretch: int) -> Calls:
        """Return them as calls.

        Args:
            stretches: Number of stretches that were scored.
            stretch: Bases of a stretch.
        """
        of_stretch = self.bases // stretch
        none = Intervals.empty()
        return Calls(
            self.threshold,
            merge_intervals(self.bases, self.bases + 1) if len(self.bases) else none,
            np.bincount(of_stretch, minlength=stretches),
            np.bincount(of_stretch[self.labelled], minlength=stretches),
        )

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self.bases, self.scores = self.bases[kept], self.scores[kept]
        self.labelled = self.labelled[kept]


class ScoredGenome(NamedTuple):
    """The stretches of whole contigs that were scored, in the order of the genome."""

    stretch: int
    """Bases of a stretch."""
    edges: NDArray[np.int64]
    """(k + 1,) stretches before each contig, and all of them."""
    block: NDArray[np.int64]
    """(m,) block that each stretch is resampled with."""
    regions: Intervals
    """Regions, among the scored bases counted from 0."""
    labelled: NDArray[np.int64]
    """(m,) bases of each stretch that are in a region."""


def measure_enrichment(genome: ScoredGenome, calls: Calls, *, seed: int) -> Enrichment:
    """Compare the share of called bases in regions with that of all bases.

    Args:
        genome: What was scored, with at least one labelled base.
        calls: Calls at one threshold, at least one.
        seed: Seed of the draws and of the shifts.
    """
    rng = np.random.default_rng(seed)
    blocks = int(genome.block.max()) + 1
    every = np.full(len(genome.block), genome.stretch)
    sums = [
        np.bincount(genome.block, counts, blocks)
        for counts in (calls.inside, genome.labelled, calls.called, every)
    ]
    times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=REPLICATES)
    drawn: list[Numbers] = [times.astype(np.float64) @ of_block for of_block in sums]
    usable = (drawn[1] > 0) & (drawn[2] > 0)
    inside, labelled, called, bases = (float(of_block.sum()) for of_block in sums)
    per_base = bases / (labelled * called)
    shifted = shifted_overlaps(genome, calls.runs, rng)
    return Enrichment(
        threshold=calls.threshold,
        called=called / bases,
        inside=inside / labelled,
        fold=inside * per_base,
        interval=interval_of(_folds(*(values[usable] for values in drawn))),
        shifted=interval_of(shifted * per_base),
        p_value=float(1 + (shifted >= inside).sum()) / (1 + len(shifted)),
    )


def _folds(inside: Numbers, labelled: Numbers, called: Numbers, bases: Numbers) -> Numbers:
    return ratio(inside * bases, labelled * called)


def shifted_overlaps(
    genome: ScoredGenome, called: Intervals, rng: np.random.Generator, shifts: int = SHIFTS
) -> Numbers:
    """Count the called bases in regions that are moved around their contigs, many times over.

    Args:
        genome: What was scored.
        called: Runs of called bases.
        rng: Source of the distances, one for each contig and shift.
        shifts: Number of shifts.

    Returns:
        Called bases in shifted regions, shape (shifts,).
    """
    overlaps = np.zeros(shifts)
    edges = (genome.edges * genome.stretch).tolist()
    for first, last in pairwise(edges):
        regions, calls = (_within(runs, first, last) for runs in (genome.regions, called))
        if not (len(regions.start) and len(calls.start)):
            continue
        distance = rng.integers(0, last - first, shifts)
        rows = max(1, _AT_ONCE // len(regions.start))
        for part in range(0, shifts, rows):
            moved = distance[part : part + rows, None]
            begin, end = (_called_before(calls, moved + ends, last - first) for ends in regions)
            overlaps[part : part + rows] += (end - begin).sum(1)
    return overlaps


def _within(runs: Intervals, first: int, last: int) -> Intervals:
    """Return the parts of runs that are on one contig, from its first base on."""
    begin, stop = np.searchsorted(runs.end, first, "right"), np.searchsorted(runs.start, last)
    start, end = runs.start[begin:stop], runs.end[begin:stop]
    return Intervals(np.maximum(start, first) - first, np.minimum(end, last) - first)


def _called_before(calls: Intervals, place: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Count the called bases before places on a contig, which may be once around it."""
    turns, place = np.divmod(place, size)
    every = int((calls.end - calls.start).sum())
    return turns * every + count_covered_bases(calls, np.zeros_like(place), place)


def join_runs(parts: Sequence[Intervals]) -> Intervals:
    """Join the runs of several parts, so that those that touch are one.

    Args:
        parts: Runs of each part.
    """
    start, end = (np.concatenate(column) for column in zip(Intervals.empty(), *parts, strict=True))
    return merge_intervals(start, end) if len(start) else Intervals.empty()
