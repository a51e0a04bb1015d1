"""The trees of a fitted scikit-learn GradientBoostingClassifier as plain arrays.

They are saved with safetensors and evaluated without scikit-learn, and no pickle is read. Only
public names are used; HistGradientBoostingClassifier, which is faster, has none for its trees
(https://github.com/scikit-learn/scikit-learn/issues/29731).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALWAYS_LEFT = float(np.finfo(np.float32).max)
"""Threshold that no feature exceeds."""


class PerfectTrees(NamedTuple):
    """Trees of one depth, all of whose leaves are at that depth.

    Node i has the children 2 i + 1 and 2 i + 2. A base goes to the second where its feature exceeds
    the threshold. A leaf that is higher up in the original has its value in all leaves below it.
    """

    feature: NDArray[np.int64]
    """Feature that each node compares, shape (trees, 2**depth - 1)."""
    threshold: NDArray[np.float32]
    """Threshold of each node, of the same shape."""
    value: NDArray[np.float32]
    """What each leaf adds, shape (trees, 2**depth)."""
    bias: float
    """Sum before the first tree."""


def perfect_trees(boosting: Any, depth: int) -> PerfectTrees:
    """Read the trees of a classifier of two classes.

    Args:
        boosting: A fitted GradientBoostingClassifier with the default loss and start.
        depth: Its largest depth.

    Returns:
        Trees that give the same sums for features of float32.
    """
    trees = [regressor.tree_ for regressor in boosting.estimators_[:, 0]]
    feature = np.zeros((len(trees), 2**depth - 1), np.int64)
    threshold = np.full(feature.shape, ALWAYS_LEFT, np.float32)
    value = np.zeros((len(trees), 2**depth), np.float32)
    for number, tree in enumerate(trees):
        level = [0]  # nodes of the original, the same again below a leaf
        for first in (2**height - 1 for height in range(depth)):
            below = []
            for place, node in enumerate(level, first):
                left, right = int(tree.children_left[node]), int(tree.children_right[node])
                if left < 0:
                    left = right = node
                else:
                    feature[number, place] = tree.feature[node]
                    threshold[number, place] = _rounded_down(float(tree.threshold[node]))
                below += [left, right]
            level = below
        value[number] = boosting.learning_rate * tree.value[level, 0, 0]
    negative, positive = boosting.init_.class_prior_
    return PerfectTrees(feature, threshold, value, math.log(positive / negative))


def _rounded_down(threshold: float) -> np.float32:
    """Return the largest float32 that is not above a threshold: the same float32s exceed it."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
