"""The first layer may project each token once: that changes time, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForTokenClassification,
    HyenaDNAModel,
)
from hyena_ray.model.lora import apply_lora
from hyena_ray.model.operator import (
    HyenaOperator,
    TokenLookup,
    short_convolution,
    short_convolution_from_lookup,
)
from hyena_ray.model.settings import LoraSettings


@pytest.mark.parametrize(("length", "taps"), [(1, 3), (2, 3), (12, 3), (12, 1), (3, 5)])
def test_the_convolution_of_a_lookup_is_that_of_its_rows(length: int, taps: int) -> None:
    ids = torch.randint(5, (length, 3))
    rows, weight, bias = parameters = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 4), (4, 1, taps), (4,))
    ]
    expected = short_convolution(rows[ids].permute(2, 0, 1), weight, bias)
    found = short_convolution_from_lookup(TokenLookup(ids, rows), weight, bias)
    upstream = torch.randn_like(expected)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
    )


@pytest.mark.parametrize("special", [0, 4, 11])
def test_ids_and_their_embeddings_give_the_same_states_and_gradients(
    special: int, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAModel(config).double()
    ids[:, -3:] = special
    parameters = [*model.parameters()]
    gradients = []
    for given in ({"input_ids": ids}, {"inputs_embeds": model.get_input_embeddings()(ids)}):
        states = model(**given, output_hidden_states=True).hidden_states
        gradients.append(torch.autograd.grad(sum(s.sin().sum() for s in states), parameters))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [("mixer", False), ("short_filter", False), ("ffn", True), ("embeddings", True)],
)
def test_the_token_lookup_is_used_where_adapters_allow_it(
    targets: str,
    expected: bool,
    config: HyenaDNAConfig,
    ids: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    original = HyenaOperator.forward_from_lookup

    def spy(self: HyenaOperator, lookup: TokenLookup, positions: slice) -> Tensor:
        used.append(len(lookup.table))
        return original(self, lookup, positions)

    monkeypatch.setattr(HyenaOperator, "forward_from_lookup", spy)
    classifier = HyenaDNAForTokenClassification(config)
    classifier(ids)
    assert used == [config.padded_vocab_size]
    apply_lora(classifier, LoraSettings.parse({"enabled": True, "targets": targets}, "test"))
    classifier(ids)
    assert len(used) == 1 + expected
