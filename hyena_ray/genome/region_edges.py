"""The edges of labelled regions: in how many a structure begins and ends there, or near there.

Only a few bases around the edges of some hundred regions are read. `region_shape` has the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.intervals import Intervals, gather_windows
from hyena_ray.genome.region_shape import REACH, SHIFTS, EdgeProfile, RegionShape
from hyena_ray.genome.untrained import UNTRAINED_PREDICTORS, zhunt_windows

SAMPLE = 400
"""Regions at most whose edges are read, evenly over the file: Z-HUNT needs 0.1 ms for an edge, and
this many show a shift beyond doubt."""
LEAST_GAIN = 1.5
"""Regions that fit a moved edge for each one that fits the edge as it is, at the least, where the
edge is called shifted."""
CHANCE = 0.001
"""Probability at most of calling any edge shifted, if regions fit the moved edge by chance."""
TRACT_SCORE = UNTRAINED_PREDICTORS["zdna"].thresholds[0]
"""Z-HUNT's score from which a window is a tract of Z-DNA."""
TRACT_GAIN = 1.5
"""Z-HUNT's score of the first window of a tract, for that of a window which begins one or two bases
farther out, at the least."""
_DINUCLEOTIDES = 6
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)


class Structure(NamedTuple):
    """What begins with the first base of a region and, on the other strand, with its last one."""

    name: str
    """Name in text, with its article."""
    before: int
    """Bases before its first one that have to be known to tell that it begins there."""
    after: int
    """Bases from its first one on that have to be known."""
    begins: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
    """Function of base codes, shape (n, W), that tells where it begins: the first of W - `before` -
    `after` + 1 columns is for base `before`."""


def _alternation_begins(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    left, right = codes[:, :-1], codes[:, 1:]
    # A and G have even codes, C and T odd ones.
    alternates = ((left ^ right) & 1).astype(bool) & (np.maximum(left, right) < N_CODE)
    return _runs_begin(alternates, 2)


def _g_or_c_begin(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    left, right = codes[:, :-1], codes[:, 1:]
    return _runs_begin((left == right) & ((right == 1) | (right == 2)), 3)


def _runs_begin(continues: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Tell where a run of at least `shortest` bases begins.

    Args:
        continues: Whether a base continues the run of the base before it, shape (n, W - 1).
        shortest: Bases of the shortest run.

    Returns:
        One column for each base from the second on, shape (n, W - shortest).
    """
    steps = sliding_window_view(continues, shortest, axis=1)
    begins: NDArray[np.bool_] = ~steps[..., 0] & steps[..., 1:].all(-1)
    return begins


def _tract_begins(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    scores, _ = zhunt_windows(codes, (_DINUCLEOTIDES, _DINUCLEOTIDES))
    farther_out = np.maximum(scores[:, 1:-1], scores[:, :-2])
    begins: NDArray[np.bool_] = (scores[:, 2:] >= TRACT_SCORE) & (
        scores[:, 2:] >= TRACT_GAIN * farther_out
    )
    return begins


STRUCTURES: dict[str, tuple[Structure, ...]] = {
    "zdna": (
        Structure("a tract of Z-HUNT", 2, 2 * _DINUCLEOTIDES, _tract_begins),
        Structure("an alternation of purines and pyrimidines", 1, 2, _alternation_begins),
    ),
    "g4": (Structure("a run of at least 3 G or C", 1, 3, _g_or_c_begin),),
}
"""Structures by name of the task; the first one decides whether edges look shifted. The regions of
a task that is missing have none at their edges."""


FARTHEST = REACH + max(
    bases for task in STRUCTURES.values() for one in task for bases in (one.before, one.after)
)
"""Bases at most that are read beyond the edge of a region."""


class ShapeCounter:
    """Collect the shape of regions contig by contig.

    Args:
        task: Name of the task, which decides the structures.
        regions: Regions of all contigs, or more.

    Example:
        >>> codes = np.array([0, 0, 1, 2, 1, 2, 2, 0], np.uint8)  # AA CGCG GA
        >>> counter = ShapeCounter("zdna", regions=1)
        >>> counter.add(codes, Intervals(np.array([2]), np.array([7])))
        >>> counter.shape().profiles[1].end  # the alternation ends one base before the region
        (0, 0, 0, 1, 0, 0, 0, 0, 0)
    """

    def __init__(self, task: str, regions: int) -> None:
        self._structures = STRUCTURES.get(task, ())
        self._step = max(1, -(-regions // SAMPLE))
        self._sizes: list[NDArray[np.int64]] = []
        self._edges = [(_EdgeCounts(), _EdgeCounts()) for _ in self._structures]
        self._seen = self._profiled = 0

    def add(self, codes: NDArray[np.uint8], regions: Intervals) -> None:
        """Count the regions of a contig.

        Args:
            codes: Base codes of the contig, shape (length,); A C G T = 0 1 2 3, anything else 4.
            regions: Its regions.
        """
        self._sizes.append(regions.end - regions.start)
        chosen = slice(-self._seen % self._step, None, self._step)
        starts, ends = regions.start[chosen], regions.end[chosen]
        self._seen += len(regions.start)
        self._profiled += len(starts)
        if not len(starts):
            return
        for structure, (start, end) in zip(self._structures, self._edges, strict=True):
            before, after = REACH + structure.before, REACH + structure.after
            width = before + after
            start.add(structure.begins(gather_windows(codes, starts - before, width, N_CODE)))
            windows = gather_windows(codes, ends - after, width, N_CODE)
            # On the other strand, an end is a start.
            end.add(structure.begins(_COMPLEMENT[windows[:, ::-1]])[:, ::-1])

    def shape(self) -> RegionShape:
        """Return the shape of all regions that were counted, at least one."""
        sizes = np.concatenate(self._sizes)
        shortest, median, longest = np.quantile(sizes, (0, 0.5, 1), method="inverted_cdf")
        return RegionShape(
            regions=len(sizes),
            shortest=int(shortest),
            median=int(median),
            longest=int(longest),
            odd=int((sizes % 2).sum()),
            profiled=self._profiled if self._structures else 0,
            profiles=tuple(
                EdgeProfile(structure=structure.name, start=start.fitting, end=end.fitting)
                for structure, (start, end) in zip(self._structures, self._edges, strict=True)
            ),
            shifts=(self._edges[0][0].shift(), self._edges[0][1].shift())
            if self._edges
            else (0, 0),
        )


class _EdgeCounts:
    """Regions that fit each shift of one edge, and those among them that fit it unmoved as well."""

    def __init__(self) -> None:
        self._fitting = np.zeros(len(SHIFTS), np.int64)
        self._both = np.zeros(len(SHIFTS), np.int64)

    @property
    def fitting(self) -> tuple[int, ...]:
        return tuple(self._fitting.tolist())

    def add(self, fitting: NDArray[np.bool_]) -> None:
        self._fitting += fitting.sum(0)
        self._both += (fitting & fitting[:, REACH, None]).sum(0)

    def shift(self) -> int:
        """Return the shift that clearly more regions fit, by McNemar's exact test, or 0."""
        best = int(np.argmax(self._fitting))
        fitting, unmoved, both = (
            int(counts) for counts in (self._fitting[best], self._fitting[REACH], self._both[best])
        )
        if best == REACH or fitting == 0 or fitting < LEAST_GAIN * unmoved:
            return 0
        gained, changed = fitting - both, fitting + unmoved - 2 * both
        # Of the regions that fit at one of the two shifts alone, each does so at either shift with
        # probability one half: the probability that at least `gained` fit at the new one.
        p_value = sum(math.comb(changed, n) for n in range(gained, changed + 1)) / 2**changed
        # Two edges, and every shift but none.
        return SHIFTS[best] if p_value < CHANCE / (2 * (len(SHIFTS) - 1)) else 0
