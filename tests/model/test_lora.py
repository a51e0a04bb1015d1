"""Adapters change a few weights, leave the rest, and can be merged."""

from __future__ import annotations

import copy
from typing import get_args

import peft
import pytest
import torch
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model import (
    DilatedCNNConfig,
    DilatedCNNForTokenClassification,
    HyenaDNAConfig,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.lora import (
    TARGET_MODULES,
    LoraSettings,
    Targets,
    apply_lora,
    has_lora,
    merge_lora,
    trainable_share,
)

EVERY_TARGET = list(get_args(Targets))


@pytest.fixture
def classifier(config: HyenaDNAConfig) -> HyenaDNAForTokenClassification:
    return HyenaDNAForTokenClassification(config).eval()


def trained(classifier: HyenaDNAForTokenClassification, ids: Tensor) -> None:
    """A few steps, so that adapters are no longer without effect."""
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.2)
    for _ in range(3):
        classifier(ids, labels=(ids == 8).long()).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("targets", EVERY_TARGET)
def test_only_adapters_and_head_change(
    targets: Targets, classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    plain = classifier(ids).logits
    apply_lora(classifier, LoraSettings(rank=2, targets=targets))
    assert torch.equal(classifier(ids).logits, plain), "new adapters have no effect"
    trained(classifier, ids)
    after = {
        name.replace(".base_layer", ""): p
        for name, p in classifier.named_parameters()
        if "lora_" not in name
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"score.weight"}
    wrapped = {
        name.rpartition(".")[2]
        for name, module in classifier.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert wrapped == set(TARGET_MODULES[targets])
    assert not torch.allclose(classifier(ids).logits, plain)


@pytest.mark.parametrize("targets", EVERY_TARGET)
def test_merging_keeps_the_outputs_and_leaves_plain_modules(
    targets: Targets, classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    names = set(classifier.state_dict())
    apply_lora(classifier, LoraSettings(rank=2, targets=targets))
    trained(classifier, ids)
    assert has_lora(classifier)
    merged = merge_lora(copy.deepcopy(classifier))
    assert not has_lora(merged)
    assert set(merged.state_dict()) == names
    assert torch.allclose(merged(ids).logits, classifier(ids).logits, atol=1e-4)
    assert has_lora(classifier), "the original goes on training"


def test_embeddings_may_be_given_to_a_classifier_with_adapters(
    classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    apply_lora(classifier, LoraSettings(rank=2, targets="embeddings"))
    trained(classifier, ids)
    embedded = classifier.get_input_embeddings()(ids)
    assert torch.equal(classifier(inputs_embeds=embedded).logits, classifier(ids).logits)


@pytest.mark.parametrize(("targets", "share"), [("mixer+ffn", 0.0704), ("mixer", 0.0279)])
def test_the_trainable_share_is_the_studys(targets: Targets, share: float) -> None:
    classifier = HyenaDNAForTokenClassification(HyenaDNAConfig())
    assert trainable_share(classifier) == 1
    apply_lora(classifier, LoraSettings(targets=targets))
    assert trainable_share(classifier) == pytest.approx(share, abs=5e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_the_usual_way_of_peft_works_too(
    classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    config = peft.LoraConfig(
        task_type="TOKEN_CLS",
        r=2,
        target_modules=["in_proj", "out_proj"],
        modules_to_save=["score"],
    )
    model = peft.get_peft_model(classifier, config).eval()
    output = model(input_ids=ids, labels=torch.zeros_like(ids))
    output.loss.backward()
    assert output.logits.shape == (3, 40, 2)
    embedded = classifier.get_input_embeddings()(ids)
    assert torch.equal(model(inputs_embeds=embedded).logits, output.logits)
    merged = model.merge_and_unload()
    assert isinstance(merged, HyenaDNAForTokenClassification)


def test_an_architecture_without_targets_is_refused() -> None:
    classifier: nn.Module = DilatedCNNForTokenClassification(DilatedCNNConfig(channels=4))
    with pytest.raises(InputError, match=r"lora\.enabled"):
        apply_lora(classifier, LoraSettings(enabled=True))
