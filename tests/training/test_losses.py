"""The losses are the weighted means that their equations say."""

from __future__ import annotations

import pytest
import torch

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.training.losses import focal_loss, total_weight, weighted_cross_entropy

WEIGHTS = torch.tensor([0.7, 2.0])


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_the_weighted_mean_over_counted_bases() -> None:
    logits = random_logits(3, 5, 2)
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
    logits = random_logits(4, 6, 2, seed=1)
    labels = torch.tensor([[0, 1, 0, 0, 1, IGNORED]] * 4)
    whole = weighted_cross_entropy(logits, labels, WEIGHTS)
    parts = [
        weighted_cross_entropy(logits[i : i + 1], labels[i : i + 1], WEIGHTS) for i in range(4)
    ]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)
    torch.testing.assert_close(sum(part.weight for part in parts), whole.weight)


def test_the_weight_is_that_of_the_labels_that_count() -> None:
    labels = torch.tensor([[0, 1, IGNORED], [IGNORED, 0, 0]], dtype=torch.int8)
    assert float(total_weight(labels, WEIGHTS)) == pytest.approx(3 * 0.7 + 2.0)


def test_focal_loss_without_focus_is_the_cross_entropy() -> None:
    labels = torch.tensor([[0, 2, IGNORED, 1, 1]] * 3)
    logits, weights = random_logits(3, 5, 3).requires_grad_(), torch.tensor([0.7, 2.0, 5.0])
    focal = focal_loss(logits, labels, weights, 0.0)
    plain = weighted_cross_entropy(logits, labels, weights)
    torch.testing.assert_close(focal.mean, plain.mean)
    gradients = [torch.autograd.grad(loss.mean, logits)[0] for loss in (focal, plain)]
    torch.testing.assert_close(*gradients)


def test_focal_loss_is_the_papers_equation() -> None:
    logits, gamma = random_logits(2, 4, 2), 1.7
    labels = torch.tensor([[0, 1, IGNORED, 1]] * 2)
    total = 0.0
    for b in range(2):
        for i in (0, 1, 3):
            label = int(labels[b, i])
            p = float(logits[b, i].softmax(-1)[label])
            total -= float(WEIGHTS[label]) * (1 - p) ** gamma * float(torch.tensor(p).log())
    assert float(focal_loss(logits, labels, WEIGHTS, gamma).total) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]]]).requires_grad_()
    loss = focal_loss(logits, torch.tensor([[0, 0, IGNORED]]), WEIGHTS, gamma)
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert torch.isfinite(loss.total)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 1].abs().min() > 0  # what is certain and wrong is still learnt from
    assert gradient[0, 2].tolist() == [0, 0]
