"""Count where labelled regions and their bases end up when a genome is cut into tiles.

A region is cut where tiles or stretches begin or end; what is between two cuts has one fate. The
work grows with labelled bases / stride, not with bases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.contig_batch import ContigBatch
from hyena_ray.genome.label_coverage import Kept, LabelCoverage
from hyena_ray.genome.tiling import NO_SPLIT, Tiles

FATES = tuple(Kept.model_fields)
"""Names of the counts, in the order of the numbers of fates."""
_KEPT, _SHORT, _END, _UNKNOWN, _BLACKLIST, _BORDER = range(len(FATES))


class LabelCounter:
    """Count labelled regions and bases batch by batch.

    Args:
        length: Bases of a tile.
        stride: Bases from one tile's start to the next one's; divides `length`.
        stretch: Bases of the stretches by which the genome is split, at least those of a tile.
        splits: Names of the splits, in the order of their indices.

    Example:
        >>> from hyena_ray.genome.contigs import Contig
        >>> from hyena_ray.genome.intervals import Intervals
        >>> from hyena_ray.genome.tiling import cut_tiles
        >>> labels, none = Intervals(np.array([2, 9]), np.array([5, 14])), Intervals.empty()
        >>> contig = Contig("chr1", np.zeros(15, np.uint8), "")
        >>> contigs = ContigBatch([contig], [labels], [none], first=0, padding=0)
        >>> counter = LabelCounter(length=4, stride=4, stretch=8, splits=("train", "test"))
        >>> tiles = cut_tiles(contigs, 4, 4)
        >>> counter.add(contigs, tiles, tiles.kept < 3, np.array([0, 1], np.int8))
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
        contigs: ContigBatch,
        tiles: Tiles,
        usable: NDArray[np.bool_],
        stretch_splits: NDArray[np.int8],
    ) -> None:
        """Count the regions of a batch of contigs.

        Args:
            contigs: The contigs.
            tiles: Their tiles.
            usable: Whether each of `tiles.kept` is within one split.
            stretch_splits: Index of the split of each of their stretches, the incomplete last ones
                included.
        """
        if not len(contigs.labels.start):
            return
        position, bases, region = self._parts(contigs)
        contig = np.searchsorted(contigs.offset, position, "right") - 1
        start = position - contigs.offset[contig]
        fate = self._fates(contig, start, tiles, usable)
        before = contigs.stretches(self._stretch).before
        split = stretch_splits[before[contig] + start // self._stretch]
        of_split = split != NO_SPLIT
        np.add.at(self._bases, (split[of_split], fate[of_split]), bases[of_split])
        first = np.flatnonzero(np.diff(region, prepend=-1))
        # Fate 0 is kept, so that the least fate of a region says whether any of it is.
        kept = np.minimum.reduceat(fate, first) == _KEPT
        of_region, owner = np.where(kept, _KEPT, fate[first]), split[first]
        of_split = owner != NO_SPLIT
        np.add.at(self._regions, (owner[of_split], of_region[of_split]), 1)

    def _parts(
        self, contigs: ContigBatch
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return position, number of bases and region of every part between two cuts."""
        labels = contigs.labels
        origin = contigs.offset[np.searchsorted(contigs.offset, labels.start, "right") - 1]
        cuts = [labels.start]
        for step in (self._stride, self._stretch):
            first = (labels.start - origin) // step + 1
            number = np.maximum(0, -(-(labels.end - origin) // step) - first)
            owner = np.repeat(np.arange(len(number)), number)
            rank = np.arange(len(owner)) - (np.cumsum(number) - number)[owner]
            cuts.append(origin[owner] + (first[owner] + rank) * step)
        start = np.unique(np.concatenate(cuts))
        region = np.searchsorted(labels.start, start, "right") - 1
        end = np.minimum(np.append(start[1:], labels.end[-1]), labels.end[region])
        return start, end - start, region

    def _fates(
        self,
        contig: NDArray[np.int64],
        start: NDArray[np.int64],
        tiles: Tiles,
        usable: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Return the fate of every part, by the tiles that hold its first base."""
        count = tiles.grid.number[contig]
        last = np.minimum(start // self._stride, count - 1)
        first = np.maximum(0, -(-(start - self._length + 1) // self._stride))
        holding = np.maximum(last - first + 1, 0)
        begin = tiles.grid.before[contig] + np.minimum(first, count)
        good = np.zeros(len(tiles.labelled), bool)
        good[tiles.kept[usable]] = True

        def held(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
            before = np.append(0, np.cumsum(mask))
            of_part: NDArray[np.int64] = before[begin + holding] - before[begin]
            return of_part

        conditions = {
            _KEPT: held(good) > 0,
            _SHORT: count == 0,
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
