"""Adapters change a few weights, leave the rest, and can be merged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import get_args

import peft
import pytest
import torch
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model.baseline_models import BASELINES
from hyena_ray.model.classifier import LORA_TARGETS
from hyena_ray.model.configuration import CONFIG_CLASSES
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.lora import (
    adapted_names,
    apply_lora,
    has_lora,
    is_adapter,
    merge_lora,
    trainable_share,
)
from hyena_ray.model.settings import LoraSettings, Targets

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
    # New adapters have no effect, but for the order in which an adapted MLP sums.
    torch.testing.assert_close(classifier(ids).logits, plain)
    trained(classifier, ids)
    after = {
        name.replace(".base_layer", ""): p
        for name, p in classifier.named_parameters()
        if "lora_" not in name
    }
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"score.weight"}
    wrapped = {
        name.rpartition(".")[2] for name, module in classifier.named_modules() if is_adapter(module)
    }
    assert wrapped == set(LORA_TARGETS[targets])
    assert not torch.allclose(classifier(ids).logits, plain)


@pytest.mark.parametrize("targets", EVERY_TARGET)
def test_all_biases_are_trained_where_asked_and_nothing_else(
    targets: Targets, classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    apply_lora(classifier, LoraSettings(rank=2, targets=targets, biases=True))
    trained(classifier, ids)
    changed = {
        name.replace(".base_layer", "")
        for name, p in classifier.named_parameters()
        if "lora_" not in name and not torch.equal(before[name.replace(".base_layer", "")], p)
    }
    assert changed == {"score.weight"} | {name for name in before if name.endswith("bias")}
    assert len(changed) > 20


@pytest.mark.parametrize("targets", EVERY_TARGET)
def test_merging_keeps_the_outputs_and_leaves_no_adapter(
    targets: Targets, classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    names = set(classifier.state_dict())
    apply_lora(classifier, LoraSettings(rank=2, targets=targets))
    trained(classifier, ids)
    assert has_lora(classifier)
    merged = merge_lora(copy.deepcopy(classifier))
    assert not has_lora(merged)
    assert adapted_names(merged) is None
    # Only what mixes channels cannot be put into depthwise weights.
    extra = {name for name in set(merged.state_dict()) - names if ".short_filter.across." in name}
    assert set(merged.state_dict()) == names | extra
    assert bool(extra) == (targets == "short_filter")
    assert torch.allclose(merged(ids).logits, classifier(ids).logits, atol=1e-4)
    assert has_lora(classifier), "the original goes on training"


@pytest.mark.parametrize("targets", EVERY_TARGET)
def test_a_merged_model_is_saved_and_loaded_like_any_other(
    targets: Targets, classifier: HyenaDNAForTokenClassification, ids: Tensor, tmp_path: Path
) -> None:
    apply_lora(classifier, LoraSettings(rank=2, targets=targets))
    trained(classifier, ids)
    merge_lora(copy.deepcopy(classifier)).save_pretrained(tmp_path)
    loaded = HyenaDNAForTokenClassification.from_pretrained(tmp_path).eval()
    assert torch.allclose(loaded(ids).logits, classifier(ids).logits, atol=1e-4)


def test_the_short_filters_adapter_is_a_low_rank_convolution_of_all_channels(
    classifier: HyenaDNAForTokenClassification,
) -> None:
    """Merged and unmerged equal the one dense convolution with the effective weight."""
    apply_lora(classifier, LoraSettings(rank=2, alpha=6, targets="short_filter"))
    adapter = classifier.hyena.backbone.layers[0].mixer.short_filter
    with torch.no_grad():
        adapter.lora_pair.up.normal_()
    base, pair = adapter.base_layer, adapter.lora_pair
    weight = torch.diag_embed(base.weight[:, 0].T).permute(1, 2, 0)
    weight = weight + 3 * torch.einsum("ir,krj->ijk", pair.up, pair.down)
    u = torch.randn(48, 9, 4)  # channels, length, batch
    dense = nn.functional.conv1d(
        nn.functional.pad(u.permute(2, 0, 1), (2, 0)), weight, base.bias
    ).permute(1, 2, 0)
    assert torch.allclose(adapter(u), dense, atol=1e-5)
    merged = merge_lora(copy.deepcopy(classifier)).hyena.backbone.layers[0].mixer.short_filter
    assert torch.allclose(merged(u), dense, atol=1e-5)


def test_peft_itself_does_not_take_the_short_filter(
    classifier: HyenaDNAForTokenClassification,
) -> None:
    """The day it does, ours may go."""
    config = peft.LoraConfig(r=8, target_modules=["short_filter"])
    with pytest.raises(ValueError, match="rank is divisible"), pytest.warns(match="groups > 1"):
        peft.inject_adapter_in_model(config, classifier)


def test_a_short_filter_takes_one_correction(classifier: HyenaDNAForTokenClassification) -> None:
    settings = LoraSettings(rank=2, targets="short_filter")
    merged = merge_lora(apply_lora(classifier, settings))
    with pytest.raises(InputError, match=r"lora\.targets: short_filter: .* already"):
        apply_lora(merged, settings)
    apply_lora(merged, LoraSettings(rank=2, targets="mixer"))
    assert adapted_names(merged) == {n for n, _ in merged.named_parameters() if "lora_" in n}


def test_a_sequence_classifiers_whole_head_is_trained(config: HyenaDNAConfig) -> None:
    chosen = HyenaDNAConfig(**config.to_diff_dict() | {"pooling": "attention", "head": "electra"})
    classifier = HyenaDNAForSequenceClassification(chosen)
    apply_lora(classifier, LoraSettings(rank=2))
    trained_names = {name for name, p in classifier.named_parameters() if p.requires_grad}
    head = {name for name in trained_names if name.startswith(HEAD_PREFIXES)}
    assert len(head) == 5
    assert trained_names == head | (adapted_names(classifier) or set())


def test_embeddings_may_be_given_to_a_classifier_with_adapters(
    classifier: HyenaDNAForTokenClassification, ids: Tensor
) -> None:
    apply_lora(classifier, LoraSettings(rank=2, targets="embeddings"))
    trained(classifier, ids)
    embedded = classifier.get_input_embeddings()(ids)
    assert torch.equal(classifier(inputs_embeds=embedded).logits, classifier(ids).logits)


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ({"targets": "mixer+ffn"}, 0.0704),
        ({"targets": "mixer"}, 0.0279),
        ({"targets": "ffn"}, 0.0454),
        ({"targets": "short_filter"}, 0.0538),
        ({"targets": "ffn", "biases": True, "rank": 16, "alpha": 16}, 0.0954),
        ({"targets": "embeddings", "rank": 16}, 0.0058),
    ],
    ids=lambda value: None if isinstance(value, float) else "-".join(map(str, value.values())),
)
def test_the_trainable_share_is_that_published(values: dict[str, object], share: float) -> None:
    """In two digits of per cent, which the original work rounds here and cuts off there."""
    classifier = HyenaDNAForTokenClassification(HyenaDNAConfig())
    assert trainable_share(classifier) == 1
    apply_lora(classifier, LoraSettings.parse(values, "test"))
    assert trainable_share(classifier) == pytest.approx(share, abs=1e-4)


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


@pytest.mark.parametrize("name", BASELINES)
def test_an_architecture_without_targets_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"lora\.enabled"):
        apply_lora(BASELINES[name](CONFIG_CLASSES[name]()), LoraSettings(enabled=True))
