"""CUDA graphs: work on a GPU that is captured once and then replayed.

A pass through a small model launches hundreds of kernels, each of which runs for less time than
Python needs to launch it. A graph replays all of them with a single launch. Its memory addresses
and shapes are fixed, so work is captured once for each combination of input shapes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

EAGER = 3
"""Warm-up calls per shape before the capture. They load kernels, select algorithms and allocate
workspaces, which must not happen during a capture."""
MOST = 64
"""Most graphs of one `Replay`; work with further shapes runs eagerly."""

Work = Callable[..., tuple[Tensor, ...]]
"""Function from tensors to tensors. It may change tensors in place, such as weights. It must not
synchronise with the device, and its effects on the host must not matter, as a replay has none."""


class Recording(NamedTuple):
    """Work that was recorded, with its own memory."""

    inputs: tuple[Tensor, ...]
    """Tensors that the work reads; they are filled before each replay."""
    outputs: Sequence[Tensor]
    """Tensors that each replay writes."""
    replay: Callable[[], None]
    """Queues the work."""


class Replay:
    """Run work again and again, from graphs where that is possible.

    On the CPU all work simply runs. A `Replay` is to be dropped before any memory that its work
    reads besides its inputs, such as weights or prepared filters.

    Args:
        device: Device of all tensors.

    Example:
        >>> double = Replay(torch.device("cpu"))
        >>> double("double", lambda x: (2 * x,), torch.ones(2))
        (tensor([2., 2.]),)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.records = device.type == "cuda"
        """Whether work is recorded."""
        self._calls: Counter[Hashable] = Counter()
        self._recordings: dict[Hashable, Recording] = {}
        self._pool = torch.cuda.graph_pool_handle() if self.records else None
        self._stream = torch.cuda.Stream(device) if self.records else None

    @property
    def recordings(self) -> int:
        """Number of graphs."""
        return len(self._recordings)

    def clear(self) -> None:
        """Drop all graphs and the memory that they use."""
        self._recordings.clear()
        self._calls.clear()
        if self._device.type == "cuda":
            # torch does not take captures into a memory pool all of whose graphs are gone.
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, name: Hashable, work: Work, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return `work(*inputs)`; the result is overwritten by the next call of the same shape.

        Args:
            name: Identifies the work: two calls with the same name and shapes do the same.
            work: The work.
            inputs: Its inputs.
        """
        if not self.records:
            return work(*inputs)
        key = (name, *((tensor.shape, tensor.dtype) for tensor in inputs))
        recording = self._recordings.get(key)
        if recording is None:
            self._calls[key] += 1
            if self._calls[key] <= EAGER or len(self._recordings) >= MOST:
                return self.eager(work, inputs)
            try:
                recording = self.record(work, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                # Work that cannot be recorded, of a model with an operation that waits, runs all
                # the same.
                self.records = False
                logger.warning("runs without CUDA graphs: %s", str(error).partition("\n")[0])
                return work(*inputs)
            self._recordings[key] = recording
        for own, given in zip(recording.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        recording.replay()
        return tuple(recording.outputs)

    def eager(self, work: Work, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run work before it is recorded, on a stream of its own as CUDA asks for.

        Args:
            work: The work.
            inputs: Its inputs.
        """
        stream, current = self._stream, torch.cuda.current_stream(self._device)
        assert stream is not None
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = work(*inputs)
        current.wait_stream(stream)
        return outputs

    def record(self, work: Work, inputs: tuple[Tensor, ...]) -> Recording:
        """Record work, which does not run it.

        Args:
            work: The work.
            inputs: Its inputs, of which only shape and type matter.
        """
        own = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as Ray's, may go on allocating memory meanwhile.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            outputs = work(*own)
        return Recording(own, outputs, graph.replay)
