"""The weights that are scored and kept: those of the last step, or their moving average."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hyena_ray.model.window import WindowModel


class WeightAverage:
    """Exponential moving average of a model's weights and of its batch norms' statistics.

    The decay rises with the number of steps n as (1 + n) / (10 + n) up to its value, so that the
    random weights of the start are soon forgotten.

    Args:
        model: that is trained; updates never touch it.
        decay: share of the average that a step leaves, in [0, 1); 0 keeps the last weights, at no
            cost.
    """

    def __init__(self, model: WindowModel, decay: float) -> None:
        self._trained = model
        self._average: AveragedModel | None = None
        if decay:

            def move(averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
                share = min(decay, (1 + int(steps)) / (10 + int(steps)))
                for average, value in zip(averages, values, strict=True):
                    if average.is_floating_point():
                        average.lerp_(value, 1 - share)
                    else:
                        average.copy_(value)

            self._average = AveragedModel(model, multi_avg_fn=move, use_buffers=True)  # type: ignore[arg-type]

    @property
    def model(self) -> WindowModel:
        """With the averaged weights."""
        if self._average is None:
            return self._trained
        return cast(WindowModel, self._average.module)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in the weights of a finished step."""
        if self._average is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs; empty where nothing is averaged."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        if self._average is not None:
            self._average.load_state_dict(state)
