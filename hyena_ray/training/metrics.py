"""Metrics of predicted probabilities: counts of right and wrong calls and what follows from them,
the threshold, the curve of precision and recall, calibration, and whole regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED

Numbers = NDArray[np.float64]


class Confusion(NamedTuple):
    """How many were called and are labelled, in any shape; weights may stand for counts.

    float64, because the product under the root of MCC overflows int64 from some 1e5 bases on.
    """

    tp: Numbers
    fp: Numbers
    fn: Numbers
    tn: Numbers

    @property
    def precision(self) -> Numbers:
        """Share of the called that is labelled; 0 where nothing is called."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Numbers:
        """Share of the labelled that is called; 0 where nothing is labelled."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> Numbers:
        """Harmonic mean of precision and recall; 0 where nothing is called or labelled."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def mcc(self) -> Numbers:
        """Matthews correlation coefficient; 0 where one class is all there is."""
        called, missed = self.tp + self.fp, self.tn + self.fn
        labelled, others = self.tp + self.fn, self.tn + self.fp
        spread = np.sqrt(called * labelled) * np.sqrt(missed * others)
        return ratio(self.tp * self.tn - self.fp * self.fn, spread)

    @property
    def accuracy(self) -> Numbers:
        """Share of right calls."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def balanced_accuracy(self) -> Numbers:
        """Mean of the recalls of both classes; what an area under a curve of one point is."""
        return (self.recall + ratio(self.tn, self.tn + self.fp)) / 2


def confusion(labels: NDArray[np.integer], called: NDArray[np.bool_]) -> Confusion:
    """Count, to arrays without a dimension.

    Args:
        labels: (N,) 0 or 1.
        called: (N,).
    """
    positive = labels == 1
    found = (called & positive, called & ~positive, ~called & positive, ~called & ~positive)
    return Confusion._make(np.array(np.count_nonzero(part), np.float64) for part in found)


def ratio(part: Numbers, whole: Numbers) -> Numbers:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


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


FOUND = 0.5
"""Share of a region's bases that must be called for it to count as found."""


class RegionScores(NamedTuple):
    """Recall of labelled regions and precision of called ones."""

    regions: int
    """Runs of labelled bases, joined across neighbouring windows of a contig."""
    found: int
    """Those with at least `FOUND` of their bases called."""
    recall: float
    """found / regions; 0 where there is none."""
    called: int
    """Runs of called bases, joined likewise."""
    false: int
    """Those that touch no labelled base. Negative windows are a sample: a genome has more."""
    precision: float
    """Share of called runs that touch a region; 0 where there is none."""


def score_regions(windows: Windows, scores: NDArray[np.floating], threshold: float) -> RegionScores:
    """Compare runs of labelled and of called bases.

    Args:
        windows: n windows with a label per base, in any order; where they overlap, the first of
            them counts.
        scores: (n, W) probability of class 1.
        threshold: probability from which a base is called.
    """
    place, labelled, called = _bases(windows, scores >= threshold)
    region, run = _runs(place, labelled), _runs(place, called)
    regions, runs = int(region.max(initial=0)), int(run.max(initial=0))
    size = np.bincount(region, minlength=regions + 1)[1:]
    covered = np.bincount(region[called], minlength=regions + 1)[1:]
    touching = len(np.unique(run[called & labelled]))
    found = int((covered >= FOUND * size).sum())
    return RegionScores(
        regions=regions,
        found=found,
        recall=found / regions if regions else 0.0,
        called=runs,
        false=runs - touching,
        precision=touching / runs if runs else 0.0,
    )


def _bases(
    windows: Windows, called: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) place, label and call of every base that counts, by contig and position.

    Places of neighbouring bases of a contig differ by 1, others by more.
    """
    _, contig = np.unique(windows.contig, return_inverse=True)
    width = windows.labels.shape[1]
    # A base more than the last window's end keeps contigs apart.
    spacing = int(windows.start.max(initial=0)) + width + 1
    place = (contig * spacing + windows.start)[:, None] + np.arange(width)
    counted = windows.labels != IGNORED
    unique, first = np.unique(place[counted], return_index=True)
    return unique, windows.labels[counted][first] == 1, called[counted][first]


def _runs(place: NDArray[np.int64], member: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N,) number of the run of neighbouring members that holds a base, from 1; 0 for others."""
    joined = member[1:] & member[:-1] & (np.diff(place) == 1)
    begins = member.copy()
    begins[1:] &= ~joined
    return np.where(member, np.cumsum(begins), 0)
