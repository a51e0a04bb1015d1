"""Whether probabilities mean what they say: the reliability curve and the Brier score.

A scan of a genome lives at its surest bases, which are few: where one base in a thousand has a
label, bins of equal width put nearly everything into the lowest one. So the top percent of the
bases has a curve of its own, in bins of equal weight.

The Brier score is scikit-learn's. The curve is not, since `calibration_curve` has no weights, puts
a probability on an edge into the lower bin, and does not say how many labels a bin holds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.bootstrap import Interval, Scored, draw_blocks, interval_of
from hyena_ray.training.metrics import Numbers

BINS = 10
"""Bins of a reliability curve."""
TOP = 0.01
"""Fraction of the bases that is looked at more closely: those with the highest probabilities."""


class Reliability(NamedTuple):
    """A reliability curve: what was promised and what came true, in bins of probability."""

    predicted: tuple[float, ...]
    """Mean probability in each bin that holds any label, ascending."""
    observed: tuple[float, ...]
    """Fraction of class 1 in each bin."""
    intervals: tuple[Interval, ...]
    """95 % intervals of these fractions, from draws of blocks of neighbours."""
    labels: tuple[int, ...]
    """Number of labels in each bin that were scored, without weights."""


class Calibration(NamedTuple):
    """Whether probabilities are fractions of the genome."""

    brier: float
    """Mean squared difference of probability and label; 0 is best."""
    brier_of_prevalence: float
    """Brier score of the prevalence as the probability of every label: a yardstick."""
    curve: Reliability
    """All labels, in `BINS` bins of equal width. Bins of equal count would not do: where one label
    in twenty is 1, nine of ten would be at zero."""
    top: Reliability
    """The fraction `TOP` with the highest probabilities, in `BINS` bins of equal weight. Equal
    probabilities are in one bin, so there may be fewer."""


def measure_calibration(scored: Scored, *, seed: int, number: Numbers | None = None) -> Calibration:
    """Compare probabilities with what came true.

    Args:
        scored: Labels, probabilities and weights by block, at least one label of each class.
        seed: Seed of the draws of the intervals.
        number: Number of labels that each of these stands for, shape (N,); None counts each once.
    """
    from sklearn.metrics import brier_score_loss

    truth, weight = (scored.labels == 1).astype(np.float64), scored.weight
    prevalence = float(np.average(truth, weights=weight))
    drawn = draw_blocks(scored, seed=seed)
    # A bin holds its lower edge, the last bin both.
    widths = np.minimum((scored.scores.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    top = top_bins(scored.scores, weight)
    number = np.ones(len(truth)) if number is None else number
    return Calibration(
        brier=float(
            brier_score_loss(
                truth, scored.scores.astype(np.float64), sample_weight=weight, pos_label=1
            )
        ),
        brier_of_prevalence=prevalence * (1 - prevalence),
        curve=_reliability(scored, widths, drawn, number),
        top=_reliability(scored, top, drawn, number),
    )


def top_bins(scores: NDArray[np.floating], weight: Numbers) -> NDArray[np.int64]:
    """Sort the highest probabilities into bins of equal weight.

    Args:
        scores: Probabilities, shape (N,).
        weight: Number of bases that each one represents, shape (N,).

    Returns:
        Bin of each, ascending with the probability; -1 for those that are not among the fraction
        `TOP`, shape (N,).

    Example:
        >>> bins = top_bins(np.arange(1_000.0), np.ones(1_000))
        >>> bins[985:].tolist()
        [-1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    above = np.cumsum(weight[order]) - weight[order]
    # What is equal shares a bin: that of its first.
    first = np.flatnonzero(np.diff(sorted_scores, prepend=np.inf))
    shared = np.repeat(above[first], np.diff(first, append=len(order)))
    size = TOP * float(weight.sum()) / BINS
    bins = np.empty(len(order), np.int64)
    bins[order] = np.maximum(BINS - 1 - (shared / size).astype(np.int64), -1)
    return bins


def _reliability(
    scored: Scored, bins: NDArray[np.int64], drawn: Numbers, number: Numbers
) -> Reliability:
    """Return the curve of some bins; those of bin -1 are left out."""
    inside = np.flatnonzero(bins >= 0)
    own, weight = bins[inside], scored.weight[inside]
    truth = scored.labels[inside] == 1
    blocks = drawn.shape[1]
    cell = own * blocks + scored.block[inside]
    total, ones = (
        np.bincount(cell, values, BINS * blocks).reshape(BINS, blocks)
        for values in (weight, weight * truth)
    )
    count = np.bincount(own, number[inside], BINS)
    held = np.flatnonzero(count)
    whole = total.sum(1)[held]
    predicted = np.bincount(own, weight * scored.scores[inside], BINS)[held] / whole
    drawn_ones, drawn_total = drawn @ ones[held].T, drawn @ total[held].T
    return Reliability(
        predicted=tuple(map(float, predicted)),
        observed=tuple(map(float, ones.sum(1)[held] / whole)),
        # A bin of few labels is empty in some of the draws.
        intervals=tuple(
            interval_of(one[every > 0] / every[every > 0])
            for one, every in zip(drawn_ones.T, drawn_total.T, strict=True)
        ),
        labels=tuple(map(int, count[held])),
    )
