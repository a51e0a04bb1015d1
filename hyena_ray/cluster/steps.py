"""Batches of a pretraining as a Ray Data stream: from numbers of steps to tokens.

The genome lies in the object store once a node, four bases to a byte. Every worker streams its own
part of every step, cut ahead of the training by one small task at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import ray.data

from hyena_ray.cluster.tasks import Shared
from hyena_ray.cluster.windows import own_context
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.genome_stream import Batch, WindowStream

STREAM_CPU = 0.25
"""Of the task that cuts a worker's windows: milliseconds of work a second."""
BLOCK_STEPS = 8
"""Steps that a task cuts."""
SPAN_STEPS = 2_048
"""Steps of one dataset: its blocks of step numbers are made before the first is cut."""


class StreamedSteps(NamedTuple):
    """A `loop.Feed` of the windows in the object store; small and picklable."""

    stream: Shared[WindowStream]

    def batches(self, steps: Iterable[int], workers: Workers) -> Iterator[Batch]:
        """A worker's part of each step, in order; all steps are of one stage."""
        numbers = list(steps)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        for first in range(0, len(numbers), SPAN_STEPS):
            yield from self._span(numbers[first : first + SPAN_STEPS], workers)

    def _span(self, numbers: list[int], workers: Workers) -> Iterator[Batch]:
        stream = self.stream

        def cut(steps: dict[str, Any]) -> dict[str, Any]:
            source = stream.get()
            made = [source.batch(int(step), workers) for step in steps["item"]]
            return {name: np.stack([getattr(of, name) for of in made]) for name in Batch._fields}

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
        for batch in rows.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=4):
            # A copy: what lies in the object store cannot be written to, of which torch warns.
            inputs, targets = batch["inputs"][0].copy(), batch["targets"][0].copy()
            yield Batch(inputs, targets, int(batch["weight"][0]))
