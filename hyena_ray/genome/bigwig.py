"""Write values of bases as a bigWig file, which genome browsers show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath


class Track:
    """A bigWig file that is being written, in the order of its contigs and of their bases."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def add_bases(
        self, contig: str, position: NDArray[np.int64], values: NDArray[np.floating]
    ) -> None:
        """Add bases one by one.

        Args:
            contig: its name.
            position: (n,) 0-based, strictly ascending.
            values: (n,) finite.
        """
        self._file.addEntries(contig, position, values=values.astype(np.float64), span=1)

    def add_runs(self, contig: str, start: int, values: NDArray[np.floating]) -> None:
        """Add neighbouring bases, each run of the same value as one entry.

        Args:
            contig: its name.
            start: first base, 0-based.
            values: (n,) of this base and the next ones; one that is NaN gets no entry.
        """
        # NaN differs from itself, so that each is a run of its own, which is left out.
        begin = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        end = np.append(begin[1:], len(values))
        kept = np.isfinite(values[begin])
        begin, end = begin[kept], end[kept]
        if len(begin):
            self._file.addEntries(
                [contig] * len(begin),
                begin + start,
                ends=end + start,
                values=values[begin].astype(np.float64),
            )


@contextmanager
def create_bigwig(path: AnyPath, contigs: Sequence[tuple[str, int]]) -> Iterator[Track]:
    """A bigWig file to write; it appears whole or not at all.

    Args:
        path: of the file.
        contigs: name and length of each, in the order in which they are added.
    """
    with atomic_file(path) as temporary:
        file = pyBigWig.open(str(temporary), "w")
        try:
            file.addHeader(list(contigs))
            yield Track(file)
        finally:
            file.close()
