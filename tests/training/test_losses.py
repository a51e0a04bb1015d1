"""The loss is the weighted mean that its equation says."""

from __future__ import annotations

import pytest
import torch

from hyena_ray.training.losses import IGNORED, weighted_cross_entropy

WEIGHTS = torch.tensor([0.7, 2.0])


def test_the_loss_is_the_weighted_mean_over_counted_bases() -> None:
    logits = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, IGNORED, 0, 1]] * 3)
    total, weight = 0.0, 0.0
    for b in range(3):
        for i in (0, 1, 3, 4):
            label = int(labels[b, i])
            total -= float(WEIGHTS[label] * logits[b, i].log_softmax(-1)[label])
            weight += float(WEIGHTS[label])
    assert float(weighted_cross_entropy(logits, labels, WEIGHTS).mean) == pytest.approx(
        total / weight, rel=1e-5
    )


def test_losses_of_batches_add_up() -> None:
    logits = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[0, 1, 0, 0, 1, IGNORED]] * 4)
    whole = weighted_cross_entropy(logits, labels, WEIGHTS)
    parts = [
        weighted_cross_entropy(logits[i : i + 1], labels[i : i + 1], WEIGHTS) for i in range(4)
    ]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    torch.testing.assert_close(sum(part.weight for part in parts), whole.weight)
