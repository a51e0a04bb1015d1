"""Count where labelled regions and their bases end up when a genome is cut into tiles.

A region is cut where tiles or stretches begin or end; what is between two cuts has one fate. The
work grows with labelled bases / stride, not with bases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Intervals
from hyena_ray.genome.label_coverage import Kept, LabelCoverage
from hyena_ray.genome.tiling import NO_SPLIT, Tiles

FATES = tuple(Kept.model_fields)
"""Names of the counts, in the order of the numbers of fates."""
_KEPT, _SHORT, _END, _UNKNOWN, _BLACKLIST, _BORDER = range(len(FATES))


class LabelCounter:
    """Count labelled regions and bases contig by contig.

    Args:
        length: Bases of a tile.
        stride: Bases from one tile's start to the next one's; divides `length`.
        stretch: Bases of the stretches by which the genome is split, at least those of a tile.
        splits: Names of the splits, in the order of their indices.

    Example:
        >>> from hyena_ray.genome.tiling import tile_contig
        >>> counter = LabelCounter(length=4, stride=4, stretch=8, splits=("train", "test"))
        >>> labels, none = Intervals(np.array([2, 9]), np.array([5, 14])), Intervals.empty()
        >>> tiles = tile_contig(15, 4, 4, labels, none, none)
        >>> counter.add(15, labels, tiles, tiles.kept < 3, np.array([0, 1], np.int8))
        >>> test = counter.coverage("test")
        >>> test.bases.kept, test.bases.contig_end
        (3, 2)
    """

    def __init__(self, *, length: int, stride: int, stretch: int, splits: Sequence[str]) -> None:
        self._length, self._stride, self._stretch = length, stride, stretch
        self._splits = splits
        shape = len(splits), len(FATES)
        self._regions, self._bases = np.zeros(shape, np.int64), np.zeros(shape, np.int64)

    def add(
        self,
        size: int,
        labels: Intervals,
        tiles: Tiles,
        usable: NDArray[np.bool_],
        stretch_splits: NDArray[np.int8],
    ) -> None:
        """Count the regions of a contig.

        Args:
            size: Bases of the contig.
            labels: Its labelled intervals.
            tiles: Its tiles.
            usable: Whether each of `tiles.kept` is within one split.
            stretch_splits: Index of the split of each of its stretches, the incomplete last one
                included.
        """
        if not len(labels.start):
            return
        start, bases, region = self._parts(size, labels)
        fate = self._fates(start, tiles, usable)
        split = stretch_splits[start // self._stretch]
        of_split = split != NO_SPLIT
        np.add.at(self._bases, (split[of_split], fate[of_split]), bases[of_split])
        first = np.flatnonzero(np.diff(region, prepend=-1))
        # Fate 0 is kept, so that the least fate of a region says whether any of it is.
        kept = np.minimum.reduceat(fate, first) == _KEPT
        of_region, owner = np.where(kept, _KEPT, fate[first]), split[first]
        of_split = owner != NO_SPLIT
        np.add.at(self._regions, (owner[of_split], of_region[of_split]), 1)

    def _parts(
        self, size: int, labels: Intervals
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return first base, number of bases and region of every part between two cuts."""
        cuts = np.union1d(np.arange(0, size, self._stride), np.arange(0, size, self._stretch))
        low = np.searchsorted(cuts, labels.start, "right")
        inside = np.searchsorted(cuts, labels.end, "left") - low
        region = np.repeat(np.arange(len(inside)), inside + 1)
        first = np.flatnonzero(np.diff(region, prepend=-1))
        part = np.arange(len(region)) - first[region]
        start = np.where(part == 0, labels.start[region], cuts[(low[region] + part - 1)])
        end = np.append(start[1:], 0)
        end[np.append(first[1:], len(start)) - 1] = labels.end
        return start, end - start, region

    def _fates(
        self, start: NDArray[np.int64], tiles: Tiles, usable: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the fate of every part, by the tiles that hold its first base."""
        count = len(tiles.labelled)
        if not count:
            return np.full(len(start), _SHORT)
        last = np.minimum(start // self._stride, count - 1)
        first = np.maximum(0, -(-(start - self._length + 1) // self._stride))
        holding = np.maximum(last - first + 1, 0)
        first, last = np.minimum(first, count), np.maximum(last + 1, np.minimum(first, count))
        good = np.zeros(count, bool)
        good[tiles.kept[usable]] = True

        def held(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
            before = np.append(0, np.cumsum(mask))
            of_part: NDArray[np.int64] = before[last] - before[first]
            return of_part

        conditions = {
            _KEPT: held(good) > 0,
            _END: holding == 0,
            _UNKNOWN: held(tiles.too_many_n) == holding,
            _BLACKLIST: held(tiles.too_many_n | tiles.blacklisted) == holding,
        }
        return np.select(list(conditions.values()), list(conditions), _BORDER)

    def coverage(self, split: str) -> LabelCoverage:
        """Return the counts of a split.

        Args:
            split: Name of the split.
        """
        row = self._splits.index(split)
        regions, bases = (
            Kept(**dict(zip(FATES, counts[row].tolist(), strict=True)))
            for counts in (self._regions, self._bases)
        )
        return LabelCoverage(length=self._length, split=split, regions=regions, bases=bases)
