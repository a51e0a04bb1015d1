"""What workers read: values in the object store, and the genome that a pretraining streams.

A pretraining holds its genome in the object store once a node, four bases to a byte. Every worker
streams its own part of every step, cut ahead of the training by one small task at a time. How the
windows of a supervised run reach its workers is in `feeds`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np
import ray

if TYPE_CHECKING:
    import ray.data

    from hyena_ray.training import genome_stream
    from hyena_ray.training.data_parallel import Workers

logger = logging.getLogger(__name__)

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
