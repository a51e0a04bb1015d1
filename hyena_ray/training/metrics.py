"""Metrics of per-base predictions, from scores and a threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from hyena_ray.training.losses import IGNORED


class Metrics(NamedTuple):
    """How well scores tell labelled bases from others."""

    loss: float
    """Weighted cross-entropy."""
    f1: float
    precision: float
    recall: float
    mcc: float
    """Matthews correlation coefficient."""
    accuracy: float
    roc_auc: float
    """From scores; NaN where one class is missing."""
    average_precision: float
    threshold: float
    """Probability from which a base is called."""


def best_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The threshold with the highest F1; 0.5 where there is no positive.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) probabilities; a base is called where score >= threshold.
    """
    if not labels.any():
        return 0.5
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def measure(
    labels: np.ndarray, scores: np.ndarray, *, loss: float, threshold: float | None
) -> Metrics:
    """Compute all metrics.

    Args:
        labels: any shape, 0, 1 or `IGNORED`.
        scores: same shape, probability of class 1.
        loss: carried into the result.
        threshold: None chooses the one with the best F1 on these labels: for validation only.

    Raises:
        ValueError: no base counts.
    """
    counted = labels != IGNORED
    labels, scores = labels[counted], scores[counted]
    if labels.size == 0:
        raise ValueError("no base counts: every label is ignored")
    if threshold is None:
        threshold = best_threshold(labels, scores)
    called, positive = scores >= threshold, labels == 1
    # Python integers: the product under the square root overflows int64 from some 1e5 bases on.
    tp, fp = int((called & positive).sum()), int((called & ~positive).sum())
    fn, tn = int((~called & positive).sum()), int((~called & ~positive).sum())
    spread = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    both_classes = 0 < positive.sum() < positive.size
    return Metrics(
        loss=loss,
        f1=_ratio(2 * tp, 2 * tp + fp + fn),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        mcc=(tp * tn - fp * fn) / spread**0.5 if spread else 0.0,
        accuracy=_ratio(tp + tn, labels.size),
        roc_auc=float(roc_auc_score(labels, scores)) if both_classes else float("nan"),
        average_precision=float(average_precision_score(labels, scores))
        if both_classes
        else float("nan"),
        threshold=threshold,
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
