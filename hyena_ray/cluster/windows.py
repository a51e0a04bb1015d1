"""Prepared windows as Ray Data streams: read once and shared by all trials, or streamed to each.

The dataset is small enough for shared memory in all but the largest searches. Then every trial of
a node reads the same bytes, and shuffling is an exact permutation. Otherwise each trial streams
from Parquet with one CPU of its own, and shuffles files and a buffer of rows.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pds
import ray
import ray.data
from numpy.typing import NDArray
from ray.exceptions import RayTaskError

from hyena_ray.cluster.progress import Progress
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.manifest import PREPARE_AGAIN
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows, windows_from_table
from hyena_ray.errors import InputError
from hyena_ray.training.loaders import ArraySource, Batch, WindowSource

logger = logging.getLogger(__name__)

FRACTION_OF_STORE = 0.3
"""Most of the object store that shared windows take; while they are gathered they lie there twice,
and trials need room for their own."""
BUFFER_ROWS = 8_192
"""Rows among which a streamed epoch is shuffled."""

Key = tuple[int, str]
"""Window length and split."""


class Handle(Protocol):
    """Small and picklable; opened by the trial that uses it."""

    def open(self, limit: int | None = None) -> WindowSource:
        """The windows, or `limit` of them, evenly over all; see `sample_evenly`."""
        ...


class SharedWindows(NamedTuple):
    """Windows in the object store."""

    reference: ray.ObjectRef[Windows]

    def open(self, limit: int | None = None) -> WindowSource:
        """Without a copy but of a part: the arrays are those of shared memory, and read-only."""
        windows: Windows = ray.get(self.reference)
        if limit is None:
            return ArraySource(windows)
        return ArraySource(windows.rows(sample_evenly(len(windows.window_id), limit)))


class StreamedWindows(NamedTuple):
    """Windows in Parquet files, in order of window_id."""

    files: tuple[str, ...]
    window_ids: ray.ObjectRef[NDArray[np.int64]]
    """(n,) in ascending order."""
    title: str
    """Of their datasets, on the dashboard."""

    def open(self, limit: int | None = None) -> WindowSource:
        """Nothing is read before the first batch."""
        ids: NDArray[np.int64] = ray.get(self.window_ids)
        if limit is None or limit >= len(ids):
            return StreamSource(self.files, len(ids), chosen=None, title=self.title)
        chosen = ids[sample_evenly(len(ids), limit)]
        return StreamSource(self.files, len(chosen), chosen=chosen, title=self.title)


class StreamSource:
    """A `WindowSource` over Parquet files that memory need not hold."""

    def __init__(
        self,
        files: tuple[str, ...],
        count: int,
        *,
        chosen: NDArray[np.int64] | None,
        title: str,
    ) -> None:
        """
        Args:
            files: that hold the windows.
            count: of the windows that are wanted.
            chosen: their ids; None takes all.
            title: of the datasets.
        """
        self._files = files
        self._count = count
        self._chosen = chosen
        self._title = title

    @property
    def count(self) -> int:
        """Number of windows."""
        return self._count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """One pass. The same (seed, epoch) gives the same order; None keeps window_id order.

        Shuffled are the files, and `BUFFER_ROWS` rows at a time.
        """
        files = list(self._files)
        shuffle: dict[str, Any] = {}
        if epoch is not None:
            numbers = np.random.default_rng([seed, epoch])
            files = [files[index] for index in numbers.permutation(len(files))]
            shuffle = {
                "local_shuffle_buffer_size": BUFFER_ROWS,
                "local_shuffle_seed": int(numbers.integers(2**31)),
            }
        title = self._title if epoch is None else f"{self._title} epoch {epoch + 1}"
        columns = ["tokens", "labels"]
        if self._chosen is not None:
            columns.append("window_id")
        rows = read_files(files, f"stream {title}", columns=columns)
        if self._chosen is not None:
            rows = rows.map_batches(
                only, fn_args=[self._chosen], batch_size=None, batch_format="pyarrow"
            )
        for batch in rows.iter_batches(
            batch_size=batch_size, batch_format="numpy", prefetch_batches=2, **shuffle
        ):
            yield Batch(batch["tokens"], batch["labels"])


def only(table: pa.Table, window_ids: NDArray[np.int64]) -> pa.Table:
    """The rows of a table with these ids."""
    return table.filter(np.isin(np.asarray(table.column("window_id")), window_ids))


def read_files(
    files: Sequence[str], title: str, columns: Sequence[str] | None = None
) -> ray.data.Dataset:
    """A dataset of Parquet files in their order, with every page held to its checksum. The
    dashboard has it under its title.

    On one CPU at a time and with a block per file, so that the order is the same on any cluster.
    """
    with own_context() as context:
        # Ray 2.60's second reader, its default, drops every Parquet option, and with them the
        # verification of page checksums: a flipped bit is read as a base.
        context.use_datasource_v2 = False
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        options = pds.ParquetFragmentScanOptions(page_checksum_verification=True)
        rows = ray.data.read_parquet(
            list(files),
            partitioning=None,
            override_num_blocks=len(files),
            fragment_scan_options=options,
        )
        rows.set_name(title)
        return rows.select_columns(list(columns)) if columns else rows


@contextmanager
def own_context() -> Iterator[ray.data.DataContext]:
    """Datasets made inside keep these options; others of the process are left alone."""
    with warnings.catch_warnings():
        # Ray's own copy sets options that Ray has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current().copy()
    with ray.data.DataContext.current(context):
        yield context


def share_windows(data: PreparedData, keys: Sequence[Key], cluster: Cluster) -> dict[Key, Handle]:
    """Make windows available to all trials: in the object store when they fit well, else streamed.

    Args:
        data: prepared windows; every file is checked against its manifest here.
        keys: lengths and splits that trials use.
        cluster: where they run.

    Raises:
        InputError: a file is damaged or is not what the manifest says.
    """
    ids = {key: data.window_ids(*key) for key in keys}
    if fits(data, keys, cluster):
        return {key: SharedWindows(ray.put(_gather(data, *key))) for key in keys}
    logger.info("the windows are too many for shared memory: every trial streams them")
    return {
        (length, split): StreamedWindows(
            tuple(map(str, data.files(length, split))),
            ray.put(ids[length, split]),
            _title(data, length, split),
        )
        for length, split in keys
    }


def fits(data: PreparedData, keys: Sequence[Key], cluster: Cluster) -> bool:
    """Whether the windows take a small part of shared memory only."""
    size = sum(
        data.count(length, split) * (2 * length + 2 * data.manifest.flank + 32)
        for length, split in keys
    )
    return size < FRACTION_OF_STORE * cluster.object_store


def _title(data: PreparedData, length: int, split: str) -> str:
    return f"{data.manifest.task} windows length={length} {split}"


def _gather(data: PreparedData, length: int, split: str) -> Windows:
    """Read with as many CPUs as are free."""
    files = list(map(str, data.files(length, split)))
    title = f"share {_title(data, length, split)}"
    try:
        with Progress(title):
            blocks = ray.get(read_files(files, title).materialize().to_arrow_refs())
    except RayTaskError as error:
        raise InputError(
            files[0], None, f"cannot be read ({str(error.cause).splitlines()[0]})", PREPARE_AGAIN
        ) from None
    windows = windows_from_table(pa.concat_tables(blocks, promote_options="permissive"), files[0])
    found, expected = len(windows.window_id), data.count(length, split)
    if found != expected:
        raise InputError(files[0], f"{found} rows", f"the manifest says {expected}", PREPARE_AGAIN)
    return windows
