"""Exponential moving average of the weights, evaluated and kept in place of the last ones."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from hyena_ray.model.replay import Replay

ModelType = TypeVar("ModelType", bound=nn.Module)

_COUNT, _WEIGHTS = "n_averaged", "module."
"""Key and prefix in the state, the same as in torch.optim.swa_utils."""


class WeightAverage(Generic[ModelType]):
    """Exponential moving average of a model's weights and of its batch norms' statistics.

    The decay rises with the number of steps n as (1 + n) / (10 + n) up to its value, so that the
    random weights of the start are soon forgotten.

    Args:
        model: Model that is trained, on the device of the training; the average never changes it.
        decay: Fraction of the average that remains after a step, in [0, 1); 0 keeps the last
            weights, at no cost.

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
        self._average: ModelType | None = None
        self._decay = decay
        self._steps = 0
        if decay:
            self._average = copy.deepcopy(model)
            self._device = next(model.parameters()).device
            self._replay = Replay(self._device)
            self._pairs = list(zip(_values(self._average), _values(model), strict=True))

    @property
    def model(self) -> ModelType:
        """The model with the averaged weights, or the trained model itself if the decay is 0."""
        return self._trained if self._average is None else self._average

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the average with the weights of a finished step."""
        if self._average is None:
            return
        steps = self._steps
        kept = min(self._decay, (1 + steps) / (10 + steps)) if steps else 0.0
        self._replay("move", self._move, torch.full((), 1 - kept, device=self._device))
        self._steps += 1

    def _move(self, fraction: Tensor) -> tuple[Tensor, ...]:
        """Move the average towards the weights by a fraction of the distance, a scalar tensor."""
        for average, value in self._pairs:
            if average.is_floating_point():
                average.lerp_(value, fraction.to(average.dtype))
            else:
                average.copy_(value)
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs; empty if the decay is 0."""
        if self._average is None:
            return {}
        weights = self._average.state_dict(prefix=_WEIGHTS)
        return {_COUNT: torch.tensor(self._steps), **weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: Value of `state_dict()`.
        """
        if self._average is None:
            return
        weights = {name: value for name, value in state.items() if name != _COUNT}
        self._average.load_state_dict(
            {name.removeprefix(_WEIGHTS): value for name, value in weights.items()}
        )
        self._steps = int(state[_COUNT])


def _values(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
