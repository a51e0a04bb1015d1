"""Filters stay exact in low precision, and are computed once while they are frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAModel


@pytest.fixture
def counted(
    config: HyenaDNAConfig, monkeypatch: pytest.MonkeyPatch
) -> tuple[HyenaDNAModel, list[int]]:
    """A model of one layer, and a list that grows whenever its filters are made."""
    config.n_layer = 1
    model = HyenaDNAModel(config).eval()
    filters, made = model.backbone.layers[0].mixer.filter_fn, []
    original: Callable[[int], Tensor] = filters.forward

    def forward(length: int) -> Tensor:
        made.append(length)
        return original(length)

    monkeypatch.setattr(filters, "forward", forward)
    return model, made


def test_frozen_filters_are_made_once(
    counted: tuple[HyenaDNAModel, list[int]], ids: Tensor
) -> None:
    model, made = counted
    model.requires_grad_(False)
    with frozen_filters(model):
        first = model(ids).last_hidden_state
        embedded = model.get_input_embeddings()(ids).requires_grad_()
        again = model(inputs_embeds=embedded).last_hidden_state
        again.sum().backward()
    assert made == [40]
    torch.testing.assert_close(first, again)
    assert embedded.grad is not None


def test_frozen_filters_are_those_of_every_pass(
    counted: tuple[HyenaDNAModel, list[int]], ids: Tensor
) -> None:
    model, _ = counted
    with torch.no_grad():
        expected = model(ids).last_hidden_state
        with frozen_filters(model):
            assert torch.equal(model(ids).last_hidden_state, expected)
            assert torch.equal(model(ids).last_hidden_state, expected)


def test_nothing_is_kept_outside(counted: tuple[HyenaDNAModel, list[int]], ids: Tensor) -> None:
    model, made = counted
    with torch.no_grad():
        for _ in range(2):
            with frozen_filters(model):
                before = model(ids).last_hidden_state
                with frozen_filters(model):
                    model(ids)
                model(ids)
            model.backbone.layers[0].mixer.filter_fn.implicit_filter[-1].weight.mul_(100)
        after = model(ids).last_hidden_state
    assert made == [40, 40, 40]
    assert not torch.allclose(before, after)


def test_trained_filters_are_made_at_every_pass(
    counted: tuple[HyenaDNAModel, list[int]], ids: Tensor
) -> None:
    model, made = counted
    with frozen_filters(model):
        for _ in range(2):
            model(ids).last_hidden_state.sum().backward()
    assert made == [40, 40]


def test_another_length_has_filters_of_its_own(
    counted: tuple[HyenaDNAModel, list[int]], ids: Tensor
) -> None:
    model, made = counted
    with torch.no_grad(), frozen_filters(model):
        model(ids)
        model(ids[:, :30])
    assert made == [40, 30]


def test_what_inference_mode_made_is_not_used_for_a_gradient(
    counted: tuple[HyenaDNAModel, list[int]], ids: Tensor
) -> None:
    model, _ = counted
    model.requires_grad_(False)
    with frozen_filters(model):
        with torch.inference_mode():
            model(ids)
        embedded = model.get_input_embeddings()(ids).requires_grad_()
        model(inputs_embeds=embedded).last_hidden_state.sum().backward()
    assert embedded.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_filters_are_the_same_bits_whatever_the_models_dtype(
    config: HyenaDNAConfig, dtype: torch.dtype
) -> None:
    model = HyenaDNAModel(config)
    filters = model.backbone.layers[0].mixer.filter_fn
    exact = filters(96)
    model.to(dtype)
    assert model.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(filters(96), exact)


def test_bfloat16_changes_the_output_little_and_can_be_trained(
    config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAModel(config).eval()
    exact = model(ids).last_hidden_state
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(ids).last_hidden_state
    mixed.sum().backward()
    low = model.bfloat16()(ids, output_hidden_states=True)
    low.last_hidden_state.float().sum().backward()
    assert torch.allclose(mixed.float(), exact, atol=0.1)
    assert torch.allclose(low.last_hidden_state.float(), exact, atol=0.1)
    assert all(state.dtype == torch.float32 for state in low.hidden_states[:-1])
