"""Counts of right and wrong calls, and the rates that follow from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
