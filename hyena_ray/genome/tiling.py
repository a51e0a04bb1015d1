"""Cut contigs into tiles, and judge which ones are kept and positive.

A contig has a tile of L bases at 0, L, 2L, ...; fewer than L bases are left over at its end. Tiles
that overlap start at multiples of a stride that divides L. Training windows are tiles, and so are
the longer stretches by which a contig is split, whatever the length of the windows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.contig_batch import ContigBatch, Grid
from hyena_ray.genome.intervals import count_covered_bases

NO_SPLIT = -1
"""Split of a tile on a contig that no split names, or that touches two splits."""


class Tiles(NamedTuple):
    """All tiles of a batch of contigs."""

    grid: Grid
    """Where they begin."""
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


def cut_tiles(contigs: ContigBatch, length: int, stride: int) -> Tiles:
    """Cut contigs into tiles and judge each of them.

    Args:
        contigs: The contigs.
        length: Bases of a tile.
        stride: Bases from one tile's start to the next one's.

    Returns:
        All tiles of the contigs, in order.

    Example:
        >>> from hyena_ray.genome.contigs import Contig
        >>> from hyena_ray.genome.intervals import Intervals
        >>> labels, none = Intervals(np.array([3]), np.array([6])), Intervals.empty()
        >>> contig = Contig("chr1", np.zeros(10, np.uint8), "")
        >>> contigs = ContigBatch([contig], [labels], [none], first=0, padding=0)
        >>> cut_tiles(contigs, 4, 4).labelled.tolist(), cut_tiles(contigs, 4, 2).labelled.tolist()
        ([1, 2], [1, 3, 2, 0])
    """
    grid = contigs.grid(length, stride)
    start = contigs.offset[grid.contig] + grid.start
    end = start + length
    return Tiles(
        grid=grid,
        labelled=count_covered_bases(contigs.labels, start, end),
        too_many_n=2 * count_covered_bases(contigs.unknown, start, end) > length,
        blacklisted=count_covered_bases(contigs.blacklist, start, end) > 0,
    )


def split_tiles(
    stretch_splits: NDArray[np.int8], stretches: Grid, stretch: int, tiles: Grid, length: int
) -> NDArray[np.int8]:
    """Give tiles the split of the stretches that they touch; none to those that touch two splits.

    A base of one split therefore never gets into a tile of another.

    Args:
        stretch_splits: (m,) index of the split of every stretch.
        stretches: Where the stretches begin.
        stretch: Bases of a stretch.
        tiles: Where the tiles begin.
        length: Bases of a tile, at most those of a stretch.

    Returns:
        (n,) indices of splits, or `NO_SPLIT`.
    """
    before = stretches.before[tiles.contig]
    first = stretch_splits[before + tiles.start // stretch]
    last = stretch_splits[before + (tiles.start + length - 1) // stretch]
    return np.where(first == last, first, np.int8(NO_SPLIT))
