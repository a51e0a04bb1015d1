"""Metrics of predicted probabilities: counts of right and wrong calls and the rates that follow,
the threshold, and whole regions.

Areas are scikit-learn's. These are not, and why:

- F1, MCC and the other rates of one threshold: `Confusion` computes them for a thousand replicates
  or every threshold at once, and once a call costs a hundredth of scikit-learn's.
- The best threshold: scikit-learn's counts at every threshold take twice the time, after every
  epoch, and are missing in the oldest release that is allowed.

scikit-learn is imported by what uses it: a process that only trains does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.genome.called_regions import RegionSettings, Stretch, call_regions

Numbers = NDArray[np.float64]


class Confusion(NamedTuple):
    """Counts of right and wrong calls, in any shape; sums of weights may take their place.

    float64, because the product under the root of MCC overflows int64 from some 1e5 bases on.

    Example:
        >>> counts = Confusion(*np.array([3.0, 1.0, 2.0, 4.0]))
        >>> float(counts.precision), float(counts.recall), round(float(counts.mcc), 3)
        (0.75, 0.6, 0.408)
    """

    tp: Numbers
    """Labelled and called."""
    fp: Numbers
    """Called but not labelled."""
    fn: Numbers
    """Labelled but not called."""
    tn: Numbers
    """Neither labelled nor called."""

    @property
    def precision(self) -> Numbers:
        """Fraction of the called that is labelled; 0 where nothing is called."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Numbers:
        """Fraction of the labelled that is called; 0 where nothing is labelled."""
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
        """Fraction of right calls."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def balanced_accuracy(self) -> Numbers:
        """Mean of the recalls of both classes: the area under a ROC curve of one point."""
        return (self.recall + ratio(self.tn, self.tn + self.fp)) / 2


def confusion(
    labels: NDArray[np.integer], called: NDArray[np.bool_], weight: Numbers | None = None
) -> Confusion:
    """Count right and wrong calls, or add up their weights.

    Args:
        labels: 0 or 1, shape (N,).
        called: Whether a base is called, shape (N,).
        weight: Weight of each base, shape (N,); None counts each once.

    Returns:
        Four arrays without a dimension.
    """
    kinds = 2 * called + (labels == 1)
    tn, fn, fp, tp = np.bincount(kinds, weight, minlength=4).astype(np.float64)
    return Confusion(*map(np.array, (tp, fp, fn, tn)))


def ratio(part: Numbers, whole: Numbers) -> Numbers:
    """Divide elementwise, with 0 where the whole is 0.

    Args:
        part: Numerators, any shape.
        whole: Denominators, a shape that broadcasts with it.
    """
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


OBJECTIVES: dict[str, Callable[[Confusion], Numbers]] = {
    "f1": lambda counts: counts.f1,
    "mcc": lambda counts: counts.mcc,
}
"""Scores that a threshold can be chosen for, by the name that a task's `metric` has."""


def best_threshold(
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    metric: str,
    weight: Numbers | None = None,
) -> float:
    """Return the threshold with the best metric, the lowest of several; 0.5 without a positive.

    Args:
        labels: 0 or 1, shape (N,).
        scores: Probabilities, shape (N,); a base is called where its score >= threshold.
        metric: Key of `OBJECTIVES`.
        weight: Weight of each base, shape (N,); None counts each once.

    Example:
        >>> best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.5, 0.9]), "f1")
        0.5
    """
    if not labels.any():
        return 0.5
    order = np.argsort(scores)
    ascending = scores[order]
    # What is called from each distinct score on: everything but the rows before its first.
    first = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
    every = np.ones(len(scores)) if weight is None else weight[order]
    positives = np.concatenate(([0.0], np.cumsum(every * (labels[order] == 1))))
    total = np.concatenate(([0.0], np.cumsum(every)))
    missed, below = positives[first], total[first]
    tp = positives[-1] - missed
    counts = Confusion(tp=tp, fp=total[-1] - below - tp, fn=missed, tn=below - missed)
    return float(ascending[first[int(np.argmax(OBJECTIVES[metric](counts)))]])


class Metrics(NamedTuple):
    """How well scores separate labelled bases, or sequences, from others.

    Weights of the bases decide the prevalence that the figures hold for.
    """

    loss: float
    """Weighted cross-entropy."""
    f1: float
    """Harmonic mean of precision and recall."""
    precision: float
    """Fraction of the called that is labelled."""
    recall: float
    """Fraction of the labelled that is called."""
    mcc: float
    """Matthews correlation coefficient."""
    accuracy: float
    """Fraction of right calls."""
    balanced_accuracy: float
    """Mean of the recalls of both classes; Bokhyan 2025 calls it "ROC-AUC"."""
    roc_auc: float
    """Area under the ROC curve of the scores; NaN where one class is missing."""
    average_precision: float
    """Average precision; NaN where one class is missing."""
    threshold: float
    """Probability from which a base is called."""


def measure(
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    *,
    loss: float,
    threshold: float | str,
    weight: Numbers | None = None,
) -> Metrics:
    """Compute all metrics of some scores.

    Args:
        labels: 0, 1 or `IGNORED`, any shape.
        scores: Probabilities of class 1, the same shape.
        loss: Value that is carried into the result.
        threshold: A probability, or the metric whose best threshold on these labels is taken, which
            is right on validation data alone.
        weight: Number of bases that each one represents, the same shape; None counts each once.

    Raises:
        ValueError: No base counts.

    Example:
        >>> labels, scores = np.array([0, 1, 1, -100]), np.array([0.2, 0.4, 0.9, 0.5])
        >>> metrics = measure(labels, scores, loss=0.1, threshold="f1")
        >>> metrics.f1, metrics.roc_auc, metrics.threshold
        (1.0, 1.0, 0.4)
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    counted = labels != IGNORED
    if weight is not None:
        counted &= weight > 0
        weight = weight[counted]
    labels, scores = labels[counted], scores[counted]
    if labels.size == 0:
        raise ValueError("no base counts: every label is ignored")
    if isinstance(threshold, str):
        threshold = best_threshold(labels, scores, threshold, weight)
    counts = confusion(labels, scores >= threshold, weight)
    roc_auc = average_precision = float("nan")
    if labels.min() < labels.max():
        roc_auc = float(roc_auc_score(labels, scores, sample_weight=weight))
        average_precision = float(average_precision_score(labels, scores, sample_weight=weight))
    return Metrics(
        loss=loss,
        f1=float(counts.f1),
        precision=float(counts.precision),
        recall=float(counts.recall),
        mcc=float(counts.mcc),
        accuracy=float(counts.accuracy),
        balanced_accuracy=float(counts.balanced_accuracy),
        roc_auc=roc_auc,
        average_precision=average_precision,
        threshold=threshold,
    )


DETECTED = 0.5
"""Fraction of a region's bases that must be called for it to count as found."""


APART = 1 << 10
"""Least difference of positions on two contigs: more than any distance that is looked at."""


class RegionScores(NamedTuple):
    """Recall of labelled regions and precision of called ones, in the genome.

    Called regions are those that a prediction writes: runs of called bases, joined across small
    gaps, without short ones. Where stretches without a label are a sample, their numbers are
    estimates for the genome.
    """

    regions: int
    """Runs of labelled bases, joined across neighbouring stretches of a contig."""
    found: int
    """Labelled regions with at least `DETECTED` of their bases in called ones."""
    recall: float
    """found / regions; 0 where there is none."""
    called: float
    """Called regions."""
    false: float
    """Called regions that touch no labelled base."""
    precision: float
    """Fraction of called regions that touch a labelled one; 0 where there is none."""
    false_per_mb: float
    """False regions in a million bases."""

    def __str__(self) -> str:
        return (
            f"{self.found:,} of {self.regions:,} regions found ({self.recall:.3f}); "
            f"{self.false_per_mb:.1f} called regions per Mb outside them (precision of regions "
            f"{self.precision:.3f})"
        )


class RegionCounts(NamedTuple):
    """Counts of which the scores of regions are made; those of parts of a genome add up.

    No region, labelled or called, may go on in another part.
    """

    regions: int
    """Runs of labelled bases."""
    found: int
    """Labelled regions with at least `DETECTED` of their bases in called ones."""
    called: float
    """Called regions."""
    false: float
    """Called regions that touch no labelled base."""
    bases: float
    """Bases of the genome."""

    def plus(self, other: RegionCounts) -> RegionCounts:
        """Add the counts of another part.

        Args:
            other: Counts of that part.
        """
        return RegionCounts(
            regions=self.regions + other.regions,
            found=self.found + other.found,
            called=self.called + other.called,
            false=self.false + other.false,
            bases=self.bases + other.bases,
        )

    def scores(self) -> RegionScores:
        """Return recall and precision."""
        true = self.called - self.false
        return RegionScores(
            regions=self.regions,
            found=self.found,
            recall=self.found / self.regions if self.regions else 0.0,
            called=self.called,
            false=self.false,
            precision=true / self.called if self.called else 0.0,
            false_per_mb=1e6 * self.false / self.bases if self.bases else 0.0,
        )


def score_regions(
    stretches: Windows, scores: NDArray[np.floating], settings: RegionSettings, weight: Numbers
) -> RegionScores:
    """Compare runs of labelled bases with called regions.

    Args:
        stretches: m stretches with a label per base, which do not overlap, in any order.
        scores: Probabilities of class 1, shape (m, S).
        settings: How probabilities become regions.
        weight: Number of stretches of the genome that each one represents, shape (m,).
    """
    return count_regions(stretches, called_regions(stretches, scores, settings), weight).scores()


def called_regions(
    stretches: Windows, scores: NDArray[np.floating], settings: RegionSettings
) -> NDArray[np.int64]:
    """Number the called regions of stretches from 1, as a prediction would call them.

    Args:
        stretches: m stretches with a label per base, which do not overlap, in any order.
        scores: Probabilities of class 1, shape (m, S).
        settings: How probabilities become regions.

    Returns:
        Number of the called region of each base, shape (m, S); 0 for bases in none.
    """
    bases = genome_bases(stretches)
    number, position = np.zeros(scores.size, np.int64), bases.position
    if not len(position):
        return number.reshape(scores.shape)
    values = scores.ravel()[bases.order]
    # What separates two stretches, or is ignored, is N for a prediction.
    parts = np.flatnonzero(np.diff(position, prepend=position[0] - 2) != 1)
    consecutive = (
        Stretch(str(bases.contig[first]), int(position[first]), values[first:end])
        for first, end in pairwise([*parts.tolist(), len(position)])
    )
    spans = [(region.start, region.end) for region in call_regions(consecutive, settings)]
    start, end = np.array(spans, np.int64).reshape(-1, 2).T
    before = np.searchsorted(start, position, side="right")
    inside = before > 0
    inside[inside] = position[inside] < end[before[inside] - 1]
    number[bases.order] = np.where(inside, before, 0)
    return number.reshape(scores.shape)


def count_regions(stretches: Windows, called: NDArray[np.int64], weight: Numbers) -> RegionCounts:
    """Count the runs of labelled bases and the called regions.

    Args:
        stretches: m stretches with a label per base, which do not overlap, in any order.
        called: Result of `called_regions`, shape (m, S).
        weight: Number of stretches of the genome that each one represents, shape (m,).
    """
    bases = genome_bases(stretches)
    run = called.ravel()[bases.order]
    region = runs_of(bases.position, bases.labelled)
    base_weight = np.repeat(weight, stretches.labels.shape[1])[bases.order]
    # A called region weighs as much as the stretch in which it begins.
    run_number, first = np.unique(run, return_index=True)
    run_weight = np.where(run_number > 0, base_weight[first], 0.0)
    touching = np.isin(run_number, run[bases.labelled])
    every = float(run_weight.sum())
    return RegionCounts(
        regions=int(region.max(initial=0)),
        found=int(detected_regions(region, run > 0).sum()),
        called=every,
        false=every - float(run_weight[touching].sum()),
        bases=float(base_weight.sum()),
    )


def detected_regions(region: NDArray[np.int64], called: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell of every region whether at least `DETECTED` of its bases are called.

    Args:
        region: Number of the region of each base from 1, 0 for bases in none, shape (N,).
        called: Whether a base is in a called region, shape (N,).

    Returns:
        Shape (regions,).
    """
    regions = int(region.max(initial=0))
    size = np.bincount(region, minlength=regions + 1)[1:]
    covered = np.bincount(region[called], minlength=regions + 1)[1:]
    detected: NDArray[np.bool_] = covered >= DETECTED * size
    return detected


class GenomeBases(NamedTuple):
    """The bases of stretches by contig and position, shape (N,) each."""

    order: NDArray[np.int64]
    """Index of each base among those of the stretches."""
    contig: NDArray[np.int64]
    """Number of its contig, ascending."""
    position: NDArray[np.int64]
    """Position. Those of neighbouring bases of a contig differ by 1, others by more."""
    labelled: NDArray[np.bool_]
    """Whether the base has a label."""


def genome_bases(stretches: Windows) -> GenomeBases:
    """Sort the bases of stretches by contig and position.

    Args:
        stretches: m stretches with a label per base, which do not overlap, in any order.
    """
    _, contig = np.unique(stretches.contig, return_inverse=True)
    width = stretches.labels.shape[1]
    spacing = int(stretches.start.max(initial=0)) + width + APART
    place = contig * spacing + stretches.start
    rows = np.argsort(place)
    order = (rows[:, None] * width + np.arange(width)).ravel()
    position = (place[rows][:, None] + np.arange(width)).ravel()
    counted = stretches.labels.ravel()[order] != IGNORED
    order, position = order[counted], position[counted]
    labelled = stretches.labels.ravel()[order] == 1
    return GenomeBases(order, contig[order // width], position, labelled)


def runs_of(position: NDArray[np.int64], member: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the runs of neighbouring members from 1.

    Args:
        position: Positions, shape (N,), ascending.
        member: Whether a base is a member, shape (N,).

    Returns:
        Number of the run of each base, shape (N,); 0 for bases in none.
    """
    joined = member[1:] & member[:-1] & (np.diff(position) == 1)
    starts = member.copy()
    starts[1:] &= ~joined
    return np.where(member, np.cumsum(starts), 0)
