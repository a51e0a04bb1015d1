"""Work on a GPU that is recorded once as a CUDA graph and then replayed.

A pass of a small model is hundreds of kernels, each of which takes less time than Python needs to
start it. Replaying them as one graph takes the time of the kernels alone. A graph has fixed memory
and fixed shapes, so that work is recorded once for each shape of its inputs.
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
"""Calls of every shape that are made without a graph: they load kernels, choose algorithms and
allocate workspaces, none of which may happen while a graph is recorded."""
MOST = 64
"""Graphs of one `Replay`; work of further shapes runs without."""

Work = Callable[..., tuple[Tensor, ...]]
"""Tensors in, tensors out. May change tensors that outlive it, such as weights; must not wait for
the device, nor do anything on the host that matters at every call."""


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
