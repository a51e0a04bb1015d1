"""Write values of bases as a bigWig file, which genome browsers show."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath

LAST_BYTES = bytes.fromhex("26fc8f88")
"""End of a complete file. Where the library cannot write to the end, it only prints a warning."""


class BigWigTrack:
    """A bigWig file that is being written, contig by contig and base by base.

    Contigs are written in the order of the file's header, bases in ascending order.

    Args:
        file: File opened for writing by pyBigWig, with its header written.
        path: The file, for the message of a failure.
    """

    def __init__(self, file: Any, path: AnyPath) -> None:
        self._file = file
        self._path = path

    def add_bases(
        self, contig: str, position: NDArray[np.int64], values: NDArray[np.floating]
    ) -> None:
        """Add single bases.

        Args:
            contig: Name of the contig.
            position: (n,) bases, 0-based, strictly ascending.
            values: (n,) finite value of each.
        """
        with _failures_of(self._path):
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
            with _failures_of(self._path):
                self._file.addEntries(
                    [contig] * len(begin),
                    begin + start,
                    ends=end + start,
                    values=values[begin].astype(np.float64),
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
        with _failures_of(path):
            file = pyBigWig.open(str(temporary), "w")
        try:
            with _failures_of(path):
                file.addHeader(list(contigs))
            yield BigWigTrack(file, path)
        finally:
            file.close()
        with _failures_of(path):
            _check_end(temporary)


def _check_end(path: Path) -> None:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - len(LAST_BYTES)))
        if stream.read() != LAST_BYTES:
            raise RuntimeError("truncated")


@contextmanager
def _failures_of(path: AnyPath) -> Iterator[None]:
    """Raise as an `OSError` what the library makes of a failed write: it does not say why."""
    try:
        yield
    except (RuntimeError, SystemError):
        raise OSError(
            errno.EIO, "the bigWig file could not be written; is the disk full?", str(path)
        ) from None
