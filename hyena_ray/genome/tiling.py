"""Cut a contig into tiles, and say which are kept and which are positive.

A contig has a tile of L bases at 0, L, 2L, ...; fewer than L bases are left over at its end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Spans
from hyena_ray.genome.labels import covered_per_tile


class Tiles(NamedTuple):
    """All tiles of one contig; tile i is bases [i * L, (i + 1) * L)."""

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


def cut_tiles(size: int, length: int, labels: Spans, blacklist: Spans, unknown: Spans) -> Tiles:
    """Judge the tiles of a contig.

    Args:
        size: bases of the contig.
        length: bases of a tile.
        labels: labelled bases.
        blacklist: bases that no tile may touch.
        unknown: runs of N.
    """
    count = size // length
    return Tiles(
        labelled=covered_per_tile(labels, count, length),
        too_many_n=2 * covered_per_tile(unknown, count, length) > length,
        blacklisted=covered_per_tile(blacklist, count, length) > 0,
    )
