"""Recomputing activations changes the memory that a step takes, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.model.backbone import HyenaBlock
from hyena_ray.model.baseline_models import BASELINES
from hyena_ray.model.classifier import HyenaDNAClassifier
from hyena_ray.model.configuration import CONFIG_CLASSES
from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.lora import apply_lora
from hyena_ray.model.settings import LoraSettings
from tests.model.hub_classes import hub_class


def enable(model: nn.Module) -> None:
    if isinstance(model, PreTrainedModel):
        model.activation_checkpointing_enable()
    else:
        model.checkpoint_activations()


def gradients(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(5)  # of dropout
    model(ids).logits.square().sum().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "kind",
    [
        HyenaDNAClassifier,
        HyenaDNAForCausalLM,
        HyenaDNAForTokenClassification,
        HyenaDNAForSequenceClassification,
    ],
)
@pytest.mark.parametrize("adapters", [False, True])
def test_gradients_are_the_same_with_and_without(
    adapters: bool, kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    config.hyena_dropout = 0.3
    model = kind(config).train()
    if adapters and kind is not HyenaDNAForCausalLM:
        apply_lora(model, LoraSettings(rank=2))
    other = copy.deepcopy(model)
    enable(other)
    expected, found = gradients(model, ids), gradients(other, ids)
    assert found.keys() == expected.keys() != set()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("kind", [HyenaDNAClassifier, HyenaDNAForTokenClassification])
def test_every_block_is_computed_twice_and_in_training_alone(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = kind(config).train()
    calls = []
    for block in model.modules():
        if isinstance(block, HyenaBlock):
            block.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(model, ids)
    assert len(calls) == config.n_layer
    calls.clear()
    enable(model)
    gradients(model, ids)
    assert len(calls) == 2 * config.n_layer
    calls.clear()
    gradients(model.eval(), ids)
    assert len(calls) == config.n_layer


@pytest.mark.parametrize("kind", [HyenaDNAClassifier, HyenaDNAForTokenClassification])
def test_a_frozen_backbone_stays_out_of_the_backward_pass(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = kind(config).train()
    enable(model)
    model.hyena.requires_grad_(False)
    assert not model.hyena(ids).last_hidden_state.requires_grad
    assert set(gradients(model, ids)) == {"score.weight"}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_do_not_support_it(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} does not support"):
        enable(BASELINES[name](CONFIG_CLASSES[name]()))
    with pytest.raises(ValueError, match="does not support"):
        enable(hub_class(name, "base")(hub_class(name, "base").config_class()))
