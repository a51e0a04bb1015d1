"""Stages train what they say, at the rates that they say."""

from __future__ import annotations

import pytest

from hyena_ray.model.window import WindowModel
from hyena_ray.training.settings import RunSettings, TrainingSettings
from hyena_ray.training.stages import (
    Stage,
    stage_at_epoch,
    stage_optimizer,
    training_stages,
)
from hyena_ray.training.supervised import new_model

BOTH = Stage(epochs=1, backbone_rate=1e-5, head_rate=5e-4)


def small_model(**lora: object) -> WindowModel:
    changes: dict[str, object] = {"model.d_model": 16, "model.n_layer": 1}
    changes |= {f"lora.{key}": value for key, value in lora.items()}
    return new_model(RunSettings().updated(changes, "test"))


def test_two_stages_are_the_studys() -> None:
    settings = TrainingSettings(stages="two_stage", epochs=6, filter_rate=1)
    assert training_stages(settings) == (
        Stage(epochs=3, backbone_rate=None, head_rate=1e-3),
        Stage(epochs=6, backbone_rate=1e-5, head_rate=5e-4),
    )


@pytest.mark.parametrize("stages", ["single", "discriminative", "two_stage", "frozen"])
def test_the_epochs_of_a_run_are_those_of_its_stages(stages: str) -> None:
    recipe = TrainingSettings(stages=stages, epochs=6, head_stage_epochs=2)
    assert recipe.total_epochs == sum(stage.epochs for stage in training_stages(recipe))


def test_a_frozen_backbone_is_one_stage_of_the_head_alone() -> None:
    recipe = TrainingSettings(stages="frozen", epochs=3, learning_rate=2e-3)
    (stage,) = training_stages(recipe)
    assert stage == Stage(epochs=3, backbone_rate=None, head_rate=2e-3)
    model = small_model()
    stage_optimizer(model, stage, 0.1)
    trained = {n for n, weight in model.classifier.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in model.classifier.named_parameters() if "score." in name}


@pytest.mark.parametrize("stages", ["single", "discriminative", "two_stage"])
def test_filters_learn_at_their_share_of_the_backbones_rate(stages: str) -> None:
    recipe = TrainingSettings(stages=stages, filter_rate=0.25)
    model, stage = small_model(), training_stages(recipe)[-1]
    names = {parameter: name for name, parameter in model.named_parameters()}
    for group in stage_optimizer(model, stage, 0.1).param_groups:
        filters = {"filter_fn" in names[parameter] for parameter in group["params"]}
        assert len(filters) == 1
        if filters == {True}:
            assert group["lr"] == pytest.approx(0.25 * stage.backbone_rate)
        else:
            assert group["lr"] in (stage.backbone_rate, stage.head_rate)


def test_discriminative_rates_are_the_second_stage_alone() -> None:
    two = training_stages(TrainingSettings(stages="two_stage", epochs=6))
    assert training_stages(TrainingSettings(stages="discriminative", epochs=6)) == two[1:]


def test_every_epoch_is_in_one_stage() -> None:
    stages = training_stages(TrainingSettings(stages="two_stage", epochs=2))
    assert [stage_at_epoch(stages, epoch) for epoch in range(5)] == [
        (0, 0),
        (0, 0),
        (0, 0),
        (1, 3),
        (1, 3),
    ]


def test_head_and_backbone_have_rates_of_their_own() -> None:
    model = small_model()
    names = {parameter: name for name, parameter in model.classifier.named_parameters()}
    rates: dict[float, set[str]] = {}
    for group in stage_optimizer(model, BOTH, 0.1).param_groups:
        rates.setdefault(group["lr"], set()).update(names[p] for p in group["params"])
    assert all(name.startswith("score.") for name in rates[5e-4])
    assert rates[5e-4] | rates[1e-5] == set(names.values())


def test_filters_norms_and_biases_do_not_decay_and_all_else_does() -> None:
    model = small_model()
    names = {parameter: name for name, parameter in model.classifier.named_parameters()}
    decayed: dict[bool, set[str]] = {True: set(), False: set()}
    for group in stage_optimizer(model, BOTH, 0.1).param_groups:
        decayed[group["weight_decay"] > 0].update(names[p] for p in group["params"])
    layer = "hyena.backbone.layers.0"
    assert {
        f"{layer}.mixer.in_proj.weight",
        f"{layer}.mixer.short_filter.weight",
        f"{layer}.mlp.fc1.weight",
        "score.dense.weight",
    } <= decayed[True]
    assert {
        f"{layer}.mixer.filter_fn.bias",
        f"{layer}.mixer.filter_fn.implicit_filter.0.weight",
        f"{layer}.mixer.filter_fn.implicit_filter.1.freq",
        f"{layer}.mixer.in_proj.bias",
        f"{layer}.norm1.weight",
        "hyena.backbone.ln_f.bias",
    } <= decayed[False]
    assert not any(
        "filter_fn" in name or "norm" in name or "bias" in name for name in decayed[True]
    )
    assert not decayed[True] & decayed[False]
    assert decayed[True] | decayed[False] == set(names.values())


@pytest.mark.parametrize("backbone_rate", [None, 1e-5])
def test_adapters_train_only_with_the_backbone(backbone_rate: float | None) -> None:
    model = small_model(enabled=True, rank=2)
    stage = Stage(epochs=1, backbone_rate=backbone_rate, head_rate=1e-3)
    stage_optimizer(model, stage, 0.1)
    trained = {n for n, p in model.classifier.named_parameters() if p.requires_grad}
    assert any("lora_" in name for name in trained) == (backbone_rate is not None)
    assert all("lora_" in name or name.startswith("score.") for name in trained)
