"""What the heads take, give and compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model import (
    DilatedCNNConfig,
    DilatedCNNForTokenClassification,
    HyenaDNAConfig,
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
    HyenaDNAModel,
)

TOKEN_CLASSIFIERS = [HyenaDNAForTokenClassification, DilatedCNNForTokenClassification]


def token_classifier(kind: type, config: HyenaDNAConfig, **labels: object) -> nn.Module:
    if kind is DilatedCNNForTokenClassification:
        return DilatedCNNForTokenClassification(DilatedCNNConfig(channels=8, **labels)).eval()
    return HyenaDNAForTokenClassification(HyenaDNAConfig(**config.to_diff_dict() | labels)).eval()


@pytest.mark.parametrize("kind", TOKEN_CLASSIFIERS)
def test_the_token_loss_is_the_weighted_mean_over_labelled_positions(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = token_classifier(kind, config, num_labels=3, class_weights=[0.5, 2.0, 3.0])
    labels = torch.randint(0, 3, ids.shape, dtype=torch.int8)
    labels[:, ::3] = -100
    output = model(ids, labels=labels)
    total, weights = 0.0, 0.0
    for row, column in torch.nonzero(labels >= 0).tolist():
        label = int(labels[row, column])
        weight = (0.5, 2.0, 3.0)[label]
        total -= weight * output.logits[row, column].log_softmax(-1)[label].item()
        weights += weight
    assert output.logits.shape == (3, 40, 3)
    assert output.logits.dtype == torch.float32
    assert output.loss.item() == pytest.approx(total / weights, rel=1e-5)


@pytest.mark.parametrize("kind", TOKEN_CLASSIFIERS)
def test_a_tuple_holds_what_the_named_output_holds(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = token_classifier(kind, config)
    labels = torch.zeros_like(ids)
    named = model(ids, labels=labels, output_hidden_states=True)
    loss, logits, states = model(ids, labels=labels, output_hidden_states=True, return_dict=False)
    assert torch.equal(loss, named.loss)
    assert torch.equal(logits, named.logits)
    assert [state.shape for state in states] == [state.shape for state in named.hidden_states]
    assert len(model(ids, return_dict=False)) == 1


@pytest.mark.parametrize("kind", TOKEN_CLASSIFIERS)
def test_embeddings_may_be_given_and_replaced(
    kind: type, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = token_classifier(kind, config)
    embedded = model.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=embedded).logits, model(ids).logits)
    table = nn.Embedding(16, embedded.shape[-1])
    model.set_input_embeddings(table)
    assert model.get_input_embeddings() is table
    assert torch.equal(model(ids).logits, model(inputs_embeds=table(ids)).logits)


@pytest.mark.parametrize("kind", TOKEN_CLASSIFIERS)
@pytest.mark.parametrize("both", [True, False])
def test_both_or_no_input_is_refused(
    kind: type, both: bool, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = token_classifier(kind, config)
    embedded = model.get_input_embeddings()(ids)
    with pytest.raises(InputError, match="not both"):
        model(ids if both else None, inputs_embeds=embedded if both else None)


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


def test_the_language_model_predicts_the_next_token(
    language_model: HyenaDNAForCausalLM, ids: Tensor
) -> None:
    output = language_model(ids, labels=ids)
    chances = output.logits[:, :-1].log_softmax(-1)
    expected = -chances.gather(2, ids[:, 1:, None]).mean()
    assert torch.allclose(output.loss, expected)


@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_a_sequence_is_read_at_its_last_token_that_is_not_padding(
    side: str, config: HyenaDNAConfig, ids: Tensor
) -> None:
    model = HyenaDNAForSequenceClassification(config, num_labels=3).eval()
    padded = ids.clone()
    last = 39
    if side == "left":
        padded[:, :4] = 4
    if side == "right":
        padded[:, 36:] = 4
        last = 35
    states = model.hyena(padded).last_hidden_state
    assert torch.allclose(model(padded).logits, model.score(states[:, last]), atol=1e-6)


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


def test_the_cnn_sees_both_sides_as_far_as_documented() -> None:
    model = DilatedCNNForTokenClassification(DilatedCNNConfig(channels=8)).eval()
    embedded = torch.randn(1, 161, 8, requires_grad=True)
    model(inputs_embeds=embedded).logits[0, 80].sum().backward()
    assert embedded.grad is not None
    seen = torch.nonzero(embedded.grad[0].abs().sum(1)).flatten()
    assert (int(seen.min()), int(seen.max())) == (80 - 64, 80 + 64)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(InputError, match="kernel_size"):
        DilatedCNNConfig(kernel_size=8)
