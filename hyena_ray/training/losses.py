"""Losses on per-base logits."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Label of a base that counts neither in the loss nor in the metrics."""


class WeightedLoss(NamedTuple):
    """A weighted sum and its weight, so that batches add up exactly."""

    total: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """Scalar; NaN where no base counts."""
        return self.total / self.weight


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor) -> WeightedLoss:
    """Class-weighted cross-entropy over bases.

    Args:
        logits: (B, W, C) float.
        labels: (B, W) integer, `IGNORED` where a base does not count.
        class_weights: (C,) float32.

    Source: Algorithm 1 of the study.
    """
    target = labels.flatten().long()
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        target,
        weight=class_weights,
        ignore_index=IGNORED,
        reduction="sum",
    )
    counted = target != IGNORED
    weight = (class_weights[target.clamp_min(0)] * counted).sum()
    return WeightedLoss(total, weight)
