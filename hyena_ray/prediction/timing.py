"""How long a prediction will take, from windows of random bases."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from hyena_ray.model.predictor import ContigSlice, score_piece
from hyena_ray.model.window import WindowModel

BATCHES = 4
"""That are timed, after one that is not: memory is got, and kernels are chosen."""


class PredictionTiming(NamedTuple):
    """What the parts of a prediction take."""

    window: float
    """Seconds to score a window."""
    timed: float
    """Seconds that were timed."""


def time_windows(model: WindowModel, *, batch: int) -> PredictionTiming:
    """Score windows side by side, as many as a few batches hold.

    Args:
        model: in evaluation mode.
        batch: windows of one forward pass.
    """
    window, bases = model.readout.window, np.random.default_rng(0)
    for batches in (1, BATCHES):
        size = batches * batch * window
        sequence = ContigSlice(0, bases.integers(4, size=size, dtype=np.uint8))
        began = time.perf_counter()
        score_piece(model, sequence, size, 0, size, step=window, batch=batch)
        seconds = time.perf_counter() - began
    return PredictionTiming(seconds / (BATCHES * batch), seconds)
