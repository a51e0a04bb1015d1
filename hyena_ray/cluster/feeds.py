"""How the training windows of a supervised run reach its workers: shared, or streamed by Ray Data.

Shared windows are in the object store: all processes of a node read the same bytes, and shuffling
is an exact permutation.

A stream is a dataset of Ray Data. Each of its tasks reads one buffer of the epoch from Parquet
(`ShuffledWindows`), and gives every worker of the run one block: the tokens of its own windows of
each batch, and the labels of all. `streaming_split` deals the blocks out in turn: with
`preserve_order`, it gives the next block to the worker that was given the fewest rows so far, and
every block is one row. Batches are therefore the same for any number of workers. Blocks are
fetched ahead of the training, and copied to a GPU as a whole.

Held-out data are shared by either feed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import ray
from ray.data import DataIterator, Dataset, Datasource, ReadTask
from ray.data.block import Block, BlockMetadata
from ray.exceptions import RayTaskError

from hyena_ray.cluster.monitor import Progress
from hyena_ray.cluster.resources import READER_CPU
from hyena_ray.cluster.streams import Shared, own_context, read_files, share
from hyena_ray.dataset.manifest import PREPARE_AGAIN
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows, windows_from_table
from hyena_ray.dataset.shuffled_windows import ShuffledWindows, own_rows
from hyena_ray.errors import InputError, JobError
from hyena_ray.genome.splits import TRAIN, VALIDATION
from hyena_ray.training.settings import Feed

if TYPE_CHECKING:
    from hyena_ray.training.data_parallel import Workers
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.loaders import Batch, WindowSource

AHEAD = 2
"""Buffers that are fetched ahead of the training."""


class Handle(Protocol):
    """Training windows that a trial can open; small and picklable."""

    def open(
        self,
        limit: int | None = None,
        workers: Workers | None = None,
        negatives: str | None = None,
    ) -> WindowSource:
        """Return the windows.

        Args:
            limit: Number of windows to take, evenly over all, see `sample_evenly`; None takes all.
            workers: Processes that train on them together, each of which opens them; None for one
                alone.
            negatives: Negatives per labelled window by kind that each epoch draws; None takes all.
        """
        ...


class SharedWindows(NamedTuple):
    """Windows in the object store."""

    windows: Shared[Windows]
    """All windows of one length."""

    def open(
        self,
        limit: int | None = None,
        workers: Workers | None = None,
        negatives: str | None = None,
    ) -> WindowSource:
        """Return the windows: the read-only arrays of shared memory, or a copy of a part of them.

        Args:
            limit: Number of windows to take, evenly over all; None takes all.
            workers: Processes that train on them together, all of which read the same arrays.
            negatives: Negatives per labelled window by kind that each epoch draws; None takes all.
        """
        from hyena_ray.training.loaders import ArraySource  # imports torch

        windows = self.windows.get()
        if limit is not None:
            windows = windows.rows(sample_evenly(len(windows.window_id), limit))
        return ArraySource(windows, negatives)


class StreamedWindows(NamedTuple):
    """Windows in Parquet files, of which only the numbers are in the object store."""

    windows: Shared[ShuffledWindows]
    """Where the windows of one length are."""
    title: str
    """Name of their datasets on the dashboard."""

    def open(
        self,
        limit: int | None = None,
        workers: Workers | None = None,
        negatives: str | None = None,
    ) -> WindowSource:
        """Return the windows, of which nothing is read before the first batch.

        Args:
            limit: Number of windows to take, evenly over all; None takes all.
            workers: Processes that train on them together, each of which opens them at this point;
                None for one alone.
            negatives: Negatives per labelled window by kind that each epoch draws; None takes all.
        """
        from hyena_ray.training.data_parallel import ALONE  # imports torch

        windows = self.windows.get().sample(limit, negatives)
        return StreamSource(windows, self.title, workers or ALONE)


class SharedData(NamedTuple):
    """What a run trains on and is scored on; small and picklable."""

    train: Mapping[int, Handle]
    """Training windows by length."""
    validation: Shared[HeldOut]
    """Validation data, from which windows of every length are cut."""


class Pass(NamedTuple):
    """One pass through the windows."""

    epoch: int
    """Number of the epoch, from 0."""
    seed: int
    """Seed of the order."""
    batch_size: int
    """Windows of a batch."""
    workers: int
    """Number of workers among which each batch is divided."""


class StreamSource:
    """A `WindowSource` over Parquet files that need not fit into memory.

    Without an epoch, windows are read in this process, and Ray is not needed.

    Args:
        windows: Where the windows are.
        title: Name of the datasets on the dashboard.
        workers: Processes that train on them together.
    """

    def __init__(self, windows: ShuffledWindows, title: str, workers: Workers) -> None:
        self._windows = windows
        self._title = title
        self._workers = workers
        self._stream: Any = None

    @property
    def count(self) -> int:
        """Number of windows of an epoch."""
        return self._windows.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield the windows of an epoch once.

        Of a batch of an epoch, a worker can only read the tokens of its own windows, which
        `own_part` says, and the labels of all.

        Args:
            batch_size: Windows of a batch; the last one may have fewer.
            epoch: Number of the epoch, from 0; None takes those of the first one in order of
                window_id.
            seed: The same seed, epoch and batch size give the same windows in the same order.

        Raises:
            InputError: A file is damaged.
            JobError: Ray Data gave this worker a block of another one.
        """
        from hyena_ray.training.loaders import DeviceRows, OwnRows, batches_in  # imports torch

        if epoch is None:
            size = self._windows.buffer_size(batch_size)
            for first in range(0, self.count, size):
                rows = self._windows.order(first, first + size, epoch=None, seed=seed)
                tokens, labels = self._windows.read(rows)
                yield from batches_in(
                    DeviceRows(tokens, resident=False),
                    DeviceRows(labels, resident=False),
                    np.arange(len(rows)),
                    batch_size,
                )
            return
        rank, workers = self._workers.rank, self._workers.size
        blocks = self._blocks(Pass(epoch, seed, batch_size, workers))
        for number, block in enumerate(blocks):
            if (block["buffer"].tolist(), block["worker"].tolist()) != ([number], [rank]):
                raise JobError("Ray Data dealt the blocks of a stream out in another order")
            count = block["labels"].shape[1]
            own = own_rows(count, batch_size, rank, workers)
            held = OwnRows(block["tokens"][0], own), DeviceRows(block["labels"][0], resident=True)
            yield from batches_in(*held, np.arange(count), batch_size)

    def _blocks(self, through: Pass) -> Iterable[dict[str, Any]]:
        """Return this worker's block of every buffer."""
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        if self._stream is None:
            self._stream = self._open()
        if self._workers.size == 1:
            part: DataIterator = self._stream.dataset(through).iterator()
        else:
            part = ray.get(self._stream.part.remote(through, self._workers.rank))
        blocks: Iterable[dict[str, Any]] = part.iter_batches(
            batch_size=None, batch_format="numpy", prefetch_batches=AHEAD
        )
        return blocks

    def _open(self) -> Any:
        """Return the stream, or the actor that has it where several workers read it."""
        if self._workers.size == 1:
            return Stream(share(self._windows), self._title)
        stream = None
        if self._workers.writes:
            # The suffix belongs to this process: a trial that is tried again has the same title.
            name = f"stream {self._title} {uuid.uuid4().hex[:6]}"
            actor = ray.remote(num_cpus=0, max_concurrency=1)(Stream).options(name=name)
            stream = actor.remote(share(self._windows), self._title)
        # The first rank's actor, which ends with the process of that rank.
        return self._workers.merge([stream])[0]


class Stream:
    """The dataset of every epoch, and its parts where several workers read it.

    Args:
        windows: Where the windows are.
        title: Name of the datasets on the dashboard.
    """

    def __init__(self, windows: Shared[ShuffledWindows], title: str) -> None:
        self._windows = windows
        self._title = title
        self._split: tuple[Pass | None, list[DataIterator]] = None, []

    def dataset(self, through: Pass) -> Dataset:
        """Return the dataset of one pass, of which nothing is read yet.

        Args:
            through: The pass.
        """
        buffers = WindowBuffers(self._windows, through)
        with own_context() as context:
            context.enable_progress_bars = False
            context.execution_options.preserve_order = True
            # Otherwise the blocks of a buffer are put together into one, of 128 MiB at most.
            context.target_max_block_size = 1
            rows = ray.data.read_datasource(
                buffers,
                num_cpus=READER_CPU,
                concurrency=1,
                override_num_blocks=buffers.count,
            )
            rows.set_name(f"stream {self._title} epoch {through.epoch + 1}")
        return rows

    def part(self, through: Pass, rank: int) -> DataIterator:
        """Return one worker's part of a pass.

        Args:
            through: The pass.
            rank: Number of the worker, from 0.
        """
        if self._split[0] != through:
            parts = self.dataset(through).streaming_split(through.workers, equal=False)
            self._split = through, parts
        return self._split[1][rank]


class WindowBuffers(Datasource):
    """Windows as a datasource of Ray Data: a task reads one buffer, and gives each worker a block.

    Args:
        windows: Where the windows are.
        through: The pass.
    """

    def __init__(self, windows: Shared[ShuffledWindows], through: Pass) -> None:
        super().__init__()
        opened = windows.get()
        self._windows = windows
        self._through = through
        self._size = opened.buffer_size(through.batch_size)
        self.count = -(-opened.count // self._size)
        """Number of buffers."""

    def get_name(self) -> str:
        """Return the name of the operator on the dashboard."""
        return "Windows"

    def estimate_inmemory_data_size(self) -> int | None:
        """Return None, since blocks are not cut by size."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """Return a task for each buffer.

        Args:
            parallelism: Number of tasks that Ray Data asks for, which is that of the buffers.
            per_task_row_limit: Largest number of rows that a task gives.
            data_context: Options of the dataset.
        """
        metadata = BlockMetadata(
            num_rows=self._through.workers, size_bytes=None, exec_stats=None, input_files=None
        )
        return [
            ReadTask(
                partial(read_buffer, self._windows, self._through, self._size, number),
                metadata,
                per_task_row_limit=per_task_row_limit,
            )
            for number in range(self.count)
        ]


def read_buffer(
    windows: Shared[ShuffledWindows], through: Pass, size: int, number: int
) -> Iterator[Block]:
    """Read one buffer of an epoch.

    Args:
        windows: Where the windows are.
        through: The pass.
        size: Windows of a buffer.
        number: Number of the buffer, from 0.

    Yields:
        A block of one row for each worker.
    """
    import pyarrow as pa

    opened, first = windows.get(), number * size
    rows = opened.order(first, first + size, epoch=through.epoch, seed=through.seed)
    tokens, labels = opened.read(rows)
    for worker in range(through.workers):
        own = own_rows(len(rows), through.batch_size, worker, through.workers)
        mine = tokens if through.workers == 1 else tokens[own]
        yield pa.table(
            {
                "buffer": [number],
                "worker": [worker],
                "tokens": pa.FixedShapeTensorArray.from_numpy_ndarray(mine.reshape(1, *mine.shape)),
                "labels": pa.FixedShapeTensorArray.from_numpy_ndarray(
                    labels.reshape(1, *labels.shape)
                ),
            }
        )


def share_data(data: PreparedData, lengths: Sequence[int], feed: Feed) -> SharedData:
    """Make data available to all trials.

    Args:
        data: Prepared data.
        lengths: Lengths of the training windows that trials use.
        feed: How they reach the trials; see `choose_feed`. Validation data are always shared.

    Raises:
        InputError: A file is damaged or is not what the manifest says.
    """
    from hyena_ray.training.held_out import HeldOut  # imports torch

    held_out = data.manifest.stretch or data.manifest.lengths[0]
    # Its files are checked as those of the training windows are below: Ray Data checks none.
    data.window_ids(held_out, VALIDATION)
    validation = share(HeldOut.of(data, VALIDATION, _gather(data, held_out, VALIDATION)))
    train: dict[int, Handle] = {}
    for length in lengths:
        places = ShuffledWindows.of(data, length, TRAIN)
        if feed == "shared":
            train[length] = SharedWindows(share(_gather(data, length, TRAIN)))
        else:
            train[length] = StreamedWindows(share(places), title(data, length, TRAIN))
    return SharedData(train, validation)


def title(data: PreparedData, length: int, split: str) -> str:
    """Return the name of windows on the dashboard.

    Args:
        data: Prepared data.
        length: Window length in bases.
        split: Name of the split.
    """
    kind = "stretches" if data.manifest.scored_in_stretches(split) else "windows"
    return f"{data.manifest.task} {kind} length={length} {split}"


def _gather(data: PreparedData, length: int, split: str) -> Windows:
    """Read with as many CPUs as are free."""
    import pyarrow as pa

    files = list(map(str, data.files(length, split)))
    name = f"share {title(data, length, split)}"
    try:
        with Progress(name):
            blocks = ray.get(read_files(files, name).materialize().to_arrow_refs())
    except RayTaskError as error:
        raise InputError(
            files[0], None, f"cannot be read ({str(error.cause).splitlines()[0]})", PREPARE_AGAIN
        ) from None
    windows = windows_from_table(pa.concat_tables(blocks, promote_options="permissive"), files[0])
    count, expected = len(windows.window_id), data.count(length, split)
    if count != expected:
        raise InputError(files[0], f"{count} rows", f"the manifest says {expected}", PREPARE_AGAIN)
    return windows
