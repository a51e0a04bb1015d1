"""Soft targets are those of their definition, on either strand, and hard ones stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.model.window import reverse_complement
from hyena_ray.training.loaders import HOST, ArraySource
from hyena_ray.training.losses import class_weights, training_loss
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.soft_targets import soften_edges, training_targets
from hyena_ray.training.supervised import step_batches

WINDOW, FLANK = 30, 10
ROWS = st.lists(st.sampled_from([0, 0, 0, 1, 1, 1, IGNORED]), min_size=1, max_size=40)


def by_hand(labels: list[int], bases: int) -> list[float]:
    """Return the targets of one window, base by base and edge by edge."""
    edges = [
        at + 0.5  # between the centres of two bases
        for at in range(len(labels) - 1)
        if {labels[at], labels[at + 1]} == {0, 1}
    ]
    targets = []
    for at, label in enumerate(labels):
        distance = min((abs(at - edge) for edge in edges), default=np.inf)
        signed = distance if label == 1 else -distance
        soft = min(1.0, max(0.0, 0.5 + signed / (2 * bases)))
        targets.append(float(IGNORED) if label == IGNORED else soft)
    return targets


@given(ROWS, st.integers(1, 12))
def test_targets_are_those_of_the_definition(labels: list[int], bases: int) -> None:
    found = soften_edges(torch.tensor([labels, labels], dtype=torch.int8), bases)
    assert found.dtype == torch.float32
    for row in found.tolist():
        assert row == pytest.approx(by_hand(labels, bases), abs=1e-6)


@given(ROWS, st.integers(1, 12))
def test_the_other_strand_has_the_same_targets_to_the_bit(labels: list[int], bases: int) -> None:
    given_strand = torch.tensor([labels])
    turned = soften_edges(given_strand.flip(1), bases).flip(1)
    assert torch.equal(turned, soften_edges(given_strand, bases))


@given(ROWS, st.integers(1, 12))
def test_a_target_is_on_the_side_of_its_label(labels: list[int], bases: int) -> None:
    (row,) = soften_edges(torch.tensor([labels]), bases).tolist()
    for label, target in zip(labels, row, strict=True):
        assert (target > 0.5) == (label == 1)
        assert target == IGNORED or 0 <= target <= 1


@pytest.mark.parametrize("label", [0, 1])
def test_the_ends_of_a_window_and_what_does_not_count_are_no_edges(label: int) -> None:
    labels = torch.full((1, 12), label)
    labels[0, 3:5] = IGNORED
    labels[0, :3] = 1 - label
    assert torch.equal(soften_edges(labels, 4), labels.float())


def source(probabilities: bool = False) -> ArraySource:
    numbers = np.random.default_rng(0)
    tokens = numbers.integers(7, 11, (21, WINDOW + 2 * FLANK), np.uint8)
    labels = np.repeat(numbers.integers(0, 2, (21, WINDOW // 5)), 5, axis=1).astype(np.int8)
    labels[::4, :3] = IGNORED
    ids = np.arange(21)
    kinds = np.ones(21, np.uint8)
    made = ArraySource(Windows(ids, np.full(21, "c"), ids * WINDOW, tokens, labels, kinds))
    if not probabilities:
        return made
    return made.taught(numbers.random((21, WINDOW), np.float32))


@pytest.mark.parametrize("changes", [{}, {"soft_edges": 0}])
def test_without_a_use_for_them_targets_are_the_labels_themselves(changes: dict[str, Any]) -> None:
    (batch,) = source().batches(99, epoch=None, seed=0)
    targets = training_targets(batch, TrainingSettings(**changes), HOST)
    assert targets.dtype == torch.int8
    assert torch.equal(targets, batch.labels())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("soft_edges", [0, 3])
def test_a_teacher_has_its_share_of_every_target_that_counts(share: float, soft_edges: int) -> None:
    recipe = TrainingSettings(teacher_share=share, soft_edges=soft_edges)
    (batch,) = source(probabilities=True).batches(99, epoch=None, seed=0)
    taught = batch.teacher()
    assert taught is not None
    found = training_targets(batch, recipe, HOST).tolist()
    for row, labels in enumerate(batch.labels().tolist()):
        own = by_hand(labels, soft_edges) if soft_edges else labels
        for at, label in enumerate(labels):
            mixed = share * float(taught[row, at]) + (1 - share) * own[at]
            assert found[row][at] == pytest.approx(IGNORED if label == IGNORED else mixed, abs=1e-6)


def test_a_share_without_a_teacher_is_no_silent_training_on_labels() -> None:
    (batch,) = source().batches(99, epoch=None, seed=0)
    with pytest.raises(RuntimeError, match="no teacher"):
        training_targets(batch, TrainingSettings(teacher_share=0.5), HOST)


def test_targets_stay_on_their_bases_through_strands_and_crops() -> None:
    """Whatever is drawn, a step's targets are those of a stretch of one of the windows."""
    recipe = TrainingSettings(soft_edges=2, teacher_share=0.5, shortest_crop=20, batch_size=4)
    made = source(probabilities=True)
    (whole,) = made.batches(99, epoch=None, seed=0)
    known = {}
    tokens, targets = whole.tokens(), training_targets(whole, recipe, HOST)
    both = [(tokens, targets), (reverse_complement(tokens), targets.flip(1))]
    for strand, values in both:
        for row in range(len(strand)):
            for at in range(WINDOW):
                # A base is recognised by what is around it.
                around = tuple(strand[row, at : at + 2 * FLANK + 1].tolist())
                known[around] = float(values[row, at])
    seen = 0
    for epoch in range(3):
        for batch in step_batches(made, recipe, epoch, HOST):
            for row, values in enumerate(batch.targets.tolist()):
                for at, value in enumerate(values):
                    around = tuple(batch.inputs[row, at : at + 2 * FLANK + 1].tolist())
                    assert known[around] == value
                    seen += 1
    assert seen > 1000


@pytest.mark.parametrize("changes", [{}, {"loss": "focal"}, {"loss": "focal", "focal_gamma": 0.5}])
def test_a_soft_loss_is_the_sum_over_classes_of_target_weight_and_loss(
    changes: dict[str, Any],
) -> None:
    recipe = TrainingSettings(**changes)
    loss, weights = training_loss(recipe), class_weights(recipe)
    gamma = recipe.focal_gamma if recipe.loss == "focal" else 0.0
    logits = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.rand(3, 8, generator=torch.Generator().manual_seed(1))
    targets[:, 2] = IGNORED
    total, weight = torch.zeros(()), 0.0
    for row in range(3):
        for at in (0, 1, 3, 4, 5, 6, 7):
            p = logits[row, at].softmax(-1)
            for label, part in enumerate((1 - float(targets[row, at]), float(targets[row, at]))):
                one = -((1 - p[label]) ** gamma) * p[label].log()
                total = total + part * weights[label] * one
                weight += part * float(weights[label])
    found = loss(logits, targets, weights)
    torch.testing.assert_close(found.total, total)
    assert float(found.weight) == pytest.approx(weight, rel=1e-6)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (found.total, total)]
    torch.testing.assert_close(*gradients)
    assert (gradients[0][:, 2] == 0).all()


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_soft_target_of_0_or_1_has_the_loss_of_its_label(name: str) -> None:
    recipe = TrainingSettings.parse({"loss": name}, "test")
    loss, weights = training_loss(recipe), class_weights(recipe)
    logits = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, IGNORED, 1, 0, 0, 1, IGNORED]] * 3)
    hard, soft = loss(logits, labels, weights), loss(logits, labels.float(), weights)
    torch.testing.assert_close(soft.total, hard.total)
    torch.testing.assert_close(soft.weight, hard.weight)


def test_labels_have_the_loss_that_they_had_before_targets_could_be_soft() -> None:
    """To the bit: a run with hard labels is that of earlier commits."""
    weights = class_weights(TrainingSettings())
    logits = torch.randn(7, 33, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 2, (7, 33), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    labels[:, ::5] = IGNORED
    flat = labels.flatten().long()
    found = training_loss(TrainingSettings())(logits, labels, weights)
    expected = F.cross_entropy(
        logits.flatten(0, 1), flat, weight=weights, ignore_index=IGNORED, reduction="sum"
    )
    assert torch.equal(found.total, expected)
    assert torch.equal(found.weight, (weights[flat.clamp_min(0)] * (flat != IGNORED)).sum())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_soft_losses_of_what_is_certain_have_finite_gradients(gamma: float) -> None:
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0], [0.0, 0.0]]]).requires_grad_()
    recipe = TrainingSettings(loss="focal", focal_gamma=gamma)
    targets = torch.tensor([[0.0, 0.25, float(IGNORED)]])
    found = training_loss(recipe)(logits, targets, class_weights(recipe))
    (gradient,) = torch.autograd.grad(found.total, logits)
    assert torch.isfinite(found.total)
    assert torch.isfinite(gradient).all()
