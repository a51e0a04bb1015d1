"""A baseline that reads Z-HUNT, which scores how readily DNA turns into Z-DNA.

Nothing in Z-HUNT itself is learnt from genomes; see `genome.untrained`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import init

from hyena_ray.genome.untrained import zhunt_reach, zhunt_scores
from hyena_ray.model.fitted_baseline import FittedBaseline, around


class ZHuntModel(FittedBaseline):
    """Probability of class 1 = sigmoid(weight * log(1 + Z-HUNT's score of the base) + bias).

    Weight and bias are fitted to the training bases. They change the order of no two bases, so that
    a threshold in probability is one in Z-HUNT's score.
    """

    score: nn.Linear

    def build(self, config: Any) -> None:
        super().build(config)
        self.score = nn.Linear(1, 1)
        self.apply(self.initialise_module)

    @torch.no_grad()
    def initialise_module(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.ones_(module.weight)
            init.constant_(module.bias, -6.0)  # probability 0.5 at a score of 400

    @property
    def reach(self) -> int:
        """Bases on each side of a base that its score depends on."""
        return zhunt_reach(tuple(self.config.dinucleotides))

    def choose(self, number: int) -> None:
        """Read windows of the lengths of one candidate.

        Args:
            number: Number of the candidate, from 0, among the configuration's `candidates`.
        """
        self.config.dinucleotides = list(self.config.candidates[number])

    def measure(self, codes: NDArray[np.uint8], bases: slice) -> NDArray[np.float32]:
        """Measure log(1 + Z-HUNT's score) of some bases.

        Args:
            codes: Base codes, shape (B, L).
            bases: Bases to measure; the others are their flanks.

        Returns:
            Shape (B, bases, 1).
        """
        shortest, longest = self.config.dinucleotides
        near, inner = around(codes, bases, zhunt_reach((shortest, longest)))
        return np.log1p(zhunt_scores(near, (shortest, longest))[:, inner, None])

    def fit_score(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int8],
        weights: NDArray[np.float32],
        seed: int,
    ) -> None:
        """Fit weight and bias by logistic regression.

        Args:
            features: Features of the training bases, shape (n, 1).
            labels: Their classes, 0 or 1, shape (n,).
            weights: Weight of each base in the loss, shape (n,).
            seed: Not used: the solution is unique.
        """
        from sklearn.linear_model import LogisticRegression

        regression = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=100)
        regression.fit(features, labels, sample_weight=weights)
        with torch.no_grad():
            self.score.weight.copy_(torch.from_numpy(regression.coef_))
            self.score.bias.copy_(torch.from_numpy(regression.intercept_))
