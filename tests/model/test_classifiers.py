"""What all classifiers, HyenaDNA and the baselines, have in common."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification as AutoForBases

from hyena_ray.errors import InputError
from hyena_ray.model.configuration import CONFIG_CLASSES, HUGGING_FACE_CLASSES, kind_of
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.saved import CLASSIFIERS
from hyena_ray.model.settings import HEADLESS, Pooling
from hyena_ray.tasks import Kind
from tests.model.hub_classes import hub_class

ALL_KINDS = [pytest.param(*key, id="-".join(key)) for key in HUGGING_FACE_CLASSES]
NETWORKS = [
    pytest.param(name, kind, id=f"{name}-{kind}")
    for name in ("hyenadna", "dilated_cnn", "bilstm")
    for kind in get_args(Kind)
]
SMALL = {
    "hyenadna": {"d_model": 16, "d_inner": 32, "filter_order": 8, "max_seq_len": 96},
    "dilated_cnn": {"channels": 8},
    "bilstm": {"channels": 8},
    "transformers_backbone": {},
    "kmer_logistic": {"k": 2, "radius": 3},
    "rule": {"rule": "gc_content"},
    "zhunt": {"dinucleotides": [3, 4]},
    "trees": {"features": "zdna", "trees": 3, "depth": 2},
}


def classifier(name: str, kind: Kind, **values: object) -> nn.Module:
    """With random weights, those of the head included."""
    pooling = "mean" if kind == "sequence" else None
    model_class = hub_class(name, kind)
    model = model_class(model_class.config_class(**SMALL[name], pooling=pooling, **values)).eval()
    with torch.no_grad():
        for parameter in model.score.parameters():
            parameter.normal_()
    return model


def some_labels(ids: Tensor, kind: Kind) -> Tensor:
    return torch.randint(0, 2, ids.shape if kind == "base" else ids.shape[:1])


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
def test_the_loss_is_the_weighted_mean_over_what_has_a_label(
    name: str, kind: Kind, ids: Tensor
) -> None:
    model = classifier(name, kind, class_weights=[0.5, 2.0])
    labels = some_labels(ids, kind).to(torch.int8)
    labels[..., ::3] = -100
    output = model(ids, labels=labels)
    total, weights = 0.0, 0.0
    for place in torch.nonzero(labels >= 0).tolist():
        label = int(labels[tuple(place)])
        weight = (0.5, 2.0)[label]
        total -= weight * output.logits[tuple(place)].log_softmax(-1)[label].item()
        weights += weight
    assert output.logits.shape == ((3, 40, 2) if kind == "base" else (3, 2))
    assert output.logits.dtype == torch.float32
    assert output.loss.item() == pytest.approx(total / weights, rel=1e-5)


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
def test_a_tuple_holds_what_the_named_output_holds(name: str, kind: Kind, ids: Tensor) -> None:
    model = classifier(name, kind)
    labels = some_labels(ids, kind)
    named = model(ids, labels=labels, output_hidden_states=True)
    loss, logits, states = model(ids, labels=labels, output_hidden_states=True, return_dict=False)
    assert torch.equal(loss, named.loss)
    assert torch.equal(logits, named.logits)
    assert [state.shape for state in states] == [state.shape for state in named.hidden_states]
    assert len(model(ids, return_dict=False)) == 1


@pytest.mark.parametrize(("name", "kind"), NETWORKS)
def test_embeddings_may_be_given_and_replaced(name: str, kind: Kind, ids: Tensor) -> None:
    model = classifier(name, kind)
    embedded = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embedded).logits, model(ids).logits)
    table = nn.Embedding(16, embedded.shape[-1])
    model.set_input_embeddings(table)
    assert model.get_input_embeddings() is table
    torch.testing.assert_close(model(ids).logits, model(inputs_embeds=table(ids)).logits)


@pytest.mark.parametrize(
    ("name", "kind"), [key for key in HUGGING_FACE_CLASSES if key[0] in HEADLESS]
)
def test_what_reads_letters_refuses_embeddings(name: str, kind: Kind, ids: Tensor) -> None:
    model = classifier(name, kind)
    with pytest.raises(InputError, match=f"{name}: reads letters"):
        model(inputs_embeds=torch.zeros(1, 40, 8))
    with pytest.raises(InputError, match=f"{name}: reads letters"):
        model.get_input_embeddings()


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
@pytest.mark.parametrize("both", [True, False])
def test_both_or_no_input_is_refused(name: str, kind: Kind, both: bool, ids: Tensor) -> None:
    embedded = torch.zeros(3, 40, 16) if both else None
    with pytest.raises(InputError, match="not both"):
        classifier(name, kind)(ids if both else None, inputs_embeds=embedded)


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
def test_the_configuration_alone_says_what_is_labelled(name: str, kind: Kind) -> None:
    model = classifier(name, kind)
    assert kind_of(model.config) == kind
    assert isinstance(AutoConfig.for_model(name), type(model.config))
    auto = AutoForBases if kind == "base" else AutoModelForSequenceClassification
    assert type(auto.from_config(model.config)) is type(model)


@pytest.mark.parametrize("name", ["hyenadna", "dilated_cnn", "bilstm"])
@pytest.mark.parametrize("head", ["linear", "electra"])
@pytest.mark.parametrize("pooling", [None, *get_args(Pooling)])
def test_a_networks_head_is_all_that_its_names_say(
    pooling: str | None, head: str, name: str, ids: Tensor
) -> None:
    """Changing what is named a head changes no hidden state; all of it has an effect."""
    model_class = hub_class(name, "base" if pooling is None else "sequence")
    values = SMALL[name] | {"head": head, "pooling": pooling, "pooled_length": ids.shape[1]}
    model = model_class(model_class.config_class(**values)).eval()
    before = model(ids, output_hidden_states=True)
    named = [p for n, p in model.named_parameters() if n.startswith(HEAD_PREFIXES)]
    assert len(named) == (1 if name == "hyenadna" else 2) * (head == "linear") + 4 * (
        head == "electra"
    ) + (pooling in ("attention", "position"))
    before.logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in named)
    with torch.no_grad():
        for parameter in named:
            parameter.add_(1.0)
    after = model(ids, output_hidden_states=True)
    assert torch.equal(before.hidden_states[-1], after.hidden_states[-1])
    assert not torch.allclose(before.logits, after.logits)


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
def test_only_hyenadna_is_causal(name: str, kind: Kind) -> None:
    assert hub_class(name, kind).config_class().causal == (name == "hyenadna")


@pytest.mark.parametrize(("name", "kind"), ALL_KINDS)
def test_the_hugging_face_class_is_the_plain_one_in_another_dress(
    name: str, kind: Kind, ids: Tensor
) -> None:
    """The same seed draws the same weights, from which the same logits and states come."""
    pooling = "attention" if kind == "sequence" else None
    values = SMALL[name] | {"pooling": pooling, "num_labels": 2}
    torch.manual_seed(1)
    plain = CLASSIFIERS[name](CONFIG_CLASSES[name](**values)).eval()
    torch.manual_seed(1)
    hub = hub_class(name, kind)(hub_class(name, kind).config_class(**values)).eval()
    assert hub.state_dict().keys() == plain.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert torch.equal(hub.state_dict()[key], value), key
    expected, found = plain(ids), hub(ids, output_hidden_states=True)
    assert torch.equal(found.logits, expected.logits)
    assert all(map(torch.equal, found.hidden_states, expected.hidden_states))
