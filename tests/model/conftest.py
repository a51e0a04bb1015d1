"""Small models that every test of the room may use."""

from __future__ import annotations

import pytest
import torch

from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAForCausalLM


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def config() -> HyenaDNAConfig:
    return HyenaDNAConfig(d_model=16, d_inner=64, max_seq_len=96, filter_order=8)


@pytest.fixture
def language_model(config: HyenaDNAConfig) -> HyenaDNAForCausalLM:
    """All weights random and of a size that matters, biases and LayerNorms included."""
    model = HyenaDNAForCausalLM(config)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(".freq"):
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(7, 12, (3, 40))
