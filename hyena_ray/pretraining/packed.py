"""Bases of many stretches without N, four to a byte: a human genome takes 0.8 GB.

No window of a pretraining holds an N, so two bits tell everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.contigs import N_CODE

_PER_BYTE = 4


class PackedBases(NamedTuple):
    """Stretches without N. Plain arrays, so that processes share them without a copy."""

    packed: NDArray[np.uint8]
    """Four bases a byte, the first in the lowest bits; every stretch begins with a byte."""
    starts: NDArray[np.int64]
    """(stretches,) where each begins, in bases of `packed`."""
    lengths: NDArray[np.int64]
    """(stretches,) bases of each."""
    contigs: NDArray[np.int64]
    """(stretches,) which contig each lies in, as it was given."""

    @classmethod
    def of(cls, stretches: Iterable[tuple[int, NDArray[np.uint8]]]) -> PackedBases:
        """Pack stretches, each with the number of its contig and (length,) codes 0 to 3."""
        packed, lengths, contigs = [np.empty(0, np.uint8)], [], []
        for contig, codes in stretches:
            # Strided views: nothing as long as the stretch is made but a quarter of it.
            quarters = [codes[offset::_PER_BYTE] for offset in range(_PER_BYTE)]
            together = np.zeros(len(quarters[0]), np.uint8)
            for offset, quarter in enumerate(quarters):
                together[: len(quarter)] |= quarter << (2 * offset)
            packed.append(together)
            lengths.append(len(codes))
            contigs.append(contig)
        sizes = np.array([_PER_BYTE * len(part) for part in packed[1:]], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])[: len(sizes)]
        return cls(
            np.concatenate(packed),
            starts,
            np.array(lengths, np.int64),
            np.array(contigs, np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[PackedBases]) -> PackedBases:
        """As if all stretches had been packed together."""
        parts = [cls.of(()), *parts]
        sizes = np.cumsum([0, *(_PER_BYTE * len(part.packed) for part in parts[:-1])])
        return cls(
            np.concatenate([part.packed for part in parts]),
            np.concatenate([p.starts + s for p, s in zip(parts, sizes, strict=True)]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.contigs for part in parts]),
        )

    def cut(self, positions: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
        """(n, length) codes of the windows that begin at (n,) positions of `packed`."""
        columns = positions[:, None] + np.arange(length)
        shifts = (columns & 3).astype(np.uint8) << 1
        codes: NDArray[np.uint8] = (self.packed[columns >> 2] >> shifts) & np.uint8(3)
        return codes

    def stretch(self, number: int) -> NDArray[np.uint8]:
        """(length,) codes of one stretch."""
        first, length = int(self.starts[number]), int(self.lengths[number])
        bytes_ = self.packed[first // 4 : first // 4 - (-length // 4)]
        shifts = np.arange(0, 2 * _PER_BYTE, 2, dtype=np.uint8)
        return ((bytes_[:, None] >> shifts) & np.uint8(3)).reshape(-1)[:length]


def stretches_of(codes: NDArray[np.uint8], shortest: int) -> list[slice]:
    """The stretches of a contig's (length,) codes that hold no N and have `shortest` bases."""
    known = np.concatenate([[False], codes != N_CODE, [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    return [
        slice(int(first), int(last))
        for first, last in edges.reshape(-1, 2)
        if last - first >= shortest
    ]
