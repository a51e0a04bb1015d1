"""Losses on logits of bases, or of sequences as windows of one label."""

from __future__ import annotations

from typing import NamedTuple

import torch
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
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten().long(),
        weight=class_weights,
        ignore_index=IGNORED,
        reduction="sum",
    )
    return WeightedLoss(total, total_weight(labels, class_weights))


def focal_loss(logits: Tensor, labels: Tensor, class_weights: Tensor, gamma: float) -> WeightedLoss:
    """The cross-entropy of each base times (1 - p)^gamma, p the probability of its class.

    Args:
        logits: (B, W, C) float.
        labels: (B, W) integer, `IGNORED` where a base does not count.
        class_weights: (C,) float32.
        gamma: at least 0; 0 is `weighted_cross_entropy`.

    Source: Lin et al. 2017, equation 5.
    """
    target = labels.flatten().long()
    counted = target != IGNORED
    target = target.clamp_min(0)
    log_p = logits.flatten(0, 1).float().log_softmax(-1)
    of_class = F.one_hot(target, log_p.shape[-1]).bool()
    # log(1 - p) from the other classes: 1 - p itself is 0 where p is near 1, and its powers below 1
    # have no gradient there.
    log_rest = log_p.masked_fill(of_class, -torch.inf).logsumexp(-1)
    each = -log_p[of_class] * torch.exp(gamma * log_rest) * class_weights[target]
    return WeightedLoss((each * counted).sum(), total_weight(labels, class_weights))


def total_weight(labels: Tensor, class_weights: Tensor) -> Tensor:
    """Scalar: the class weights of all labels that count, which a mean loss is divided by."""
    target = labels.flatten().long()
    return (class_weights[target.clamp_min(0)] * (target != IGNORED)).sum()
