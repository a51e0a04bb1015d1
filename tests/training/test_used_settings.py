"""A setting that is said to have no effect changes nothing, and any other setting something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.errors import InputError
from hyena_ray.model.backbone import HyenaDNALanguageModel
from hyena_ray.model.backbone_table import BACKBONES
from hyena_ray.model.configuration import LANGUAGE_MODEL, HyenaConfig
from hyena_ray.model.pretrained import write_model
from hyena_ray.settings import used_where
from hyena_ray.tasks import task_named
from hyena_ray.training.augmentation import Augmentation
from hyena_ray.training.fitting import fit_candidates
from hyena_ray.training.loaders import HOST, ArraySource, Batch, DeviceRows
from hyena_ray.training.losses import class_weights, training_loss
from hyena_ray.training.preflight import build_untrained
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.soft_targets import training_targets
from hyena_ray.training.stages import stage_optimizer, training_stages

STORED = 40
"""Bases on each side of the windows that every model is shown."""
WINDOWS = 32
SMALL: dict[str, Any] = {
    "model.d_model": 16,
    "model.n_layer": 1,
    "model.max_seq_len": 128,
    "model.channels": 8,
    "model.k": 3,
    "model.radius": 4,
}
BASES = {"data.length": 24, "readout.flank": 8, "readout.lookahead": 2}
LORA = {"lora.enabled": True, "lora.rank": 2, "lora.alpha": 4, "lora.dropout": 0.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "as it is": ("zdna", BASES),
    "focal loss": ("zdna", BASES | {"training.loss": "focal"}),
    "a head without lookahead": ("zdna", BASES | {"model.head": "linear"}),
    "discriminative": ("zdna", BASES | {"training.stages": "discriminative"}),
    "two stages": ("zdna", BASES | {"training.stages": "two_stage"}),
    "frozen": ("zdna", BASES | {"training.stages": "frozen"}),
    "adapters": ("zdna", BASES | LORA),
    "adapters of the short filter": ("zdna", BASES | LORA | {"lora.targets": "short_filter"}),
    "adapters of the embeddings": ("zdna", BASES | LORA | {"lora.targets": "embeddings"}),
    "adapters and biases": ("zdna", BASES | LORA | {"lora.targets": "ffn", "lora.biases": True}),
    "adapters of a transformer": ("zdna", BASES | LORA | {"model.architecture": "transformer"}),
    "a backbone": ("zdna", BASES | {"model.backbone": "BACKBONE"}),
    "adapters on a backbone": ("zdna", BASES | LORA | {"model.backbone": "BACKBONE"}),
    **{
        architecture: ("zdna", BASES | {"model.architecture": architecture})
        for architecture in (*BACKBONES, "dilated_cnn", "bilstm", "kmer_logistic", "rule")
    },
    **{
        f"{architecture} of sequences": ("promoter", {"model.architecture": architecture})
        for architecture in ("hyenadna", "dilated_cnn", "bilstm", "kmer_logistic", "rule")
    },
}
OTHER_VALUES: dict[str, Any] = {
    "model.d_model": 24,
    "model.n_layer": 2,
    "model.n_head": 2,
    "model.max_seq_len": 100,
    "model.filters": "published",
    "model.channels": 12,
    "model.k": 2,
    "model.radius": 3,
    "model.dropout": 0.3,
    "model.head": "electra",
    "model.pooling": "mean",
    "readout.flank": 2,
    "readout.lookahead": 1,
    "readout.tracks": ["zhunt"],
    "readout.special_tokens": True,
    "lora.rank": 3,
    "lora.alpha": 5,
    "lora.dropout": 0.4,
    "lora.targets": "mixer",
    "lora.biases": True,
    "training.learning_rate": 1e-4,
    "training.head_stage_epochs": 5,
    "training.head_stage_rate": 1e-4,
    "training.backbone_rate": 1e-4,
    "training.head_rate": 1e-4,
    "training.filter_rate": 0.5,
    "training.focal_gamma": 1.0,
    "training.shortest_crop": 20,
    "training.soft_edges": 2,
    "training.teacher_share": 0.3,
}
OTHER_VALUES_OF_FITS: dict[str, Any] = {
    "model.zhunt_windows": [[5, 5], [6, 6]],
    "model.trees": 2,
    "model.tree_depth": 1,
    "model.tree_shrinkage": 0.5,
    "model.tree_fraction": 0.5,
    "model.tree_features": 0.1,
    "model.smallest_leaf": 100,
    "training.stages": "discriminative",
    "training.epochs": 3,
    "training.batch_size": 7,
    "training.accumulation": 2,
    "training.schedule": "linear",
    "training.warmup": 0.2,
    "training.weight_decay": 0.3,
    "training.clip_norm": 0.5,
    "training.ema_decay": 0.9,
    "training.loss": "focal",
    "training.soft_edges": 2,
    "training.teacher_share": 0.3,
    "training.reverse_complement": False,
    "training.permute_labels": True,
    "training.precision": "bfloat16",
    "training.patience": 2,
}
"""Settings of models that are fitted at once, and those that all others have."""
REFUSED_OF_SEQUENCES = {
    *("readout.flank", "readout.lookahead", "readout.tracks", "training.shortest_crop"),
    "training.soft_edges",
}
NOT_TRIED = {
    "model.backbone",  # a part of the cases; other architectures refuse it
    "model.revision",  # of a hub id, which must be downloaded
    "lora.enabled",  # likewise
    "training.checkpoint_activations",  # changes memory alone; other architectures refuse it
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = HyenaConfig(d_model=16, max_seq_len=128)
    write_model(folder, config, HyenaDNALanguageModel(config).state_dict(), LANGUAGE_MODEL)
    return folder


def observed(settings: RunSettings) -> Iterator[object]:
    """Yield all that a run would do differently: weights, gradients, rates, epochs, crops."""
    model = build_untrained(settings).train()
    numbers = np.random.default_rng(0)
    length = settings.data.length
    of_bases = task_named(settings.task).kind == "base"
    stored = STORED if of_bases else 0
    shape = (WINDOWS, length + 2 * stored)
    tokens = torch.from_numpy(numbers.integers(FIRST_BASE, FIRST_BASE + 4, shape).astype(np.uint8))
    labels = numbers.integers(0, 2, (WINDOWS, length if of_bases else 1)).astype(np.int8)
    said = numbers.random(labels.shape, np.float32)
    recipe = settings.training
    torch.manual_seed(1)
    rows = DeviceRows(labels, resident=False), np.arange(WINDOWS)
    batch = Batch(
        DeviceRows(tokens.numpy(), resident=False), *rows, DeviceRows(said, resident=False)
    )
    targets = training_targets(batch, recipe, HOST)
    loss = training_loss(recipe)(model(tokens), targets, class_weights(recipe))
    loss.total.backward()
    yield loss.total.detach()
    for name, parameter in model.named_parameters():
        yield name
        yield parameter.detach()
        yield parameter.grad
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for stage in training_stages(recipe):
        yield stage.epochs
        for group in stage_optimizer(model, stage, recipe.weight_decay).param_groups:
            yield sorted(names[id(p)] for p in group["params"]), group["lr"]
    changes = Augmentation(recipe, 0).draw(WINDOWS, length)
    yield changes.removed


@pytest.mark.parametrize("case", CASES)
def test_a_setting_is_unused_exactly_where_another_value_changes_nothing(
    case: str, backbone: Path
) -> None:
    task, given = CASES[case]
    given = {key: str(backbone) if value == "BACKBONE" else value for key, value in given.items()}
    settings = RunSettings.for_task(task).updated({**SMALL, **given}, "test")
    before, unused = list(observed(settings)), settings.unused()
    for key, value in OTHER_VALUES.items():
        if task == "promoter" and key in REFUSED_OF_SEQUENCES:
            assert key in unused
            continue
        if given.get(key) == value:
            continue
        changed = settings.updated({key: value}, "test")
        try:
            same = alike(before, list(observed(changed)))
        except InputError:  # refused, rather than ignored
            same = True
        assert same == (key in unused), key


def alike(before: list[object], after: list[object]) -> bool:
    """Whether two runs observed the same, but for the rounding of transforms of other lengths."""
    return len(before) == len(after) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-5)
        if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
        else type(one) is type(other) and one == other
        for one, other in zip(before, after, strict=True)
    )


class NoValidation:
    """A plan that scores nothing and keeps nothing."""

    def evaluate(self, model: Any, steps: int, losses: list[float]) -> dict[str, float]:
        return {"loss": losses[0]}

    def after_evaluation(self, model: Any, history: list[dict[str, float]]) -> float:
        return 0.0


def observed_fits(settings: RunSettings) -> Iterator[object]:
    """Yield the losses of all fits, and the weights of the last."""
    numbers, length = np.random.default_rng(0), settings.data.length
    windows = Windows(
        window_id=np.arange(WINDOWS),
        contig=np.full(WINDOWS, "chr1"),
        start=length * np.arange(WINDOWS),
        tokens=FIRST_BASE + numbers.integers(0, 4, (WINDOWS, length + 2 * STORED), dtype=np.uint8),
        labels=numbers.integers(0, 2, (WINDOWS, length), dtype=np.int8),
        kind=np.ones(WINDOWS, np.uint8),
    )
    model: Any = build_untrained(settings)
    plan: Any = NoValidation()
    yield fit_candidates(model, settings, ArraySource(windows), plan, lambda number, record: None)
    yield from model.state_dict().values()


@pytest.mark.parametrize("architecture", ["zhunt", "trees"])
def test_the_same_holds_for_models_that_are_fitted_at_once(architecture: str) -> None:
    small = {"model.zhunt_windows": [[4, 4], [6, 6]], "model.trees": 3, "model.smallest_leaf": 1}
    settings = RunSettings.for_task("zdna").updated(
        BASES | small | {"model.architecture": architecture}, "test"
    )
    before, unused = list(observed_fits(settings)), settings.unused()
    for key, value in OTHER_VALUES_OF_FITS.items():
        changed = settings.updated({key: value}, "test")
        assert alike(before, list(observed_fits(changed))) == (key in unused), key


def test_every_setting_whose_effect_depends_on_others_is_tried() -> None:
    conditional = {key for key, where in used_where(RunSettings).items() if where}
    assert conditional == OTHER_VALUES.keys() | OTHER_VALUES_OF_FITS.keys() | NOT_TRIED
