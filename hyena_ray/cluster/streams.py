"""The data that workers read: in the object store, or streamed ahead of them by Ray Data.

Prepared windows are small enough for shared memory in all but the largest searches. Then every
trial of a node reads the same bytes, and shuffling is an exact permutation. Otherwise each trial
streams from Parquet with one CPU of its own, and shuffles files and a buffer of rows.

A pretraining holds its genome in the object store once a node, four bases to a byte. Every worker
streams its own part of every step, cut ahead of the training by one small task at a time.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayTaskError

from hyena_ray.cluster.monitor import Progress
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.manifest import PREPARE_AGAIN
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows, windows_from_table
from hyena_ray.errors import InputError
from hyena_ray.genome.splits import TRAIN, VALIDATION

if TYPE_CHECKING:
    import pyarrow as pa
    import ray.data

    from hyena_ray.training import genome_stream
    from hyena_ray.training.data_parallel import Workers
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.loaders import Batch, WindowSource

logger = logging.getLogger(__name__)

FRACTION_OF_STORE = 0.3
"""Largest part of the object store that shared windows take. While they are gathered they are in it
twice, and trials need room for their own data."""
BUFFER_ROWS = 8_192
"""Number of rows among which a streamed epoch is shuffled."""
READER_CPU = 1.0
"""CPUs of the tasks that read a trial's windows from Parquet."""
STREAM_CPU = 0.25
"""CPUs of the task that cuts a worker's windows of a pretraining: milliseconds of work a second."""
BLOCK_STEPS = 8
"""Number of steps that such a task cuts."""
SPAN_STEPS = 2_048
"""Number of steps of one dataset: its blocks of step numbers are made before the first is cut."""

Value = TypeVar("Value")


class Shared(NamedTuple, Generic[Value]):
    """A value in the object store; small and picklable."""

    reference: ray.ObjectRef[Value]
    """Ray's reference to it."""

    def get(self) -> Value:
        """Return the value; its arrays are those of shared memory, and read-only."""
        value: Value = ray.get(self.reference)
        return value


def share(value: Value) -> Shared[Value]:
    """Put a value into the object store.

    Args:
        value: Whatever workers read.

    Returns:
        A handle that any worker can open.
    """
    return Shared(ray.put(value))


class Handle(Protocol):
    """Training windows that a trial can open; small and picklable."""

    def open(self, limit: int | None = None) -> WindowSource:
        """Return the windows.

        Args:
            limit: Number of windows to take, evenly over all, see `sample_evenly`; None takes all.
        """
        ...


class SharedWindows(NamedTuple):
    """Windows in the object store."""

    reference: ray.ObjectRef[Windows]
    """Ray's reference to them."""

    def open(self, limit: int | None = None) -> WindowSource:
        """Return the windows: the read-only arrays of shared memory, or a copy of a part of them.

        Args:
            limit: Number of windows to take, evenly over all; None takes all.
        """
        from hyena_ray.training.loaders import ArraySource  # imports torch

        windows: Windows = ray.get(self.reference)
        if limit is None:
            return ArraySource(windows)
        return ArraySource(windows.rows(sample_evenly(len(windows.window_id), limit)))


class StreamedWindows(NamedTuple):
    """Windows in Parquet files, in order of window_id."""

    files: tuple[str, ...]
    """Paths or URIs of the files."""
    window_ids: ray.ObjectRef[NDArray[np.int64]]
    """Ids of all windows, shape (N,), ascending."""
    title: str
    """Name of their datasets on the dashboard."""

    def open(self, limit: int | None = None) -> WindowSource:
        """Return the windows, of which nothing is read before the first batch.

        Args:
            limit: Number of windows to take, evenly over all; None takes all.
        """
        ids: NDArray[np.int64] = ray.get(self.window_ids)
        if limit is None or limit >= len(ids):
            return StreamSource(self.files, len(ids), chosen=None, title=self.title)
        chosen = ids[sample_evenly(len(ids), limit)]
        return StreamSource(self.files, len(chosen), chosen=chosen, title=self.title)


class SharedData(NamedTuple):
    """What a run trains on and is scored on; small and picklable."""

    train: Mapping[int, Handle]
    """Training windows by length."""
    validation: Shared[HeldOut]
    """Validation data, from which windows of every length are cut."""


class StreamSource:
    """A `WindowSource` over Parquet files that need not fit into memory.

    Args:
        files: Paths or URIs of the files that hold the windows.
        count: Number of windows that are wanted.
        chosen: Their ids, shape (count,); None takes all.
        title: Name of the datasets on the dashboard.
    """

    def __init__(
        self,
        files: tuple[str, ...],
        count: int,
        *,
        chosen: NDArray[np.int64] | None,
        title: str,
    ) -> None:
        self._files = files
        self._count = count
        self._chosen = chosen
        self._title = title

    @property
    def count(self) -> int:
        """Number of windows."""
        return self._count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Read all windows once, with the files and every `BUFFER_ROWS` rows shuffled.

        Every worker of a run reads the whole stream and takes its own rows of each batch. Which
        rows a batch contains is known only once the preceding rows have been shuffled, and workers
        that each read a part of the stream, split by Ray, would train on other batches than a
        single worker does. Only a worker's own rows are copied to its device and augmented.

        Args:
            batch_size: Number of windows of a batch; the last one may have fewer.
            epoch: Number of the epoch, from 0; None keeps the order of window_id.
            seed: The same seed and epoch give the same order.

        Yields:
            Tokens and labels.
        """
        from hyena_ray.training.loaders import Batch  # imports torch

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
                select_windows, fn_args=[self._chosen], batch_size=None, batch_format="pyarrow"
            )
        for batch in rows.iter_batches(
            batch_size=batch_size, batch_format="numpy", prefetch_batches=2, **shuffle
        ):
            yield Batch.of(batch["tokens"], batch["labels"])


def select_windows(table: pa.Table, window_ids: NDArray[np.int64]) -> pa.Table:
    """Return the rows of some windows.

    Args:
        table: Rows with a column `window_id`.
        window_ids: Ids to keep.
    """
    return table.filter(np.isin(np.asarray(table.column("window_id")), window_ids))


def read_files(
    files: Sequence[str], title: str, columns: Sequence[str] | None = None
) -> ray.data.Dataset:
    """Make a dataset of Parquet files, of which the checksum of every page is verified.

    It has a block per file and reads with one CPU at a time, so that the order of rows is the same
    on any cluster.

    Args:
        files: Paths or URIs, in the order in which they are read.
        title: Name of the dataset on the dashboard.
        columns: Columns to read; None reads all.

    Returns:
        A lazy dataset.
    """
    import pyarrow.dataset as pds
    import ray.data

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
    """Give datasets that are made inside the block options of their own.

    Yields:
        Options that can be changed without a change to those of the process.
    """
    import ray.data  # takes a second, which a worker that streams nothing is spared

    with warnings.catch_warnings():
        # Ray's own copy sets options that Ray has deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current().copy()
    with ray.data.DataContext.current(context):
        yield context


def share_data(data: PreparedData, lengths: Sequence[int], cluster: Cluster) -> SharedData:
    """Make data available to all trials.

    Validation data are in the object store, and so are training windows where they fit well; else
    every trial streams them.

    Args:
        data: Prepared data.
        lengths: Lengths of the training windows that trials use.
        cluster: Cluster on which they run.

    Raises:
        InputError: A file is damaged or is not what the manifest says.
    """
    from hyena_ray.training.held_out import HeldOut  # imports torch

    rows = _row_length(data)
    ids = {length: data.window_ids(length, TRAIN) for length in lengths}
    data.window_ids(rows, VALIDATION)  # checks the files: Ray Data would not
    validation = share(HeldOut.of(data, VALIDATION, _gather(data, rows, VALIDATION)))
    if fits(data, lengths, cluster):
        train: dict[int, Handle] = {
            length: SharedWindows(ray.put(_gather(data, length, TRAIN))) for length in lengths
        }
        return SharedData(train, validation)
    logger.info("the windows are too many for shared memory: every trial streams them")
    streams = {
        length: StreamedWindows(
            tuple(map(str, data.files(length, TRAIN))),
            ray.put(ids[length]),
            _title(data, length, TRAIN),
        )
        for length in lengths
    }
    return SharedData(streams, validation)


def fits(data: PreparedData, lengths: Sequence[int], cluster: Cluster) -> bool:
    """Return whether windows take only a small part of the object store.

    Args:
        data: Prepared data.
        lengths: Lengths of the training windows that trials use.
        cluster: Cluster on which they run.
    """
    return windows_bytes(data, lengths) < FRACTION_OF_STORE * cluster.object_store


def windows_bytes(data: PreparedData, lengths: Sequence[int]) -> int:
    """Return the size in memory of what trials read, in bytes.

    Args:
        data: Prepared data.
        lengths: Lengths of the training windows that trials use.
    """
    rows = [(length, TRAIN) for length in lengths] + [(_row_length(data), VALIDATION)]
    return sum(
        data.count(length, split) * (2 * length + 2 * data.manifest.flank + 32)
        for length, split in rows
    )


def _row_length(data: PreparedData) -> int:
    """Return the bases of a stretch, or of a sequence."""
    return data.manifest.stretch or data.manifest.lengths[0]


def _title(data: PreparedData, length: int, split: str) -> str:
    kind = "stretches" if data.manifest.scored_in_stretches(split) else "windows"
    return f"{data.manifest.task} {kind} length={length} {split}"


def _gather(data: PreparedData, length: int, split: str) -> Windows:
    """Read with as many CPUs as are free."""
    import pyarrow as pa

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
    count, expected = len(windows.window_id), data.count(length, split)
    if count != expected:
        raise InputError(files[0], f"{count} rows", f"the manifest says {expected}", PREPARE_AGAIN)
    return windows


class StreamedSteps(NamedTuple):
    """The steps of a pretraining, as a worker's `Feed`; small and picklable."""

    stream: Shared[genome_stream.WindowStream]
    """Windows of the packed genome, by number of the step."""

    def batches(self, steps: Iterable[int], workers: Workers) -> Iterator[genome_stream.Batch]:
        """Stream a worker's part of each step.

        Args:
            steps: Numbers of steps in the order in which they are taken, all of one stage.
            workers: The group, of which this process takes its own part.

        Yields:
            A batch per step.
        """
        numbers = list(steps)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for first in range(0, len(numbers), SPAN_STEPS):
            yield from self._span(numbers[first : first + SPAN_STEPS], workers)

    def _span(self, numbers: list[int], workers: Workers) -> Iterator[genome_stream.Batch]:
        import ray.data

        from hyena_ray.training.genome_stream import Batch

        stream = self.stream

        def cut(steps: dict[str, Any]) -> dict[str, Any]:
            source = stream.get()
            batches = [source.batch(int(step), workers) for step in steps["item"]]
            return {
                name: np.stack([getattr(batch, name) for batch in batches])
                for name in Batch._fields
            }

        with own_context() as context:
            context.enable_progress_bars = False
            context.execution_options.preserve_order = True
            blocks = -(-len(numbers) // BLOCK_STEPS)
            rows = ray.data.from_items(numbers, override_num_blocks=blocks).map_batches(
                cut,
                batch_size=None,
                batch_format="numpy",
                compute=ray.data.TaskPoolStrategy(size=1),
                num_cpus=STREAM_CPU,
            )
            rows.set_name(f"windows of steps {numbers[0] + 1} to {numbers[-1] + 1}")
        for row in rows.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=4):
            # A copy: arrays of the object store cannot be written to, of which torch warns.
            inputs, targets = row["inputs"][0].copy(), row["targets"][0].copy()
            yield Batch(inputs, targets, int(row["weight"][0]))
