"""HyenaDNA's heads: what they compute from hidden states, and from which."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.errors import InputError
from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
    HyenaDNAModel,
)

PADDING = 4
LENGTH = 40
"""Tokens of `ids`."""
ANY_LENGTH = ["last", "mean", "attention"]
POOLINGS = [*ANY_LENGTH, "position"]


def changed(config: HyenaDNAConfig, **values: object) -> HyenaDNAConfig:
    return HyenaDNAConfig(**config.to_diff_dict() | {"pooled_length": LENGTH} | values)


def test_the_head_is_a_linear_map_without_bias_of_the_last_hidden_state(
    config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForTokenClassification(config, num_labels=5).eval()
    output = model(ids, output_hidden_states=True)
    assert model.score.bias is None
    assert model.config.num_labels == 5
    assert config.num_labels == 2
    assert len(output.hidden_states) == config.n_layer + 2
    assert torch.equal(output.logits, output.hidden_states[-1] @ model.score.weight.T)


@pytest.mark.parametrize(
    "kind", [HyenaDNAForTokenClassification, HyenaDNAForSequenceClassification]
)
def test_the_electra_head_is_dense_gelu_dropout_projection(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = kind(changed(config, head="electra", head_dropout=0.5)).eval()
    weights = dict(model.score.named_parameters())
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        "dense.weight": (16, 16),
        "dense.bias": (16,),
        "out_proj.weight": (2, 16),
        "out_proj.bias": (2,),
    }
    hidden = model.hyena(ids).last_hidden_state
    if kind is HyenaDNAForSequenceClassification:
        hidden = hidden[:, -1]
    inner = F.gelu(hidden @ weights["dense.weight"].T + weights["dense.bias"])
    expected = inner @ weights["out_proj.weight"].T + weights["out_proj.bias"]
    assert torch.allclose(model(ids).logits, expected, atol=1e-6)
    model.score.train()
    assert not torch.equal(model(ids).logits, model(ids).logits), "dropout is applied"


@pytest.mark.parametrize("pooling", ANY_LENGTH)
def test_padding_has_no_part_in_a_pooled_sequence(
    pooling: str, config: HyenaDNAConfig, ids: Tensor
) -> None:
    """On the right alone: what is on the left of a base, a causal backbone sees."""
    model = HyenaDNAForSequenceClassification(changed(config, pooling=pooling)).eval()
    padded = F.pad(ids, (0, 7), value=PADDING)
    assert torch.allclose(model(padded).logits, model(ids).logits, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_a_sequence_is_pooled_over_its_tokens_that_are_not_padding(
    side: str, pooling: str, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForSequenceClassification(changed(config, pooling=pooling), num_labels=3).eval()
    padded = ids.clone()
    first, end = 4 * (side != "right"), LENGTH - 4 * (side != "left")
    padded[:, :first] = padded[:, end:] = PADDING
    states = model.hyena(padded).last_hidden_state[:, first:end]
    if pooling == "last":
        pooled = states[:, -1]
    elif pooling == "mean":
        pooled = states.mean(1)
    elif pooling == "position":
        with torch.no_grad():
            model.pool.weight.normal_()
        pooled = (states * model.pool.weight[first:end]).mean(1)
    else:
        chances = (states @ model.pool.query.weight[0]).softmax(1)
        pooled = (states * chances[..., None]).sum(1)
    assert torch.allclose(model(padded).logits, model.score(pooled), atol=1e-6)


def test_a_pool_of_positions_begins_as_the_mean(config: HyenaDNAConfig, ids: Tensor) -> None:
    model = HyenaDNAForSequenceClassification(changed(config, pooling="position")).eval()
    pooled = model.hyena(ids).last_hidden_state.mean(1)
    assert torch.allclose(model(ids).logits, model.score(pooled), atol=1e-6)


def test_a_pool_of_positions_takes_sequences_of_its_length_alone(
    config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForSequenceClassification(changed(config, pooling="position"))
    with pytest.raises(InputError, match=r"39 tokens.*40 tokens have weights.*of that length"):
        model(ids[:, 1:])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_embeddings_of_a_sequence_give_what_its_ids_give(
    pooling: str, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForSequenceClassification(changed(config, pooling=pooling)).eval()
    embedded = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embedded).logits, model(ids).logits)


@pytest.mark.parametrize("pooling", [*POOLINGS, None])
def test_the_class_decides_what_is_labelled_and_the_configuration_how(
    pooling: str | None, config: HyenaDNAConfig
) -> None:
    given = changed(config, pooling=pooling)
    bases = HyenaDNAForTokenClassification(given)
    sequences = HyenaDNAForSequenceClassification(given)
    assert bases.config.pooling is None
    assert sequences.config.pooling == (pooling or "last")
    assert given.pooling == pooling


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("head", ["linear", "electra"])
def test_any_head_is_saved_and_loaded_whole(
    head: str, pooling: str, config: HyenaDNAConfig, ids: Tensor, tmp_path: Path
) -> None:
    chosen = changed(config, pooling=pooling, head=head)
    model = HyenaDNAForSequenceClassification(chosen).eval()
    model.save_pretrained(tmp_path)
    loaded = HyenaDNAForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("head", ["linear", "electra"])
def test_a_language_model_takes_any_head(
    head: str, pooling: str, language_model: HyenaDNAForCausalLM, ids: Tensor, tmp_path: Path
) -> None:
    language_model.save_pretrained(tmp_path)
    model = HyenaDNAForSequenceClassification.from_pretrained(
        tmp_path, head=head, pooling=pooling, pooled_length=LENGTH
    )
    assert (model.config.head, model.config.pooling) == (head, pooling)
    states = language_model.hyena(ids).last_hidden_state
    assert torch.allclose(model.eval().hyena(ids).last_hidden_state, states, atol=1e-5)
    assert torch.isfinite(model(ids).logits).all()


def test_the_language_model_predicts_the_next_token(
    language_model: HyenaDNAForCausalLM, ids: Tensor
) -> None:
    output = language_model(ids, labels=ids)
    chances = output.logits[:, :-1].log_softmax(-1)
    expected = -chances.gather(2, ids[:, 1:, None]).mean()
    assert torch.allclose(output.loss, expected)


def test_a_sequence_loss_follows_the_kind_of_labels(config: HyenaDNAConfig, ids: Tensor) -> None:
    classes = HyenaDNAForSequenceClassification(config, num_labels=3).eval()
    number = HyenaDNAForSequenceClassification(config, num_labels=1).eval()
    labels = torch.tensor([0, 2, 1])
    several = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])
    logits = classes(ids).logits
    assert torch.allclose(
        classes(ids, labels=labels).loss, nn.functional.cross_entropy(logits, labels)
    )
    assert torch.allclose(
        classes(ids, labels=several).loss,
        nn.functional.binary_cross_entropy_with_logits(logits, several),
    )
    values = number(ids).logits[:, 0]
    assert torch.allclose(number(ids, labels=labels).loss, (values - labels).square().mean())


def test_an_input_above_the_longest_is_refused(config: HyenaDNAConfig) -> None:
    with pytest.raises(InputError, match="97: above max_seq_len 96"):
        HyenaDNAModel(config)(torch.full((1, 97), 7))


@pytest.mark.parametrize(
    "values", [{"hyena_order": 3}, {"emb_dim": 4}, {"emb_dim": 1}, {"d_model": 0}, {"n_layer": -1}]
)
def test_a_configuration_without_a_meaning_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        HyenaDNAConfig(**values)


def test_initial_weights_are_those_published() -> None:
    config = HyenaDNAConfig(n_layer=2)
    model = HyenaDNAModel(config)
    layer = model.backbone.layers[1]
    small = 0.02 / (2 * config.n_layer) ** 0.5
    for weight, deviation in [
        (model.backbone.embeddings.word_embeddings.weight, 0.02),
        (layer.mixer.in_proj.weight, 0.02),
        (layer.mixer.filter_fn.implicit_filter[2].weight, 0.02),
        (layer.mlp.fc1.weight, 0.02),
        (layer.mixer.out_proj.weight, small),
        (layer.mlp.fc2.weight, small),
    ]:
        assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.1)
    assert torch.equal(layer.mixer.filter_fn.implicit_filter[1].freq, torch.full((1, 64), 10.0))
    assert not layer.mlp.fc1.bias.any()
    assert not layer.mixer.in_proj.bias.any()
