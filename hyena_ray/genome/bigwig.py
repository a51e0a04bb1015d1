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


class BigWigTrack:
    """A bigWig file that is being written, contig by contig and base by base.

    Contigs are written in the order of the file's header, bases in ascending order.

    Args:
        file: File opened for writing by pyBigWig, with its header written.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def add_bases(
        self, contig: str, position: NDArray[np.int64], values: NDArray[np.floating]
    ) -> None:
        """Add single bases.

        Args:
            contig: Name of the contig.
            position: (n,) bases, 0-based, strictly ascending.
            values: (n,) finite value of each.
        """
        self._file.addEntries(contig, position, values=values.astype(np.float64), span=1)

    def add_runs(self, contig: str, start: int, values: NDArray[np.floating]) -> None:
        """Add consecutive bases, each run of equal values as one entry.

        Args:
            contig: Name of the contig.
            start: First base, 0-based.
            values: (n,) value of this base and the next ones; NaN gets no entry.
        """
        # NaN differs from itself, so each NaN is a run of its own, which is left out.
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
                # The check looks the contig up once for every entry, along the list of all contigs.
                validate=False,
            )


@contextmanager
def create_bigwig(path: AnyPath, contigs: Sequence[tuple[str, int]]) -> Iterator[BigWigTrack]:
    """Create a bigWig file, which appears whole when the block succeeds, or not at all.

    Args:
        path: The file to write.
        contigs: Name and length in bases of each contig, in the order in which they are added.

    Yields:
        The track to fill.
    """
    with atomic_file(path) as temporary:
        file = pyBigWig.open(str(temporary), "w")
        try:
            file.addHeader(list(contigs))
            yield BigWigTrack(file)
        finally:
            file.close()
