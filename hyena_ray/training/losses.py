"""Losses on logits of bases, or of sequences as windows of one label.

A target is a label, or a probability of class 1 between two labels. The loss of a probability is
the sum over both classes of probability x class weight x loss, and its weight that of probability x
class weight, which is between those of the labels. `IGNORED` in place of either does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.training.settings import TrainingSettings


class WeightedLoss(NamedTuple):
    """A weighted sum of losses and the sum of their weights, so that batches add up exactly."""

    total: Tensor
    """Weighted sum, a scalar."""
    weight: Tensor
    """Sum of the weights, a scalar."""

    @property
    def mean(self) -> Tensor:
        """Weighted mean, a scalar; NaN where no base counts."""
        return self.total / self.weight


LabelLoss = Callable[[Tensor, Tensor, Tensor], WeightedLoss]
"""From logits (B, W, C), targets (B, W) and class weights (C,) to a loss."""


def class_weights(recipe: TrainingSettings) -> Tensor:
    """Return the weights of class 0 and 1 in the loss, shape (2,), float32.

    Args:
        recipe: Settings that have them.
    """
    return torch.tensor([recipe.negative_weight, recipe.positive_weight])


def training_loss(recipe: TrainingSettings) -> LabelLoss:
    """Return the loss that a run is trained with.

    Args:
        recipe: Settings that choose it.
    """
    if recipe.loss == "focal":
        return partial(focal_loss, gamma=recipe.focal_gamma)
    return weighted_cross_entropy


def weighted_cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor) -> WeightedLoss:
    """Return the class-weighted cross-entropy over bases.

    Args:
        logits: Shape (B, W, C), any float type.
        targets: Labels, shape (B, W), integer; or probabilities of class 1 of two, float32.
            `IGNORED` where a base does not count.
        class_weights: Shape (C,), float32.

    Reference: Bokhyan 2025, Algorithm 1.

    Example:
        >>> logits, labels = torch.zeros(1, 3, 2), torch.tensor([[0, 1, IGNORED]])
        >>> loss = weighted_cross_entropy(logits, labels, torch.tensor([1.0, 3.0]))
        >>> round(float(loss.total), 4), float(loss.weight), round(float(loss.mean), 4)
        (2.7726, 4.0, 0.6931)
    """
    soft = targets.is_floating_point()
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        class_shares(targets) if soft else targets.flatten().long(),
        weight=class_weights,
        ignore_index=IGNORED,  # of labels; probabilities have no share of any class there
        reduction="sum",
    )
    return WeightedLoss(total, total_weight(targets, class_weights))


def focal_loss(
    logits: Tensor, targets: Tensor, class_weights: Tensor, gamma: float
) -> WeightedLoss:
    """Return the cross-entropy of every base times (1 - p)^gamma, p the probability of its class.

    Args:
        logits: Shape (B, W, C), any float type.
        targets: Labels, shape (B, W), integer; or probabilities of class 1 of two, float32.
            `IGNORED` where a base does not count.
        class_weights: Shape (C,), float32.
        gamma: At least 0; 0 is `weighted_cross_entropy`.

    Reference: Lin et al. 2017, equation 5.
    """
    log_p = logits.flatten(0, 1).float().log_softmax(-1)
    if targets.is_floating_point():
        # The probability of not being of a class is that of the other one.
        losses = -log_p * torch.exp(gamma * log_p.flip(-1)) * class_weights
        total = (losses * class_shares(targets)).sum()
        return WeightedLoss(total, total_weight(targets, class_weights))
    target = targets.flatten().long()
    counted = target != IGNORED
    target = target.clamp_min(0)
    is_target = F.one_hot(target, log_p.shape[-1]).bool()
    # log(1 - p) from the other classes: 1 - p itself is 0 where p is near 1, and its powers below 1
    # have no gradient there.
    log_rest = log_p.masked_fill(is_target, -torch.inf).logsumexp(-1)
    # Gathered, because the host would have to wait for the size of log_p[is_target].
    target_log_p = log_p.gather(1, target[:, None])[:, 0]
    losses = -target_log_p * torch.exp(gamma * log_rest) * class_weights[target]
    return WeightedLoss((losses * counted).sum(), total_weight(targets, class_weights))


def class_shares(targets: Tensor) -> Tensor:
    """Return the probabilities of class 0 and 1.

    Args:
        targets: Probabilities of class 1, any shape, float32; `IGNORED` where a base does not
            count.

    Returns:
        Shape (n, 2); both are 0 where a base does not count.
    """
    flat = targets.flatten()
    return torch.stack((1 - flat, flat), -1) * (flat != IGNORED)[:, None]


def total_weight(targets: Tensor, class_weights: Tensor) -> Tensor:
    """Sum the class weights of all targets that count; a mean loss is divided by it.

    Args:
        targets: Labels, any shape, integer; or probabilities of class 1 of two, float32. `IGNORED`
            where a base does not count.
        class_weights: Shape (C,), float32.

    Returns:
        A scalar.
    """
    if targets.is_floating_point():
        return (class_shares(targets) * class_weights).sum()
    target = targets.flatten().long()
    return (class_weights[target.clamp_min(0)] * (target != IGNORED)).sum()
