"""Cut a contig into tiles, judge which ones are kept and positive, and sample negative ones.

A contig has a tile of L bases at 0, L, 2L, ...; fewer than L bases are left over at its end. Tiles
that overlap start at multiples of a stride that divides L. Training windows are tiles, and so are
the longer stretches by which a contig is split, whatever the length of the windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Intervals, count_covered_bases

NO_SPLIT = -1
"""Split of a tile on a contig that no split names, or that touches two splits."""


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


def split_tiles(
    stretch_splits: NDArray[np.int8], stretch: int, start: NDArray[np.int64], length: int
) -> NDArray[np.int8]:
    """Give tiles the split of the stretches that they touch; none to those that touch two splits.

    A base of one split therefore never gets into a tile of another.

    Args:
        stretch_splits: (m,) index of the split of every stretch of a contig, the incomplete last
            one included.
        stretch: Bases of a stretch.
        start: (n,) first base of each tile, 0-based.
        length: Bases of a tile, at most those of a stretch.

    Returns:
        (n,) indices of splits, or `NO_SPLIT`.

    Example:
        >>> splits = np.array([0, 0, 1], np.int8)
        >>> split_tiles(splits, 10, np.array([8, 16, 18, 22]), 4).tolist()
        [0, 0, -1, 1]
    """
    first, last = stretch_splits[start // stretch], stretch_splits[(start + length - 1) // stretch]
    return np.where(first == last, first, np.int8(NO_SPLIT))


class NegativeSampler:
    """Sample negative tiles for one split, contig by contig, at a fixed ratio to the positives.

    Each contig gives `ratio` negatives for each of its own positives, so that the genome is read
    once and negatives are from where positives are. What a contig cannot give, and the fraction
    that rounding leaves over, is drawn from the next one: the ratio holds exactly over the split.

    Args:
        ratio: Negatives per positive, at least 0; None takes all negatives.
    """

    def __init__(self, ratio: float | None) -> None:
        self._ratio = ratio
        self.positives = 0
        """Positive tiles so far."""
        self.drawn = 0
        """Negative tiles drawn so far."""

    @property
    def shortfall(self) -> int:
        """Negatives that the positives so far call for and that have not been drawn."""
        if self._ratio is None:
            return 0
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
        wanted = len(candidates) if self._ratio is None else self.shortfall
        count = min(wanted, len(candidates))
        chosen = rng.choice(candidates, count, replace=False, shuffle=False)
        self.drawn += count
        return np.sort(chosen)
