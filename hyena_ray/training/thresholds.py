"""The probability from which a base is called, chosen on validation windows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.confusion import Confusion, Numbers

OBJECTIVES: dict[str, Callable[[Confusion], Numbers]] = {
    "f1": lambda found: found.f1,
    "mcc": lambda found: found.mcc,
}
"""What a threshold can be chosen for, by the name that a task's `metric` has."""


def best_threshold(labels: NDArray[np.integer], scores: NDArray[np.floating], metric: str) -> float:
    """The threshold with the highest score, the lowest of several; 0.5 where there is no positive.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) probabilities; a base is called where score >= threshold.
        metric: one of `OBJECTIVES`.
    """
    if not labels.any():
        return 0.5
    order = np.argsort(scores)
    ascending = scores[order]
    # What is called from each distinct score on: everything but the rows before its first.
    first = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
    positives = np.concatenate(([0.0], np.cumsum(labels[order] == 1, dtype=np.float64)))
    below = first.astype(np.float64)
    missed = positives[first]
    tp = positives[-1] - missed
    counts = Confusion(tp=tp, fp=len(scores) - below - tp, fn=missed, tn=below - missed)
    return float(ascending[first[int(np.argmax(OBJECTIVES[metric](counts)))]])
