"""Do probabilities mean what they say?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 10


class Calibration(NamedTuple):
    """A reliability curve and the Brier score.

    Class weights and the sampling of negatives move probabilities away from shares of a genome;
    the curve says by how much on the windows at hand.
    """

    brier: float
    """Mean squared difference of probability and label; 0 is best."""
    predicted: tuple[float, ...]
    """Mean probability in each of `BINS` bins of equal width that holds any, ascending. Not of
    equal count: where one label in twenty is 1, nine of ten such bins lie at zero."""
    observed: tuple[float, ...]
    """Share of class 1 in each bin."""
    labels: tuple[int, ...]
    """Labels in each bin."""


def calibrate(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> Calibration:
    """Compare probabilities with what came true.

    Args:
        labels: (N,) 0 or 1, at least one.
        scores: (N,) probability of class 1.
    """
    probability, truth = scores.astype(np.float64), (labels == 1).astype(np.float64)
    # A bin holds its lower edge, the last both.
    of = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(of, minlength=BINS)
    held = np.flatnonzero(count)
    predicted, observed = (
        np.bincount(of, values, BINS)[held] / count[held] for values in (probability, truth)
    )
    return Calibration(
        brier=float(np.mean((probability - truth) ** 2)),
        predicted=tuple(map(float, predicted)),
        observed=tuple(map(float, observed)),
        labels=tuple(map(int, count[held])),
    )
