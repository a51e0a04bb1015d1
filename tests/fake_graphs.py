"""A stand-in for CUDA graphs on a machine without a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from hyena_ray.model.replay import CapturedGraph, Replay, Work

CPU = torch.device("cpu")


class FakeGraphs(Replay):
    """A `Replay` on the CPU that uses fixed input and output tensors, as CUDA graphs do.

    As with CUDA graphs, capturing work does not run it.
    """

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__(device)
        self.captures = True

    def eager(self, work: Work, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return work(*inputs)

    def capture(self, work: Work, inputs: tuple[Tensor, ...]) -> CapturedGraph:
        own = tuple(tensor.clone() for tensor in inputs)
        outputs: list[Tensor] = []

        def replay() -> None:
            results = work(*own)
            outputs.extend(map(torch.empty_like, results[len(outputs) :]))
            for output, result in zip(outputs, results, strict=True):
                output.copy_(result)

        return CapturedGraph(own, outputs, replay)
