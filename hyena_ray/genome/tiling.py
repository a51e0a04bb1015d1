"""Cut a contig into tiles, judge which ones are kept and positive, and sample negative ones.

A contig has a tile of L bases at 0, L, 2L, ...; fewer than L bases are left over at its end. Tiles
that overlap start at multiples of a stride that divides L.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Intervals, count_covered_bases

NO_SPLIT = -1
"""Split of a tile that was dropped, or is on a contig that no split names."""


class Tiles(NamedTuple):
    """All tiles of one contig; tile i is bases [i * stride, i * stride + L)."""

    labelled: NDArray[np.int64]
    """(n,) labelled bases of each tile; a tile is positive when there is one."""
    too_many_n: NDArray[np.bool_]
    """(n,) whether more than half of the bases are N, so that the tile is dropped."""
    blacklisted: NDArray[np.bool_]
    """(n,) whether any base is blacklisted, so that the tile is dropped."""

    @property
    def kept(self) -> NDArray[np.int64]:
        """Indices of the tiles that are not dropped, ascending."""
        return np.flatnonzero(~(self.too_many_n | self.blacklisted))


def tile_contig(
    size: int,
    length: int,
    stride: int,
    labels: Intervals,
    blacklist: Intervals,
    unknown: Intervals,
) -> Tiles:
    """Cut a contig into tiles and judge each of them.

    Args:
        size: Bases of the contig.
        length: Bases of a tile.
        stride: Bases from one tile's start to the next one's; divides `length`.
        labels: Labelled intervals of the contig, 0-based and half-open.
        blacklist: Intervals that no tile may touch.
        unknown: Runs of N.

    Returns:
        All tiles of the contig, in order.

    Example:
        >>> labels = Intervals(np.array([3]), np.array([6]))
        >>> none = Intervals.empty()
        >>> tile_contig(10, 4, 4, labels, none, none).labelled.tolist()
        [1, 2]
        >>> tile_contig(10, 4, 2, labels, none, none).labelled.tolist()
        [1, 3, 2, 0]
    """
    count = count_tiles(size, length, stride)
    return Tiles(
        labelled=count_covered_bases(labels, count, length, stride),
        too_many_n=2 * count_covered_bases(unknown, count, length, stride) > length,
        blacklisted=count_covered_bases(blacklist, count, length, stride) > 0,
    )


def count_tiles(size: int, length: int, stride: int) -> int:
    """Count the tiles of a contig.

    Args:
        size: Bases of the contig.
        length: Bases of a tile.
        stride: Bases from one tile's start to the next one's.

    Returns:
        Number of tiles that fit into the contig.
    """
    return max(0, (size - length) // stride + 1)


def assign_overlapping_tiles(split: NDArray[np.int8], count: int, steps: int) -> NDArray[np.int8]:
    """Give overlapping tiles the split of the tiles at multiples of L that they touch.

    A base of one split never gets into a tile of another: a tile that touches two splits has none.

    Args:
        split: (n,) index of the split of each tile at a multiple of L, or NO_SPLIT.
        count: Number of overlapping tiles.
        steps: Strides in a length.

    Returns:
        (count,) indices of splits, or NO_SPLIT.
    """
    # The bases left over at the contig's end are in no tile.
    padded = np.append(split, np.int8(NO_SPLIT))
    at = np.arange(count)
    first, last = padded[at // steps], padded[(at + steps - 1) // steps]
    one = np.where(first == NO_SPLIT, last, first)
    other = np.where(last == NO_SPLIT, first, last)
    return np.where(one == other, one, np.int8(NO_SPLIT))


class NegativeSampler:
    """Sample negative tiles for one split, contig by contig, at a fixed ratio to the positives.

    Each contig gives `ratio` negatives for each of its own positives, so that the genome is read
    once and negatives are from where positives are. What a contig cannot give, and the fraction
    that rounding leaves over, is drawn from the next one: the ratio holds exactly over the split.

    Args:
        ratio: Negatives per positive, at least 0.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self.positives = 0
        """Positive tiles so far."""
        self.drawn = 0
        """Negative tiles drawn so far."""

    @property
    def shortfall(self) -> int:
        """Negatives that the positives so far call for and that have not been drawn."""
        return round(self._ratio * self.positives) - self.drawn

    def draw(
        self, positives: int, candidates: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw the negatives of one contig.

        Args:
            positives: Positive tiles of the contig in this split.
            candidates: (n,) indices of its negative tiles in this split.
            rng: Source of the choice.

        Returns:
            (m,) candidates, ascending and distinct.
        """
        self.positives += positives
        count = min(self.shortfall, len(candidates))
        chosen = rng.choice(candidates, count, replace=False, shuffle=False)
        self.drawn += count
        return np.sort(chosen)
