"""Prepared windows in a shuffled order, of which any part can be read by itself.

The order of an epoch is known before anything is read: the row groups of all files are shuffled,
and their rows are then shuffled buffer by buffer. Processes that each read another buffer therefore
read one order together, on any number of processes. Only numbers of rows are held in memory.

Neither torch nor Ray is imported here: the processes that read windows need neither.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import PREPARE_AGAIN
from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import tensor_values
from hyena_ray.errors import InputError
from hyena_ray.storage import arrow_file, location

BUFFER_ROWS = 8_192
"""Largest number of windows of a buffer."""
BUFFER_BYTES = 1 << 26
"""Largest size of the windows of a buffer, in bytes of tokens and labels."""


@dataclass(frozen=True, slots=True)
class ShuffledWindows:
    """Windows of one length and split in Parquet files. A row is a number over all files.

    Example:
        >>> windows = ShuffledWindows(
        ...     files=("a", "b"),
        ...     groups=np.array([[0, 0], [1, 0]]),
        ...     starts=np.array([0, 2, 4]),
        ...     by_id=np.arange(4),
        ...     draw=NegativeDraw.of(np.zeros(4, np.uint8), None),
        ...     buffer=3,
        ... )
        >>> windows.order(0, 4, epoch=None, seed=0).tolist()
        [0, 1, 2, 3]
        >>> sorted(windows.order(0, 4, epoch=0, seed=0).tolist())
        [0, 1, 2, 3]
    """

    files: tuple[str, ...]
    """Paths or URIs of the files."""
    groups: NDArray[np.int64]
    """File of each row group, and its number in the file, shape (G, 2)."""
    starts: NDArray[np.int64]
    """First row of each row group, and one past the last row, shape (G + 1,)."""
    by_id: NDArray[np.int64]
    """Rows that are wanted, in order of window_id, shape (N,)."""
    draw: NegativeDraw
    """Which of these rows an epoch takes."""
    buffer: int
    """Number of windows that are shuffled together, unless batches are larger."""

    @classmethod
    def of(cls, data: PreparedData, length: int, split: str) -> ShuffledWindows:
        """Find the row groups of a length and split, of which no window is decoded.

        Args:
            data: Prepared data, or a fold's view of them.
            length: Window length in bases.
            split: Name of the split, which is not held as stretches.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
        """
        files = data.row_groups(length, split)
        groups = [(i, j) for i, file in enumerate(files) for j in range(len(file.sizes))]
        sizes = [size for file in files for size in file.sizes]
        ids = np.concatenate([file.window_ids for file in files])
        # Files of one split follow each other; those of several folds interleave.
        by_id = np.argsort(ids, kind="stable")
        kinds = np.concatenate([file.kinds for file in files])[by_id]
        return cls(
            files=tuple(str(file.path) for file in files),
            groups=np.array(groups, np.int64).reshape(-1, 2),
            starts=np.cumsum([0, *sizes], dtype=np.int64),
            by_id=by_id,
            draw=NegativeDraw.of(kinds, None),
            buffer=min(BUFFER_ROWS, BUFFER_BYTES // data.row_bytes(length)),
        )

    @property
    def count(self) -> int:
        """Number of windows of an epoch."""
        return self.draw.count

    def sample(self, limit: int | None, shares: str | None = None) -> ShuffledWindows:
        """Return some of the windows.

        Args:
            limit: Largest number of windows, evenly over all; None takes all.
            shares: Negatives per labelled window by kind that each epoch draws from these; None
                takes all.
        """
        chosen = sample_evenly(len(self.by_id), len(self.by_id) if limit is None else limit)
        draw = NegativeDraw.of(self.draw.kinds[chosen], shares)
        return replace(self, by_id=self.by_id[chosen], draw=draw)

    def buffer_size(self, batch_size: int) -> int:
        """Return the number of windows of a buffer, which is a whole number of batches.

        Args:
            batch_size: Windows of a batch.
        """
        return max(1, self.buffer // batch_size) * batch_size

    def order(self, first: int, last: int, *, epoch: int | None, seed: int) -> NDArray[np.int64]:
        """Return the rows of one buffer of an epoch, windows [first, last).

        Args:
            first: First window.
            last: One past the last window; those beyond the end of the epoch are left out.
            epoch: Number of the epoch, from 0; None takes those of the first one in order of
                window_id.
            seed: The same seed and epoch give the same windows in the same order.

        Returns:
            Rows, shape (n,).
        """
        drawn = self.by_id[self.draw.rows(epoch=epoch or 0, seed=seed)]
        if epoch is None:
            return drawn[first:last]
        ascending = np.sort(drawn)
        edges = np.searchsorted(ascending, self.starts)
        shuffled = np.random.default_rng([seed, epoch]).permutation(len(self.groups))
        ends = np.cumsum(np.diff(edges)[shuffled])
        begin, end = np.searchsorted(ends, first, "right"), np.searchsorted(ends, last)
        groups = [ascending[edges[g] : edges[g + 1]] for g in shuffled[begin : end + 1]]
        skipped = first - (ends[begin] - len(groups[0]))
        rows = np.concatenate(groups)[skipped : skipped + last - first]
        return np.random.default_rng([seed, epoch, first]).permutation(rows)

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Read some windows, and verify the checksum of every page that is read.

        Args:
            rows: Rows over all files, shape (n,).

        Returns:
            Tokens, shape (n, W + 2 * stored flank), and labels, shape (n, W), in the order of
            `rows`.

        Raises:
            InputError: A file is damaged.
        """
        group = np.searchsorted(self.starts, rows, "right") - 1
        wanted = np.unique(group)
        sizes = np.diff(self.starts)[wanted]
        before = np.cumsum(sizes) - sizes
        tokens, labels = self._read_groups(wanted)
        place = before[np.searchsorted(wanted, group)] + rows - self.starts[group]
        return tokens[place], labels[place]

    def _read_groups(self, wanted: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Read whole row groups, in ascending order."""
        tables = []
        file_of, in_file = self.groups[wanted].T
        for file in np.unique(file_of):
            path = location(self.files[file])
            try:
                with (
                    arrow_file(path) as stream,
                    pq.ParquetFile(stream, page_checksum_verification=True) as parquet,
                ):
                    numbers = in_file[file_of == file].tolist()
                    tables.append(parquet.read_row_groups(numbers, ["tokens", "labels"]))
            except (OSError, pa.ArrowException) as error:
                problem = f"damaged Parquet file ({error})"
                raise InputError(path, None, problem, PREPARE_AGAIN) from None
        table = pa.concat_tables(tables)
        return tensor_values(table["tokens"], "tokens"), tensor_values(table["labels"], "labels")


def own_part(count: int, rank: int, size: int) -> slice:
    """Return which windows of a batch one of several workers reads.

    A worker without windows of its own reads the first one, since every worker must run the model.

    Args:
        count: Windows of the batch.
        rank: Number of the worker, from 0.
        size: Number of workers.

    Example:
        >>> list(range(5))[own_part(5, 1, 2)], list(range(2))[own_part(2, 2, 3)]
        ([1, 3], [0])
    """
    return slice(0, 1) if rank >= count else slice(rank, None, size)


def own_rows(count: int, batch_size: int, rank: int, size: int) -> NDArray[np.int64]:
    """Return which windows of successive batches one of several workers reads.

    Args:
        count: Windows of all batches together.
        batch_size: Windows of a batch; the last one may have fewer.
        rank: Number of the worker, from 0.
        size: Number of workers.

    Returns:
        Numbers of the windows, ascending.

    Example:
        >>> own_rows(5, 4, 1, 2).tolist()
        [1, 3, 4]
    """
    windows = np.arange(count)
    batches = [windows[first : first + batch_size] for first in range(0, count, batch_size)]
    return np.concatenate([batch[own_part(len(batch), rank, size)] for batch in batches])
