"""Boosted trees on a few features of each base, fitted by XGBoost and evaluated in torch.

They are the baseline that decides: with nothing but Z-HUNT and composition, or runs of G, they are
level with networks that learn from the letters (RESULTS.md).
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hyena_ray.errors import InputError, unknown_name
from hyena_ray.model.fitted_baseline import SIGNAL_RADII, FittedBaseline
from hyena_ray.model.heads import check_track_names
from hyena_ray.model.perfect_trees import ALWAYS_LEFT, PerfectTrees, perfect_trees
from hyena_ray.model.settings import TREES_MEASURE
from hyena_ray.model.tree_features import FEATURE_SETS, FeatureSet

ROWS = {"cpu": 512, "cuda": 1 << 16}
"""Rows of features that go through all trees at once."""


class TreeEnsemble(nn.Module):
    """A bias and the sum of one leaf of each tree; see `PerfectTrees`. At first all are 0.

    Args:
        trees: Number of trees.
        depth: Comparisons from the root of a tree to its leaf.
    """

    feature: Tensor
    threshold: Tensor

    def __init__(self, trees: int, depth: int) -> None:
        super().__init__()
        nodes = 2**depth - 1
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.full((trees, nodes), ALWAYS_LEFT))
        self.value = nn.Parameter(torch.zeros(trees, nodes + 1))
        self.bias = nn.Parameter(torch.zeros(1))
        self.depth = depth

    @torch.no_grad()
    def fill(self, trees: PerfectTrees, bias: float) -> None:
        """Take over fitted trees.

        Args:
            trees: As many trees as this has, of the same depth.
            bias: Sum before the first tree.
        """
        for own, given in (
            (self.feature, trees.feature),
            (self.threshold, trees.threshold),
            (self.value, trees.value),
        ):
            own.copy_(torch.from_numpy(given))
        self.bias.fill_(bias)

    def forward(self, features: Tensor) -> Tensor:
        """Add up the leaves that features lead to.

        Args:
            features: Shape (..., F), float32.

        Returns:
            Sums, shape (..., 1).
        """
        rows = features.flatten(0, -2)
        # What is computed of few rows stays in the caches of a CPU, which is 2.7 times as fast.
        sums = torch.cat([self._sums(part) for part in rows.split(ROWS[rows.device.type])])
        return sums.view(*features.shape[:-1], 1)

    def _sums(self, rows: Tensor) -> Tensor:
        trees, nodes = self.feature.shape
        compared, limit, value = self.feature.view(-1), self.threshold.view(-1), self.value.view(-1)
        tree = torch.arange(trees, device=rows.device)
        place = torch.zeros(len(rows), trees, dtype=torch.int64, device=rows.device)
        for level in range(self.depth):
            node = place + (tree * nodes + 2**level - 1)
            above = rows.gather(1, compared[node]) > limit[node]
            place = 2 * place + above
        return value[place + tree * (nodes + 1)].sum(1) + self.bias


class BoostedTrees(FittedBaseline):
    """Probability of class 1 = sigmoid(bias + sum over trees of a leaf's value).

    Trees are fitted to the features of a task and to tracks, one after the other, each to what the
    ones before it leave.
    """

    score: TreeEnsemble

    def build(self, config: Any) -> None:
        super().build(config)
        if config.features not in FEATURE_SETS:
            raise unknown_name("config: features", config.features, "set of features", FEATURE_SETS)
        check_track_names(config.tracks)
        if measured := [name for name in config.tracks if name in TREES_MEASURE]:
            problem = "trees have features of their own in its place"
            raise InputError("config: tracks", ",".join(measured), problem, "drop it")
        self.score = TreeEnsemble(config.trees, config.depth)

    @property
    def features(self) -> FeatureSet:
        """Features that the trees read."""
        return FEATURE_SETS[self.config.features]

    @property
    def reach(self) -> int:
        """Bases on each side of a base that its features depend on."""
        reach = self.features.reach
        return max(reach, *SIGNAL_RADII) if self.config.tracks else reach

    def choose(self, number: int) -> None:
        """Do nothing: there is one candidate.

        Args:
            number: 0.
        """

    def measure(self, codes: NDArray[np.uint8], bases: slice) -> NDArray[np.float32]:
        """Measure the features of some bases.

        Args:
            codes: Base codes, shape (B, L).
            bases: Bases to measure; the others are their flanks.

        Returns:
            Shape (B, bases, F).
        """
        return self.features.measure(codes, bases)

    def fit_score(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int8],
        weights: NDArray[np.float32],
        seed: int,
    ) -> None:
        """Fit the trees.

        Args:
            features: Features of the training bases, shape (n, F).
            labels: Their classes, 0 or 1, shape (n,).
            weights: Weight of each base in the loss, shape (n,).
            seed: Seed of the bases and features that are drawn.
        """
        import xgboost

        config = self.config
        of_regions = float(weights[labels == 1].sum(dtype=np.float64))
        prior = of_regions / float(weights.sum(dtype=np.float64))
        booster = xgboost.train(
            {
                "objective": "binary:logistic",
                "base_score": prior,
                "tree_method": "hist",
                "max_depth": config.depth,
                "learning_rate": config.shrinkage,
                "subsample": config.fraction,
                "colsample_bynode": config.feature_fraction,
                "min_child_weight": config.smallest_leaf,
                # Sums over bases, and so the trees, depend on how many threads share them.
                "nthread": torch.get_num_threads(),
                "seed": seed,
            },
            xgboost.QuantileDMatrix(features, labels, weight=weights),
            config.trees,
        )
        trees = perfect_trees(json.loads(booster.save_raw("json")), config.depth)
        self.score.fill(trees, math.log(prior / (1 - prior)))
