"""Precision and recall at every threshold, in as many points as a figure shows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.confusion import Confusion

POINTS = 200
"""More than a figure can tell apart."""


class PrecisionRecall(NamedTuple):
    """Points of the curve from the highest threshold, where little is called, to the lowest."""

    threshold: tuple[float, ...]
    """At most `POINTS`, falling; what scores at least that much is called."""
    precision: tuple[float, ...]
    recall: tuple[float, ...]


def precision_recall(labels: NDArray[np.integer], scores: NDArray[np.floating]) -> PrecisionRecall:
    """The curve at distinct scores that lie evenly over recall.

    Args:
        labels: (N,) 0 or 1, at least one of them 1.
        scores: (N,).
    """
    order = np.argsort(-scores, kind="stable")
    falling, positive = scores[order], labels[order] == 1
    # The last row of every distinct score: all of them are called together.
    last = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    true = np.cumsum(positive, dtype=np.float64)[last]
    called = last + 1.0
    recall = true / true[-1]
    # Where recall moves on, and both ends.
    steps = np.searchsorted(recall, np.linspace(0, 1, POINTS - 1))
    kept = np.unique(np.append(np.minimum(steps, len(last) - 1), len(last) - 1))
    counts = Confusion(
        tp=true[kept],
        fp=(called - true)[kept],
        fn=(true[-1] - true)[kept],
        tn=(len(labels) - called - true[-1] + true)[kept],
    )
    return PrecisionRecall(
        threshold=tuple(map(float, falling[last[kept]])),
        precision=tuple(map(float, counts.precision)),
        recall=tuple(map(float, counts.recall)),
    )
