"""Learning-rate schedules after warm-up: linear, cosine, constant, or halved on a plateau."""

from __future__ import annotations

from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import get_scheduler

Kind = Literal["linear", "cosine", "constant", "plateau"]

_PER_STEP: dict[Kind, str] = {
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
    "plateau": "constant_with_warmup",
}


class Schedule:
    """The rate of every step of one stage.

    Args:
        optimizer: its groups hold the peak rates.
        kind: shape after warm-up.
        steps: optimiser steps of the stage.
        warmup: share of the steps in which the rate rises linearly from 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        kind: Kind,
        steps: int,
        warmup: float,
    ) -> None:
        self._warmup_steps = round(steps * warmup)
        self._per_step = get_scheduler(_PER_STEP[kind], optimizer, self._warmup_steps, steps)
        self._plateau = None
        if kind == "plateau":
            self._plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=1)

    def after_step(self) -> None:
        """Set the rate of the next step."""
        # The per-step schedule sets rates from the peak: past warm-up it would undo the plateau's.
        if self._plateau is None or self._per_step.last_epoch < self._warmup_steps:
            self._per_step.step()

    def after_epoch(self, score: float) -> None:
        """Tell the validation score, higher is better."""
        if self._plateau is not None and self._per_step.last_epoch >= self._warmup_steps:
            self._plateau.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        plateau = None if self._plateau is None else self._plateau.state_dict()
        return {"per_step": self._per_step.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._per_step.load_state_dict(state["per_step"])
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
