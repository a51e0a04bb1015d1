"""The shape of labelled regions: how long they are, and whether their edges are where they belong.

Z-DNA is an alternation of purines and pyrimidines, and a G-quadruplex begins and ends with a run of
G or, on the other strand, of C. The structure of many regions therefore begins with their first
base and ends with their last one. Coordinates are easily off by one, since some formats count from
0 and others from 1, and some include the end. Then the structure begins or ends that many bases
away from the edge in clearly more regions than at the edge itself.

Only a few bases around each edge are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.intervals import Intervals, gather_windows
from hyena_ray.settings import Settings

REACH = 4
"""Bases by which an edge is moved at most, to either side, to see where more regions fit."""
SHIFTS = range(-REACH, REACH + 1)
"""Bases by which an edge is moved, in the order of `EdgeShape.fitting`."""
LEAST_GAIN = 1.5
"""Regions that fit a moved edge for each one that fits the edge as it is, at the least, where the
edge is called shifted. Structures also begin near an edge: 1.1 times as many regions of Z-DNA begin
to alternate two bases after their start as at their start, which is right by Z-HUNT."""
CHANCE = 0.001
"""Probability at most of calling any edge shifted, if regions fit the moved edge by chance."""


def _alternates(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    before, after = codes[:, :-1], codes[:, 1:]
    # A and G have even codes, C and T odd ones.
    return ((before ^ after) & 1).astype(bool) & (np.maximum(before, after) < N_CODE)


def _repeats_g_or_c(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    before, after = codes[:, :-1], codes[:, 1:]
    return (before == after) & ((after == 1) | (after == 2))


class Structure(NamedTuple):
    """A run of bases with which the regions of a task begin and end, the same on both strands."""

    name: str
    """Name in text, with its article."""
    shortest: int
    """Bases of the shortest run, at least 2."""
    continues: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
    """Function of base codes, shape (n, W), that tells of each base but the first whether it
    continues the run of the base before it, shape (n, W - 1)."""


STRUCTURES: dict[str, Structure] = {
    "zdna": Structure("an alternation of purines and pyrimidines", 2, _alternates),
    "g4": Structure("a run of at least 3 G or C", 3, _repeats_g_or_c),
}
"""Structures by name of the task; a task that is missing has none at its edges."""


class EdgeShape(Settings):
    """How well one edge of regions, their start or their end, agrees with their structure."""

    fitting: tuple[int, ...] = Field(min_length=2 * REACH + 1, max_length=2 * REACH + 1)
    """Regions at whose edge a run begins (or ends) if the edge is moved by -`REACH` to `REACH`
    bases."""
    shift: int
    """Bases by which the edge has to be moved for clearly more regions to fit; 0 where it is right
    as far as this can tell."""

    def at(self, shift: int) -> int:
        """Return how many regions fit once the edge has been moved.

        Args:
            shift: Bases by which it is moved, from -`REACH` to `REACH`.
        """
        return self.fitting[REACH + shift]


class RegionShape(Settings):
    """Lengths of regions, and where their structure begins and ends.

    Regions that overlap or touch count as one.
    """

    regions: int = Field(gt=0)
    """Number of regions."""
    shortest: int
    """Bases of the shortest region."""
    median: int
    """Median length in bases: half of the regions have as many bases or fewer."""
    longest: int
    """Bases of the longest region."""
    odd: int
    """Regions with an odd number of bases."""
    structure: str | None
    """Run of bases with which they should begin and end; None where the task has none."""
    start: EdgeShape | None
    """Their first bases; None without such a structure."""
    end: EdgeShape | None
    """Their last bases; None without such a structure."""

    @property
    def edges(self) -> dict[str, EdgeShape]:
        """Start and end by name; none where the task's regions have no such structure."""
        edges = {"start": self.start, "end": self.end}
        return {name: edge for name, edge in edges.items() if edge is not None}

    @property
    def shifts(self) -> tuple[int, int]:
        """Bases by which start and end have to be moved for clearly more regions to fit."""
        edges = self.edges.values()
        start, end = (edge.shift for edge in edges) if edges else (0, 0)
        return start, end

    def lengths_text(self) -> str:
        """Describe lengths and parity in a sentence without its full stop.

        Example:
            >>> shape = RegionShape(
            ...     regions=3, shortest=12, median=15, longest=40, odd=1,
            ...     structure=None, start=None, end=None,
            ... )  # fmt: skip
            >>> shape.lengths_text()
            '3 regions of 12 to 40 bases, half of them up to 15; 33.3 % have an odd length'
        """
        return (
            f"{self.regions:,} regions of {self.shortest:,} to {self.longest:,} bases, half of "
            f"them up to {self.median:,}; {100 * self.odd / self.regions:.1f} % have an odd length"
        )

    def table(self) -> str:
        """Return lengths, and the percentage of regions that fit each shift, as lines of text."""
        lines = [self.lengths_text()]
        if self.edges:
            lines.append(
                f"% of regions with {self.structure} at an edge, were it moved by N bases:"
            )
            rows = [("", *(f"{shift:+d}" if shift else "0" for shift in SHIFTS))]
            rows += [
                (name, *(f"{100 * count / self.regions:.0f}" for count in edge.fitting))
                for name, edge in self.edges.items()
            ]
            lines += ["".join(cell.rjust(6) for cell in row) for row in rows]
        return "\n".join(lines)

    def shift_text(self) -> str:
        """Describe the edges that look shifted; empty where none does."""
        return " and ".join(
            f"{100 * edge.at(0) / self.regions:.0f} % of the regions have {self.structure} at "
            f"their {name}, but {100 * edge.at(edge.shift) / self.regions:.0f} % if it is moved by "
            f"{edge.shift:+d}"
            for name, edge in self.edges.items()
            if edge.shift
        )


class ShapeCounter:
    """Collect the shape of regions contig by contig.

    Args:
        task: Name of the task, which decides the structure.

    Example:
        >>> codes = np.array([0, 0, 1, 2, 1, 2, 2, 0], np.uint8)  # AA CGCG GA
        >>> counter = ShapeCounter("zdna")
        >>> counter.add(codes, Intervals(np.array([2]), np.array([7])))
        >>> shape = counter.shape()
        >>> shape.start.at(0), shape.end.at(0), shape.end.at(-1)
        (0, 0, 1)
    """

    def __init__(self, task: str) -> None:
        self._structure = STRUCTURES.get(task)
        self._sizes: list[NDArray[np.int64]] = []
        self._start, self._end = _EdgeCounts(), _EdgeCounts()

    def add(self, codes: NDArray[np.uint8], regions: Intervals) -> None:
        """Count the regions of a contig.

        Args:
            codes: Base codes of the contig, shape (length,); A C G T = 0 1 2 3, anything else 4.
            regions: Its regions.
        """
        self._sizes.append(regions.end - regions.start)
        if self._structure is not None:
            before, width = REACH + 1, 2 * REACH + 1 + self._structure.shortest
            starts = gather_windows(codes, regions.start - before, width, N_CODE)
            self._start.add(_fitting(starts, self._structure))
            ends = gather_windows(codes, regions.end + before - width, width, N_CODE)
            # Read from the right, an end is a start.
            self._end.add(_fitting(ends[:, ::-1], self._structure)[:, ::-1])

    def shape(self) -> RegionShape:
        """Return the shape of all regions that were counted, at least one."""
        sizes = np.concatenate(self._sizes)
        shortest, median, longest = np.quantile(sizes, (0, 0.5, 1), method="inverted_cdf")
        structure = self._structure
        return RegionShape(
            regions=len(sizes),
            shortest=int(shortest),
            median=int(median),
            longest=int(longest),
            odd=int((sizes % 2).sum()),
            structure=None if structure is None else structure.name,
            start=None if structure is None else self._start.shape(),
            end=None if structure is None else self._end.shape(),
        )


def _fitting(codes: NDArray[np.uint8], structure: Structure) -> NDArray[np.bool_]:
    """Tell at which shifts of the start a run begins with the first base of a region.

    Args:
        codes: Base codes from `REACH` + 1 bases before the start on, shape (n, W).
        structure: What should begin there.

    Returns:
        One column for each shift, shape (n, 2 * `REACH` + 1).
    """
    steps = sliding_window_view(structure.continues(codes), structure.shortest, axis=1)
    fitting: NDArray[np.bool_] = ~steps[..., 0] & steps[..., 1:].all(-1)
    return fitting


class _EdgeCounts:
    """Regions that fit each shift of one edge, and those among them that fit it unmoved as well."""

    def __init__(self) -> None:
        self._fitting = np.zeros(len(SHIFTS), np.int64)
        self._both = np.zeros(len(SHIFTS), np.int64)

    def add(self, fitting: NDArray[np.bool_]) -> None:
        self._fitting += fitting.sum(0)
        self._both += (fitting & fitting[:, REACH, None]).sum(0)

    def shape(self) -> EdgeShape:
        best = int(np.argmax(self._fitting))
        shift = SHIFTS[best] if self._is_clear(best) else 0
        return EdgeShape(fitting=tuple(self._fitting.tolist()), shift=shift)

    def _is_clear(self, moved: int) -> bool:
        """Tell whether clearly more regions fit a moved edge, by McNemar's exact test."""
        from scipy.stats import binomtest

        fitting, unmoved = self._fitting[moved], self._fitting[REACH]
        if fitting == unmoved or fitting < LEAST_GAIN * unmoved:
            return False
        gained, lost = int(fitting - self._both[moved]), int(unmoved - self._both[moved])
        test = binomtest(gained, gained + lost, alternative="greater")
        # Two edges, and every shift but none.
        return bool(test.pvalue < CHANCE / (2 * (len(SHIFTS) - 1)))
