"""From settings to models: which class, which values, and which parameters belong where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from hyena_ray.errors import InputError
from hyena_ray.model.build import BUILDERS, build_model, parameter_groups
from hyena_ray.model.configuration import CONFIG_CLASSES
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.saved import CLASSIFIERS, load_window_model, save_window_model
from hyena_ray.model.settings import (
    CAUSAL,
    PRETRAINABLE,
    TASKS_OF,
    Architecture,
    LoraSettings,
    ModelSettings,
    Readout,
)
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS, Task

OFF = LoraSettings()
BASES = Readout(window=20, flank=8, lookahead=8)
SEQUENCES = Readout(window=20, flank=0, lookahead=0, strands="forward")
CASES = [
    pytest.param(architecture, task, id=f"{architecture}-{task.name}")
    for architecture in get_args(Architecture)
    for task in TASKS.values()
    if task.name in TASKS_OF.get(architecture, TASKS)
]
WITHOUT_WEIGHTS = [name for name in get_args(Architecture) if name not in PRETRAINABLE]
BIDIRECTIONAL = [name for name in get_args(Architecture) if name not in CAUSAL]
OTHERS = [
    pytest.param(architecture, task, id=f"{architecture}-{task.name}")
    for architecture, tasks in TASKS_OF.items()
    for task in TASKS.values()
    if task.name not in tasks
]


def small(architecture: str, **values: object) -> ModelSettings:
    sizes = {"d_model": 16, "n_head": 2, "channels": 8, "max_seq_len": 64, "k": 2}
    return ModelSettings.parse({"architecture": architecture} | sizes | values, "test")


def built(architecture: str, task: Task, lora: LoraSettings = OFF, **values: object) -> WindowModel:
    readout = BASES if task.kind == "base" else SEQUENCES
    return build_model(small(architecture, **values), readout, lora, task, seed=0).eval()


@pytest.mark.parametrize(("architecture", "task"), CASES)
def test_every_architecture_is_built_for_every_task(architecture: str, task: Task) -> None:
    classifier = built(architecture, task, pooling="mean").classifier
    assert type(classifier) is CLASSIFIERS[classifier.config.model_type]
    assert classifier.config.pooling == (None if task.kind == "base" else "mean")
    ids = torch.randint(7, 12, (2, 30))
    assert classifier(ids).logits.shape == ((2, 30, 2) if task.kind == "base" else (2, 2))


@pytest.mark.parametrize(("architecture", "task"), CASES)
def test_every_model_is_saved_and_loaded(architecture: str, task: Task, tmp_path: Path) -> None:
    model = built(architecture, task, pooling="attention")
    save_window_model(model, tmp_path / "model")
    loaded = load_window_model(tmp_path / "model")
    assert type(loaded.classifier) is type(model.classifier)
    ids = torch.randint(7, 12, (2, 30))
    assert torch.allclose(loaded.classifier(ids).logits, model.classifier(ids).logits, atol=1e-6)


@pytest.mark.parametrize(("architecture", "task"), CASES)
def test_parameter_groups_part_the_head_from_the_rest(architecture: str, task: Task) -> None:
    model = built(architecture, task, pooling="attention")
    backbone, head = parameter_groups(model)
    named = dict(model.classifier.named_parameters())
    in_head = {id(p) for name, p in named.items() if name.startswith(HEAD_PREFIXES)}
    assert {id(p) for p in head} == in_head
    assert {id(p) for p in backbone} == {id(p) for p in named.values()} - in_head
    assert in_head


@pytest.mark.parametrize("biases", [False, True])
def test_with_adapters_the_backbone_group_is_what_they_let_be_trained(biases: bool) -> None:
    model = built("hyenadna", TASKS["zdna"], LoraSettings(enabled=True, rank=2, biases=biases))
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as a stage that freezes the backbone does
    backbone, head = parameter_groups(model)
    assert {id(p) for p in (*backbone, *head)} == trainable
    names = {id(p): name for name, p in model.classifier.named_parameters()}
    assert any("lora_" not in names[id(p)] for p in backbone) == biases


def test_the_settings_reach_the_configurations() -> None:
    task = TASKS["promoter"]
    values = {"head": "electra", "dropout": 0.25, "pooling": "attention"}
    for architecture in ("hyenadna", "dilated_cnn", "bilstm"):
        config = built(architecture, task, **values).classifier.config
        assert (config.head, config.head_dropout, config.pooling) == ("electra", 0.25, "attention")
        assert getattr(config, "hyena_dropout", None) or config.dropout == 0.25
    assert built("kmer_logistic", task, k=3).classifier.config.k == 3
    assert built("rule", TASKS["g4"]).classifier.config.rule == "g4hunter"
    weights = build_model(small("bilstm"), BASES, OFF, TASKS["g4"], (1.0, 8.0), seed=0)
    assert weights.classifier.config.class_weights == [1.0, 8.0]


def test_every_architecture_has_its_builder() -> None:
    assert set(BUILDERS) == set(get_args(Architecture))
    assert set(CLASSIFIERS) == set(CONFIG_CLASSES)


@pytest.mark.parametrize(
    ("architecture", "values"),
    [
        *((name, {"backbone": "somewhere"}) for name in WITHOUT_WEIGHTS),
        ("kmer_logistic", {"head": "electra"}),
        ("rule", {"head": "electra"}),
        ("zhunt", {"head": "electra"}),
        ("trees", {"head": "electra"}),
        *((name, {"head": "lookahead"}) for name in BIDIRECTIONAL),
    ],
)
def test_what_an_architecture_does_not_have_is_refused(
    architecture: str, values: dict[str, str]
) -> None:
    name = next(iter(values))
    with pytest.raises(InputError, match=f"model\\.{name}: .*{architecture} has nothing"):
        built(architecture, TASKS["zdna"], **values)


@pytest.mark.parametrize(("architecture", "task"), OTHERS)
def test_an_architecture_that_is_made_for_other_tasks_is_refused(
    architecture: str, task: Task
) -> None:
    with pytest.raises(InputError, match=f"{architecture}: is made for zdna.* task is {task.name}"):
        built(architecture, task)


def test_a_task_without_a_rule_is_refused() -> None:
    task = replace(TASKS["zdna"], name="triplex")
    with pytest.raises(InputError, match="there is none for triplex"):
        built("rule", task)
