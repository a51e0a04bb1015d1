"""The trees of a fitted HistGradientBoostingClassifier as plain arrays.

scikit-learn 1.9 has no public name for them: its developers left them private when they added the
class (https://github.com/scikit-learn/scikit-learn/pull/12807), and their form is asked for in
https://github.com/scikit-learn/scikit-learn/issues/29731. Nothing else in the package uses a
private name of scikit-learn.
"""

from __future__ import annotations

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
    """Value of each leaf, shape (trees, 2**depth)."""
    bias: float
    """Sum before the first tree."""


def perfect_trees(classifier: Any, depth: int) -> PerfectTrees:
    """Read the trees of a classifier of two classes without categories or missing values.

    Args:
        classifier: A fitted HistGradientBoostingClassifier.
        depth: Its largest depth.

    Returns:
        Trees that give the same sums for features of float32.
    """
    trees = [tree.nodes for (tree,) in classifier._predictors]
    feature = np.zeros((len(trees), 2**depth - 1), np.int64)
    threshold = np.full(feature.shape, ALWAYS_LEFT, np.float32)
    value = np.zeros((len(trees), 2**depth), np.float32)
    for number, nodes in enumerate(trees):
        # Place in the perfect tree, and node of the original, which may be a leaf.
        level = [(0, 0)]
        for _ in range(depth):
            below = []
            for place, node in level:
                record = nodes[node]
                if record["is_leaf"]:
                    children = node, node
                else:
                    feature[number, place] = record["feature_idx"]
                    threshold[number, place] = _rounded_down(float(record["num_threshold"]))
                    children = int(record["left"]), int(record["right"])
                below += [(2 * place + 1, children[0]), (2 * place + 2, children[1])]
            level = below
        value[number] = [nodes["value"][node] for _, node in level]
    return PerfectTrees(feature, threshold, value, float(classifier._baseline_prediction.item()))


def _rounded_down(threshold: float) -> np.float32:
    """Return the largest float32 that is not above a threshold: the same float32s exceed it."""
    rounded = np.float32(min(threshold, ALWAYS_LEFT))
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
