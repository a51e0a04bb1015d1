"""The published implementation's outputs, and the equations written out, decide what is right."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyena_ray.model import convolution
from hyena_ray.model.huggingface import HyenaDNAForCausalLM


def relative(found: Tensor, expected: np.ndarray) -> float:
    return float(np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("longest_toeplitz", [0, 10_000])
@pytest.mark.parametrize("length", [1, 2, 70, 100, 333])
def test_the_published_vectors_are_matched_by_both_convolutions(
    shared: Path, length: int, longest_toeplitz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(convolution.CROSSOVER, "cpu", longest_toeplitz)
    folder = shared / "reference/hyenadna_tiny_1k_random"
    model = HyenaDNAForCausalLM.from_pretrained(folder).eval()
    vectors = np.load(folder / "io.npz")
    ids = torch.from_numpy(vectors[f"ids_{length}"].astype(np.int64))
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    hidden = model.hyena(inputs_embeds=embedded).last_hidden_state
    hidden.square().sum().backward()
    assert relative(hidden, vectors[f"hidden_{length}"]) < 1e-4
    assert relative(model(ids).logits, vectors[f"logits_{length}"]) < 1e-4
    assert embedded.grad is not None
    assert relative(embedded.grad, vectors[f"grad_{length}"]) < 1e-3


def test_the_published_sizes_and_time_features_are_ours(shared: Path) -> None:
    folder = shared / "reference/hyenadna_tiny_1k_random"
    model = HyenaDNAForCausalLM.from_pretrained(folder)
    assert sum(parameter.numel() for parameter in model.hyena.parameters()) == 436_096
    filters = model.hyena.backbone.layers[0].mixer.filter_fn
    for ours, stored in zip(
        (*filters.pos_emb.initial(), filters.modulation.initial()),
        (filters.pos_emb.t, filters.pos_emb.z, filters.modulation.deltas),
        strict=True,
    ):
        assert torch.equal(ours, stored)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def hyena_by_the_book(weights: dict[str, Tensor], ids: Tensor, layers: int, steps: int) -> Tensor:
    """(B, L) ids to (B, L, vocabulary) logits, equation by equation, in float64 and with loops."""
    weight = {name.removeprefix("hyena.backbone."): w.double() for name, w in weights.items()}
    length = ids.shape[1]
    x = weight["embeddings.word_embeddings.weight"][ids]
    for layer in range(layers):
        w = {
            name.removeprefix(f"layers.{layer}."): value
            for name, value in weight.items()
            if name.startswith(f"layers.{layer}.")
        }
        u = layer_norm(x, w["norm1.weight"], w["norm1.bias"])
        u = u @ w["mixer.in_proj.weight"].T + w["mixer.in_proj.bias"]
        taps, short = w["mixer.short_filter.weight"][:, 0], torch.zeros_like(u)
        for t in range(length):
            short[:, t] = w["mixer.short_filter.bias"]
            for delay in range(min(3, t + 1)):
                short[:, t] += taps[:, 2 - delay] * u[:, t - delay]
        x0, x1, v = short.chunk(3, dim=-1)
        filters = []
        for t in range(length):
            time, phase = t / (steps - 1), 2 * math.pi * t / steps
            bands = [1e-4, 1.0]
            h = torch.tensor(
                [
                    time,
                    *(math.cos(f * phase) for f in bands),
                    *(-math.sin(f * phase) for f in bands),
                ],
                dtype=torch.float64,
            )
            for index in (0, 2, 4):
                prefix = f"mixer.filter_fn.implicit_filter.{index}"
                h = w[f"{prefix}.weight"] @ h + w[f"{prefix}.bias"]
                h = torch.sin(w["mixer.filter_fn.implicit_filter.1.freq"][0] * h)
            h = w["mixer.filter_fn.implicit_filter.6.weight"] @ h
            rates = w["mixer.filter_fn.modulation.deltas"][0, 0].abs()
            filters.append(h * (torch.exp(-time * rates) + 0.05))
        v = v * x1
        mixed = w["mixer.filter_fn.bias"] * v
        for t in range(length):
            for delay in range(t + 1):
                mixed[:, t] += filters[delay] * v[:, t - delay]
        y = mixed * x0
        x = x + y @ w["mixer.out_proj.weight"].T + w["mixer.out_proj.bias"]
        z = layer_norm(x, w["norm2.weight"], w["norm2.bias"])
        z = gelu(z @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"])
        x = x + z @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]
    return layer_norm(x, weight["ln_f.weight"], weight["ln_f.bias"]) @ weight["lm_head.weight"].T


@pytest.mark.parametrize("longest_toeplitz", [0, 10_000])
@pytest.mark.parametrize("length", [1, 2, 3, 24])
def test_the_model_computes_the_equations(
    language_model: HyenaDNAForCausalLM,
    ids: Tensor,
    length: int,
    longest_toeplitz: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(convolution.CROSSOVER, "cpu", longest_toeplitz)
    found = language_model(ids[:, :length]).logits
    expected = hyena_by_the_book(language_model.state_dict(), ids[:, :length], 2, 96)
    assert relative(found, expected.detach().numpy()) < 1e-4


def test_no_position_sees_what_comes_after_it(
    language_model: HyenaDNAForCausalLM, ids: Tensor
) -> None:
    changed = ids.clone()
    changed[:, 20] = 7 + (ids[:, 20] - 6) % 4
    before, after = language_model(ids).logits, language_model(changed).logits
    assert torch.allclose(before[:, :20], after[:, :20], atol=1e-5)
    assert (before[:, 20:] - after[:, 20:]).abs().amax((0, 2)).min() > 1e-4
