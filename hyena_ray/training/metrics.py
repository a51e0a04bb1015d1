"""Metrics of predictions, from scores and a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from hyena_ray.training.confusion import confusion
from hyena_ray.training.losses import IGNORED
from hyena_ray.training.thresholds import best_threshold


class Metrics(NamedTuple):
    """How well scores tell labelled bases, or sequences, from others."""

    loss: float
    """Weighted cross-entropy."""
    f1: float
    precision: float
    recall: float
    mcc: float
    """Matthews correlation coefficient."""
    accuracy: float
    balanced_accuracy: float
    """Mean of the recalls of both classes; the study's "ROC-AUC"."""
    roc_auc: float
    """From scores; NaN where one class is missing."""
    average_precision: float
    """At the share of positives of these windows; NaN where one class is missing."""
    threshold: float
    """Probability from which a base is called."""


def measure(
    labels: np.ndarray, scores: np.ndarray, *, loss: float, threshold: float | str
) -> Metrics:
    """Compute all metrics.

    Args:
        labels: any shape, 0, 1 or `IGNORED`.
        scores: same shape, probability of class 1.
        loss: carried into the result.
        threshold: a probability, or the metric whose best threshold on these labels is taken: that
            is for validation only.

    Raises:
        ValueError: no base counts.
    """
    counted = labels != IGNORED
    labels, scores = labels[counted], scores[counted]
    if labels.size == 0:
        raise ValueError("no base counts: every label is ignored")
    if isinstance(threshold, str):
        threshold = best_threshold(labels, scores, threshold)
    found = confusion(labels, scores >= threshold)
    both_classes = 0 < found.tp + found.fn < labels.size
    return Metrics(
        loss=loss,
        f1=float(found.f1),
        precision=float(found.precision),
        recall=float(found.recall),
        mcc=float(found.mcc),
        accuracy=float(found.accuracy),
        balanced_accuracy=float(found.balanced_accuracy),
        roc_auc=float(roc_auc_score(labels, scores)) if both_classes else float("nan"),
        average_precision=float(average_precision_score(labels, scores))
        if both_classes
        else float("nan"),
        threshold=threshold,
    )
