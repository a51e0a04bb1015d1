"""Exponential moving average of the weights, evaluated and kept in place of the last ones."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

ModelType = TypeVar("ModelType", bound=nn.Module)


class WeightAverage(Generic[ModelType]):
    """Exponential moving average of a model's weights and of its batch norms' statistics.

    The decay rises with the number of steps n as (1 + n) / (10 + n) up to its value, so that the
    random weights of the start are soon forgotten.

    Args:
        model: Model that is trained; updates never touch it.
        decay: Fraction of the average that a step leaves, in [0, 1); 0 keeps the last weights, at
            no cost.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model, 0.5)
        >>> _ = nn.init.constant_(model.weight, 4.0)
        >>> average.after_step()  # the first step is taken as it is
        >>> _ = nn.init.constant_(model.weight, 5.0)
        >>> average.after_step()  # (1 + 1) / (10 + 1) of 4 and the rest of 5
        >>> round(average.model.weight.item(), 3)
        4.818
    """

    def __init__(self, model: ModelType, decay: float) -> None:
        self._trained = model
        self._average: AveragedModel | None = None
        if decay:

            def move(averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
                kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
                for average, value in zip(averages, values, strict=True):
                    if average.is_floating_point():
                        average.lerp_(value, 1 - kept)
                    else:
                        average.copy_(value)

            self._average = AveragedModel(model, multi_avg_fn=move, use_buffers=True)  # type: ignore[arg-type]

    @property
    def model(self) -> ModelType:
        """The model with the averaged weights, or the trained model itself without a decay."""
        if self._average is None:
            return self._trained
        return cast(ModelType, self._average.module)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in the weights of a finished step."""
        if self._average is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs; empty without a decay."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: Value of `state_dict()`.
        """
        if self._average is not None:
            self._average.load_state_dict(state)
