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


class CapturedGraph(NamedTuple):
    """Captured work, with the memory that it reads and writes."""

    inputs: tuple[Tensor, ...]
    """Tensors that the work reads; they are filled before each replay."""
    outputs: Sequence[Tensor]
    """Tensors that each replay overwrites."""
    replay: Callable[[], None]
    """Launches the graph."""


class Replay:
    """Captures work as CUDA graphs, one for each combination of input shapes, and replays them.

    On the CPU all work runs eagerly. The memory that the work reads besides its inputs, such as
    weights or prepared filters, must live until `clear` is called.

    Args:
        device: Device of all tensors.

    Example:
        >>> double = Replay(torch.device("cpu"))
        >>> double("double", lambda x: (2 * x,), torch.ones(2))
        (tensor([2., 2.]),)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.captures = device.type == "cuda"
        """Whether work is captured."""
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle() if self.captures else None
        self._stream = torch.cuda.Stream(device) if self.captures else None

    @property
    def graphs(self) -> int:
        """Number of captured graphs."""
        return len(self._graphs)

    def clear(self) -> None:
        """Drop all graphs and the memory that they use."""
        self._graphs.clear()
        self._calls.clear()
        if self._device.type == "cuda":
            # torch cannot capture into a memory pool after all of its graphs have been dropped.
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, name: Hashable, work: Work, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return `work(*inputs)`; the next call with the same shapes overwrites the result.

        Args:
            name: Identifies the work. Calls with the same name and shapes must do the same work.
            work: Work to do.
            inputs: Inputs of the work.
        """
        if not self.captures:
            return work(*inputs)
        key = (name, *((tensor.shape, tensor.dtype) for tensor in inputs))
        graph = self._graphs.get(key)
        if graph is None:
            self._calls[key] += 1
            if self._calls[key] <= EAGER or len(self._graphs) >= MOST:
                return self.eager(work, inputs)
            try:
                graph = self.capture(work, inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                # An operation of the model may synchronise, which a capture does not allow.
                self.captures = False
                logger.warning("running without CUDA graphs: %s", str(error).partition("\n")[0])
                return work(*inputs)
            self._graphs[key] = graph
        for own, given in zip(graph.inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        graph.replay()
        return tuple(graph.outputs)

    def eager(self, work: Work, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run work as a warm-up, on the stream that it will be captured on.

        Args:
            work: Work to do.
            inputs: Inputs of the work.
        """
        stream, current = self._stream, torch.cuda.current_stream(self._device)
        assert stream is not None
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = work(*inputs)
        current.wait_stream(stream)
        return outputs

    def capture(self, work: Work, inputs: tuple[Tensor, ...]) -> CapturedGraph:
        """Capture work without running it.

        Args:
            work: Work to capture.
            inputs: Inputs with the shapes and dtypes of later calls.
        """
        own = tuple(tensor.clone() for tensor in inputs)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those of Ray, may allocate memory during the capture.
        with torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            outputs = work(*own)
        return CapturedGraph(own, outputs, graph.replay)
