"""The trees of a fitted XGBoost booster as plain arrays.

They are saved with safetensors and evaluated without XGBoost, whose own format is read in the
process that fits alone (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html).
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
    """What each leaf adds, shape (trees, 2**depth)."""


def perfect_trees(model: dict[str, Any], depth: int) -> PerfectTrees:
    """Read the trees of a booster of two classes.

    Args:
        model: The booster as XGBoost writes it in JSON.
        depth: Its largest depth.

    Returns:
        Trees that lead every base with features of float32 to the same leaves.
    """
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    feature = np.zeros((len(trees), 2**depth - 1), np.int64)
    threshold = np.full(feature.shape, ALWAYS_LEFT, np.float32)
    value = np.zeros((len(trees), 2**depth), np.float32)
    for number, tree in enumerate(trees):
        # Of a node, the number that its feature is held against; of a leaf, its value.
        conditions = np.array(tree["split_conditions"], np.float32)
        level = [0]  # nodes of the original, the same again below a leaf
        for first in (2**height - 1 for height in range(depth)):
            below = []
            for place, node in enumerate(level, first):
                left, right = tree["left_children"][node], tree["right_children"][node]
                if left < 0:
                    left = right = node
                else:
                    feature[number, place] = tree["split_indices"][node]
                    # A base that is not below the number goes right: it is above the next lower.
                    threshold[number, place] = np.nextafter(conditions[node], np.float32(-np.inf))
                below += [left, right]
            level = below
        value[number] = conditions[level]
    return PerfectTrees(feature, threshold, value)
