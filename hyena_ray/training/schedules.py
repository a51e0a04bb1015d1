"""Learning-rate schedules: a warm-up, then linear, cosine, constant, or halved on a plateau."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

Shape = Literal["linear", "cosine", "constant", "plateau"]
"""Shape of the rate after the warm-up."""


def rate_factor(shape: Shape, step: int, *, warmup: int, steps: int) -> float:
    """Return the rate of a step as a fraction of the peak rate.

    Args:
        shape: Shape after the warm-up; the halvings of `plateau` are not in here.
        step: Number of the step, from 0.
        warmup: Steps in which the rate rises from 0.
        steps: Steps of the whole schedule.

    Example:
        >>> [rate_factor("linear", step, warmup=2, steps=6) for step in range(7)]
        [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < warmup:
        return step / warmup
    if shape in ("constant", "plateau"):
        return 1.0
    after, length = step - warmup, max(1, steps - warmup)
    if shape == "linear":
        return max(0.0, (steps - step) / length)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (after / length))))


class Schedule:
    """Learning rate of every step of one stage.

    On a GPU the learning rates of the parameter groups are scalar tensors, which are updated before
    each step. A CUDA graph of a step reads the rate from its tensor; a Python number would keep the
    value from the capture.

    Args:
        optimizer: Optimiser whose parameter groups have the peak rates, as numbers.
        shape: Shape after the warm-up.
        steps: Optimiser steps of the stage.
        warmup: Fraction of the steps in which the rate rises linearly from 0.
    """

    def __init__(self, optimizer: Optimizer, shape: Shape, steps: int, warmup: float) -> None:
        warmup_steps = round(steps * warmup)

        def factor(step: int) -> float:
            return rate_factor(shape, step, warmup=warmup_steps, steps=steps)

        self._optimizer = optimizer
        self._warmup_steps = warmup_steps
        self._per_step = LambdaLR(optimizer, factor)
        self._plateau = None
        if shape == "plateau":
            self._plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=1)
        # Only now, because torch's schedules read the rates as numbers when they are made.
        self._rates = [_device_scalar(group) for group in optimizer.param_groups]
        self._place_rates()

    def _place_rates(self) -> None:
        """Write the rate of every parameter group to the tensor that its step reads."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            if group["lr"] is not rate:
                number = float(group["lr"])
                group["lr"] = number if rate is None else rate.fill_(number)

    def after_step(self) -> None:
        """Set the rate of the next step."""
        # The per-step schedule sets rates from the peak: past warm-up it would undo the plateau's.
        if self._plateau is None or self._per_step.last_epoch < self._warmup_steps:
            self._per_step.step()
            self._place_rates()

    def after_epoch(self, score: float) -> None:
        """Halve the rate if the validation score has stopped rising.

        Args:
            score: Validation score of the epoch, higher is better.
        """
        if self._plateau is not None and self._per_step.last_epoch >= self._warmup_steps:
            self._plateau.step(score)
            self._place_rates()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        plateau = None if self._plateau is None else self._plateau.state_dict()
        return {"per_step": self._per_step.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state. The optimiser must have loaded its own, which contains the rates.

        Args:
            state: Value of `state_dict()`.
        """
        self._place_rates()
        self._per_step.load_state_dict(state["per_step"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])


def _device_scalar(group: dict[str, Any]) -> Tensor | None:
    """Return a scalar tensor for the rate of a parameter group on its GPU; None on the CPU."""
    device = group["params"][0].device
    return None if device.type == "cpu" else torch.zeros((), device=device)
