"""Calibrated probabilities: a bent line through the log-odds of a model (Kull et al. 2017).

Class weights and the sampling of training windows move a model's probabilities away from fractions
of a genome, and its highest ones come to lie on top of each other. A line through the log-odds,
fitted to held-out bases at the prevalence of the genome, puts that right. It has one slope where
the model says no and another where it says yes, since a model that has seen few hard negatives
grows surer and surer of tracts that are rarely labelled. Both rise, so that no order changes.

With three parameters it needs few labels. Isotonic regression, the alternative, needs about a
thousand independent labels to be as good (Niculescu-Mizil and Caruana 2005), and its steps give the
surest bases one and the same probability.

The line is drawn through log-odds in float32: a probability that was rounded to 1 has no order left
to keep.

Reference: Kull, Silva Filho and Flach, Beta calibration, AISTATS 2017.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.settings import Settings

FLATTEST, STEEPEST = 2.0**-6, 2.0**10
"""Least and largest slope. The least is that of scores that say nothing: all probabilities are then
near the prevalence, and still in their order."""
FARTHEST = 2.0**10
"""Largest offset in either direction: odds of 1 to e**1024."""
CELLS = 1 << 16
"""Cells of equal width, into which log-odds are sorted for a fit."""


class BetaCalibration(Settings):
    """Map from the log-odds of a model to calibrated probabilities.

    Example:
        >>> logits = torch.tensor([[0.0, 2.0], [0.0, -2.0]])
        >>> BetaCalibration().probability(logits)
        tensor([0.8808, 0.1192])
        >>> BetaCalibration(above=0.5, offset=-1.0).probability(logits)
        tensor([0.4841, 0.0446])
    """

    above: float = Field(default=1.0, ge=FLATTEST, le=STEEPEST)
    """Slope far above even odds."""
    below: float = Field(default=1.0, ge=FLATTEST, le=STEEPEST)
    """Slope far below even odds."""
    offset: float = Field(default=0.0, ge=-FARTHEST, le=FARTHEST)
    """Log-odds that are added: mostly what the prevalence in training differs from the genome's."""

    def probability(self, logits: Tensor) -> Tensor:
        """Return the probability of class 1, float32.

        Args:
            logits: Logits of two classes, shape (..., 2).

        Returns:
            Shape (...); NaN where the logits overflow.
        """
        return self.calibrated(log_odds(logits))

    def calibrated(self, odds: Tensor) -> Tensor:
        """Return the probabilities of log-odds, float32.

        Args:
            odds: Log-odds of class 1 as the model gives them, any shape.
        """
        return torch.sigmoid(self.line(odds))

    def line(self, odds: Tensor) -> Tensor:
        """Return calibrated log-odds, of which no order is lost to rounding.

        Args:
            odds: Log-odds of class 1 as the model gives them, any shape.
        """
        # The logarithms of 1 / (1 - p) and of p.
        above, below = F.softplus(odds), -F.softplus(-odds)
        return self.above * above + self.below * below + self.offset

    @classmethod
    def fit(
        cls,
        odds: NDArray[np.floating],
        labels: NDArray[np.integer],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit the line with the highest likelihood, with the targets of Platt (1999).

        The targets, (n + 1) / (n + 2) for n positives in place of 1 and 1 / (m + 2) for m negatives
        in place of 0, bound the line where the scores separate both classes.

        Args:
            odds: Log-odds of held-out bases or sequences, shape (N,), finite.
            labels: 0 or 1, shape (N,), at least one of each.
            weight: Number of bases of the genome that each one represents, shape (N,); None counts
                each once.

        Example:
            >>> odds, labels = np.array([-3.0, -1.0, 1.0, 3.0]), np.array([0, 1, 0, 1])
            >>> line = BetaCalibration.fit(odds, labels)
            >>> round(line.above, 2), round(line.below, 2), round(abs(line.offset), 2)
            (0.21, 0.21, 0.0)
        """
        from scipy.optimize import minimize
        from scipy.special import expit

        every = np.ones(len(odds)) if weight is None else weight.astype(np.float64)
        # Bases of a cell are one, at their mean: the error is of the order of its width squared.
        low, width = float(odds.min()), max(float(np.ptp(odds)) / CELLS, 1e-9)
        cell = ((odds.astype(np.float64) - low) / width).astype(np.int64)
        total, positive = np.bincount(cell, every), np.bincount(cell, every * (labels == 1))
        held = np.flatnonzero(total)
        total, positive = total[held], positive[held]
        mean = np.bincount(cell, every * odds)[held] / total
        ones, zeros = float(positive.sum()), float((total - positive).sum())
        target = positive * (ones + 1) / (ones + 2) + (total - positive) / (zeros + 2)
        sides = np.stack([np.logaddexp(0, mean), -np.logaddexp(0, -mean), np.ones(len(mean))])
        # In units of their size, so that all parameters matter alike to the search.
        unit = np.maximum(np.sqrt(np.average(sides**2, axis=1, weights=total)), 1e-6)
        sides /= unit[:, None]

        def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value = line @ sides
            # log(1 + exp(value)) - target * value, without overflow.
            nats = total @ np.logaddexp(0, value) - target @ value
            return nats / ones, sides @ (total * expit(value) - target) / ones

        slopes = [(FLATTEST * size, STEEPEST * size) for size in unit[:2]]
        found = minimize(
            loss,
            (*unit[:2], 0.0),
            jac=True,
            method="L-BFGS-B",
            bounds=(*slopes, (-FARTHEST, FARTHEST)),
            options={"ftol": 1e-13, "gtol": 1e-9, "maxiter": 1000},
        )
        above, below, offset = np.clip(
            found.x / unit,
            (FLATTEST, FLATTEST, -FARTHEST),
            (STEEPEST, STEEPEST, FARTHEST),
        ).tolist()
        return cls(above=above, below=below, offset=offset)


def log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds of class 1, float32.

    Args:
        logits: Logits of two classes, shape (..., 2).

    Returns:
        Shape (...); NaN where the logits overflow.
    """
    logits = logits.float()
    odds = logits[..., 1] - logits[..., 0]
    return torch.where(odds.isfinite(), odds, torch.nan)
