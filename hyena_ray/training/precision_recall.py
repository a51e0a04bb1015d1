"""The curve of precision and recall, with intervals, and the threshold that reaches a precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.bootstrap import Interval, Scored, draw_blocks, intervals_of
from hyena_ray.training.metrics import ratio

POINTS = 200
"""Most points of a curve: more than a figure can show apart."""


class PrecisionRecall(NamedTuple):
    """Points of the curve from the highest threshold, where little is called, to the lowest."""

    threshold: tuple[float, ...]
    """At most `POINTS` thresholds, falling; a score of at least that much is called."""
    precision: tuple[float, ...]
    """Precision at each threshold."""
    recall: tuple[float, ...]
    """Recall at each threshold, rising."""
    precision_intervals: tuple[Interval, ...]
    """95 % intervals of the precision, from draws of blocks of neighbours."""
    recall_intervals: tuple[Interval, ...]
    """95 % intervals of the recall."""

    def reaching(self, precision: float) -> int | None:
        """Return the point with the highest recall of those with at least this precision.

        Args:
            precision: Precision to reach, 0 to 1.

        Returns:
            Number of the point; None where no point has this precision.
        """
        reached = np.flatnonzero(np.array(self.precision) >= precision)
        if not len(reached):
            return None
        # A higher threshold with the same recall calls less that is false.
        return int(np.searchsorted(self.recall, self.recall[reached[-1]]))

    @property
    def surest(self) -> int:
        """Number of the point with the highest precision, of several that with most recall."""
        return len(self.precision) - 1 - int(np.argmax(self.precision[::-1]))


def precision_recall(scored: Scored, *, seed: int) -> PrecisionRecall:
    """Return the curve at distinct scores that are spread evenly over recall.

    Args:
        scored: Labels, scores and weights by block, at least one label of class 1.
        seed: Seed of the draws of the intervals.

    Example:
        >>> labels, scores = np.array([0, 1, 1]), np.array([0.5, 0.25, 0.75])
        >>> scored = Scored(labels, scores, scores > 0.5, np.zeros(3, int), np.ones(3))
        >>> curve = precision_recall(scored, seed=0)
        >>> curve.threshold, curve.recall, curve.reaching(0.6), curve.reaching(0.9)
        ((0.75, 0.25), (0.5, 1.0), 1, 0)
    """
    from sklearn.metrics import precision_recall_curve

    # Theirs end with a point that has no threshold, and begin with the lowest threshold.
    precision, recall, thresholds = precision_recall_curve(
        scored.labels, scored.scores, sample_weight=scored.weight
    )
    precision, recall, thresholds = precision[-2::-1], recall[-2::-1], thresholds[::-1]
    # Where recall moves on, and both ends.
    last = len(thresholds) - 1
    steps = np.searchsorted(recall, np.linspace(0, 1, POINTS - 1))
    kept = np.unique(np.append(np.minimum(steps, last), last))
    of_precision, of_recall = _intervals(scored, thresholds[kept], seed)
    return PrecisionRecall(
        threshold=tuple(map(float, thresholds[kept])),
        precision=tuple(map(float, precision[kept])),
        recall=tuple(map(float, recall[kept])),
        precision_intervals=of_precision,
        recall_intervals=of_recall,
    )


def _intervals(
    scored: Scored, thresholds: NDArray[np.float64], seed: int
) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Return the intervals of precision and recall at falling thresholds, the last the lowest."""
    drawn = draw_blocks(scored, seed=seed)
    shape = len(thresholds), drawn.shape[1]
    # The highest threshold that a score reaches.
    level = np.searchsorted(-thresholds, -scored.scores)
    cell = level * shape[1] + scored.block
    # What is called from each threshold on, by block.
    called, true = (
        np.bincount(cell, weight, shape[0] * shape[1]).reshape(shape).cumsum(0)
        for weight in (scored.weight, scored.weight * (scored.labels == 1))
    )
    drawn_true = drawn @ true.T
    precision = ratio(drawn_true, drawn @ called.T)
    recall = drawn_true / drawn_true[:, -1:]
    return intervals_of(precision), intervals_of(recall)
