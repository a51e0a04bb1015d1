"""CUDA graphs on a machine without a GPU."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from hyena_ray.model.replay import Recording, Replay, Work


class Recorder(Replay):
    """A `Replay` whose graphs are functions that write to fixed memory, as CUDA's do.

    As with CUDA, to record work does not run it.
    """

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.records = True
        self.recorded = 0

    def eager(self, work: Work, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return work(*inputs)

    def record(self, work: Work, inputs: tuple[Tensor, ...]) -> Recording:
        self.recorded += 1
        own = tuple(tensor.clone() for tensor in inputs)
        outputs: list[Tensor] = []

        def replay() -> None:
            results = work(*own)
            if not outputs:
                outputs.extend(torch.empty_like(result) for result in results)
            for output, result in zip(outputs, results, strict=True):
                output.copy_(result)

        # A list, since the shapes of the outputs are known after the first replay alone.
        return Recording(own, cast(tuple[Tensor, ...], outputs), replay)
