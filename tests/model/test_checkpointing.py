"""Recomputing activations changes the memory that a step takes, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hyena_ray.model.backbone import HyenaBlock
from hyena_ray.model.baselines import BASELINES, Baseline
from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.lora import apply_lora
from hyena_ray.model.settings import LoraSettings


def gradients(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(5)  # of dropout
    model(ids).logits.square().sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "kind",
    [
        HyenaDNAForCausalLM,
        HyenaDNAForTokenClassification,
        HyenaDNAForSequenceClassification,
    ],
)
@pytest.mark.parametrize("adapters", [False, True])
def test_gradients_are_the_same_with_and_without(
    adapters: bool, kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = kind(HyenaDNAConfig(**config.to_diff_dict() | {"hyena_dropout": 0.3})).train()
    if adapters and kind is not HyenaDNAForCausalLM:
        apply_lora(model, LoraSettings(rank=2))
    other = copy.deepcopy(model)
    other.activation_checkpointing_enable()
    expected, found = gradients(model, ids), gradients(other, ids)
    assert found.keys() == expected.keys() != set()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-6, atol=1e-6), name


def test_every_block_is_computed_twice_and_in_training_alone(
    config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForTokenClassification(config).train()
    calls = []
    for block in model.modules():
        if isinstance(block, HyenaBlock):
            block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(model, ids)
    assert len(calls) == config.n_layer
    calls.clear()
    model.activation_checkpointing_enable()
    gradients(model, ids)
    assert len(calls) == 2 * config.n_layer
    calls.clear()
    gradients(model.eval(), ids)
    assert len(calls) == config.n_layer


def test_a_frozen_backbone_stays_out_of_the_backward_pass(
    config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForTokenClassification(config).train()
    model.activation_checkpointing_enable()
    model.hyena.requires_grad_(False)
    assert not model.hyena(ids).last_hidden_state.requires_grad
    assert set(gradients(model, ids)) == {"score.weight"}


@pytest.mark.parametrize("baseline", BASELINES)
def test_baselines_do_not_support_it(baseline: type[Baseline]) -> None:
    with pytest.raises(ValueError, match="does not support"):
        baseline(baseline.config_class()).activation_checkpointing_enable()
