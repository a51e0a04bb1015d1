"""Tiles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Spans, covered_per_tile

NO_SPLIT = -1
"""Of a tile: dropped, or on a contig that no split names."""


class Tiles(NamedTuple):
    """All tiles of one contig; tile i is bases [i * stride, i * stride + L)."""

    labelled: NDArray[np.int64]
    """(n,) labelled bases; a tile is positive when there is one."""
    too_many_n: NDArray[np.bool_]
    """(n,) more than half of the bases are N: dropped."""
    blacklisted: NDArray[np.bool_]
    """(n,) any base is blacklisted: dropped."""

    @property
    def kept(self) -> NDArray[np.int64]:
        """Indices of the tiles that are not dropped, ascending."""
        return np.flatnonzero(~(self.too_many_n | self.blacklisted))


def cut_tiles(
    size: int, length: int, stride: int, labels: Spans, blacklist: Spans, unknown: Spans
) -> Tiles:
    """Judge the tiles of a contig.

    Args:
        size: bases of the contig.
        length: bases of a tile.
        stride: from one tile's first base to the next one's; divides the length.
        labels: labelled bases.
        blacklist: bases that no tile may touch.
        unknown: runs of N.
    """
    count = tile_count(size, length, stride)
    return Tiles(
        labelled=covered_per_tile(labels, count, length, stride),
        too_many_n=2 * covered_per_tile(unknown, count, length, stride) > length,
        blacklisted=covered_per_tile(blacklist, count, length, stride) > 0,
    )


def tile_count(size: int, length: int, stride: int) -> int:
    """Tiles of a contig of `size` bases."""
    return max(0, (size - length) // stride + 1)


def overlapping_split(split: NDArray[np.int8], count: int, steps: int) -> NDArray[np.int8]:
    """Give tiles at a stride the split of the tiles at multiples of the length that they touch.

    A base of one split never gets into a tile of another: what touches two splits has none.

    Args:
        split: (n,) of each tile at a multiple of the length, or NO_SPLIT.
        count: tiles at the stride.
        steps: strides in a length.

    Returns:
        (count,) splits, or NO_SPLIT.
    """
    # What is left over at the contig's end is in no tile.
    padded = np.append(split, np.int8(NO_SPLIT))
    at = np.arange(count)
    first, last = padded[at // steps], padded[(at + steps - 1) // steps]
    one = np.where(first == NO_SPLIT, last, first)
    other = np.where(last == NO_SPLIT, first, last)
    return np.where(one == other, one, np.int8(NO_SPLIT))


class NegativeSampler:
    """Draw negatives for one split, contig by contig.

    Each contig gives `ratio` negatives for each of its own positives, so that the genome is read
    once and negatives come from where positives do. What a contig cannot give, or a fraction
    leaves over, the next one owes: the ratio holds over the split and not only on average.

    Args:
        ratio: negatives per positive, at least 0.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self.positives = 0
        self.drawn = 0

    @property
    def owed(self) -> int:
        """Negatives that the positives seen so far ask for and that were not drawn."""
        return round(self._ratio * self.positives) - self.drawn

    def draw(
        self, positives: int, candidates: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw one contig's negatives.

        Args:
            positives: positive tiles of the contig in this split.
            candidates: (n,) its negative tiles in this split.

        Returns:
            (m,) some of the candidates, ascending, none twice.
        """
        self.positives += positives
        count = min(self.owed, len(candidates))
        chosen = rng.choice(candidates, count, replace=False, shuffle=False)
        self.drawn += count
        return np.sort(chosen)
