"""A run learns what was planted, and an interrupted one ends in the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.negatives import KINDS
from hyena_ray.model.devices import default_device
from hyena_ray.model.saved import load_window_model
from hyena_ray.training.distillation import teach
from hyena_ray.training.evaluation import calibrate, evaluate
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import (
    HISTORY,
    DivergenceError,
    EpochReport,
    RunResult,
    new_model,
    train_run,
)
from tests.training.held_out_rows import held_out

WINDOW, FLANK = 20, 8
AHEAD = 3
SETTINGS = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 16,
        "model.n_layer": 1,
        "model.max_seq_len": 64,
        "readout.flank": FLANK,
        "readout.lookahead": AHEAD + 1,
        "training.epochs": 3,
        "training.batch_size": 16,
        "training.learning_rate": 3e-3,
    },
    "test",
)


def planted(count: int, seed: int, length: int = WINDOW) -> Windows:
    """Random bases; a base is labelled where a C stands `AHEAD` bases to its right."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, 11, (count, length + 2 * FLANK), np.uint8)
    labels = (tokens[:, FLANK + AHEAD : FLANK + AHEAD + length] == 8).astype(np.int8)
    ids = np.arange(count) * length
    kinds = np.resize(np.array([KINDS[name] for name in KINDS], np.uint8), count)
    return Windows(ids, np.full(count, "c"), ids, tokens, labels, kinds)


PLANTED = planted(128, 0)
TRAIN = ArraySource(PLANTED)
# Three windows of a stretch, of which the last two overlap.
VALIDATION = held_out(planted(24, 1, length=3 * WINDOW - 7))


TEACHER = new_model(
    SETTINGS.updated({"model.architecture": "kmer_logistic", "model.k": 3}, "teacher")
)


def run(folder: Path, changes: dict[str, Any], stop_after: int | None = None) -> RunResult:
    """Train; with `stop_after`, break off as a killed driver would after that epoch."""

    def report(epoch: EpochReport) -> None:
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    settings = SETTINGS.updated(changes, "test")
    train = ArraySource(PLANTED, settings.data.negatives)
    if settings.training.teacher_share is not None:
        train = teach(train, TEACHER, both_strands=True)
    return train_run(
        settings, train, VALIDATION, folder, report, fingerprint=settings.fingerprint()
    )


# The rule holds on the given strand alone.
LEARN = {
    "training.epochs": 6,
    "training.learning_rate": 1e-2,
    "training.reverse_complement": False,
    "readout.strands": "forward",
}


def test_a_base_to_the_right_is_seen_with_lookahead(tmp_path: Path) -> None:
    assert run(tmp_path, LEARN).metrics["f1"] > 0.95


def test_a_base_to_the_right_is_not_seen_without(tmp_path: Path) -> None:
    metrics = run(tmp_path, {**LEARN, "readout.lookahead": AHEAD - 1}).metrics
    assert metrics["roc_auc"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(
    ("changes", "stop_after"),
    [
        ({}, 1),
        ({"data.negatives": "random:0.5,tract:0.5"}, 1),
        ({"training.schedule": "plateau", "model.dropout": 0.2}, 2),
        ({"training.stages": "two_stage", "training.head_stage_epochs": 2}, 1),
        ({"training.stages": "two_stage", "training.head_stage_epochs": 2}, 2),
        ({"training.stages": "two_stage", "training.head_stage_epochs": 2}, 4),
        ({"lora.enabled": True, "lora.rank": 2}, 2),
        ({"training.ema_decay": 0.9}, 1),
        ({"training.soft_edges": 2, "training.shortest_crop": 12}, 1),
        ({"training.teacher_share": 0.4, "training.soft_edges": 1, "model.dropout": 0.2}, 2),
        ({"training.ema_decay": 0.9, "model.architecture": "dilated_cnn", "model.channels": 8}, 2),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    tmp_path: Path, changes: dict[str, Any], stop_after: int
) -> None:
    calm = run(tmp_path / "calm", changes)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", changes, stop_after)
    resumed = run(tmp_path / "broken", changes)
    assert (resumed.best_epoch, resumed.metrics) == (calm.best_epoch, calm.metrics)
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("calm", "broken")
    ]
    assert states[0]["history"] == states[1]["history"]
    for part in ("model", "average"):
        for name, weight in states[0][part].items():
            assert torch.equal(weight, states[1][part][name]), name


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_kept_model_scores_what_its_epoch_reported(tmp_path: Path, ema_decay: float) -> None:
    result = run(tmp_path, {"training.ema_decay": ema_decay})
    weights = class_weights(SETTINGS.training)
    model = load_window_model(result.model_folder).to(default_device())
    again = evaluate(model, VALIDATION, weights)
    reported = {name: value for name, value in result.metrics.items() if name != "train_loss"}
    assert again.record() == pytest.approx(reported, rel=1e-6)
    assert again.tiles is not None
    assert model.tile_threshold == again.tiles.threshold == result.metrics["tile_threshold"]


def test_a_frozen_backbone_does_not_move(tmp_path: Path) -> None:
    changes = {"training.stages": "two_stage", "training.weight_decay": 0.5}
    states = []
    for epoch in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, changes, stop_after=epoch)
        states.append(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"])
    moved = {name for name, weight in states[0].items() if not torch.equal(weight, states[1][name])}
    assert moved
    assert all("backbone" not in name and "hyena" not in name for name in moved)


def test_the_history_of_every_epoch_is_kept_through_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {}, stop_after=2)
    assert len(read_json(tmp_path / HISTORY)) == 2
    result = run(tmp_path, {})
    history = read_json(tmp_path / HISTORY)
    assert len(history) == 3
    assert history[result.best_epoch - 1] == result.metrics


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    seen: list[int] = []
    changes = {"training.epochs": 30, "training.patience": 2, "training.learning_rate": 1e-7}
    train_run(
        SETTINGS.updated(changes, "test"),
        TRAIN,
        VALIDATION,
        tmp_path,
        lambda epoch: seen.append(epoch.epoch),
        fingerprint="f",
    )
    assert len(seen) < 30


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="lower the learning rate"):
        run(tmp_path, {"training.learning_rate": 1e18, "training.warmup": 0.0})


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    run(tmp_path, {"training.epochs": 1})
    with pytest.raises(InputError, match="other settings"):
        run(tmp_path, {"training.epochs": 2})


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, {"training.epochs": 1})
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        run(tmp_path, {"training.epochs": 1})


def test_windows_without_a_positive_are_refused(tmp_path: Path) -> None:
    ids = np.arange(4)
    empty = Windows(
        ids,
        np.full(4, "c"),
        ids,
        np.full((4, WINDOW + 2 * FLANK), 7, np.uint8),
        np.zeros((4, WINDOW), np.int8),
        np.ones(4, np.uint8),
    )
    for train, validation in ((ArraySource(empty), VALIDATION), (TRAIN, held_out(empty))):
        with pytest.raises(InputError, match="both classes"):
            train_run(
                SETTINGS, train, validation, tmp_path / "run", lambda epoch: None, fingerprint="f"
            )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "metric",
    [None, "average_precision", "roc_auc", "f1", "mcc", "tile_f1", "tile_average_precision"],
)
def test_the_metric_that_was_asked_for_chooses_the_epoch(
    tmp_path: Path, metric: str | None
) -> None:
    changes = {"training.metric": metric, "training.epochs": 4, "training.learning_rate": 1e-2}
    result = run(tmp_path, changes)
    history = read_json(tmp_path / HISTORY)
    scores = [epoch[metric or "average_precision"] for epoch in history]
    assert scores[result.best_epoch - 1] == max(scores)
    assert SETTINGS.updated(changes, "test").metric == (metric or "average_precision")


@pytest.mark.parametrize(
    ("metric", "chosen_for"),
    [(None, "f1"), ("roc_auc", "f1"), ("tile_f1", "f1"), ("mcc", "mcc"), ("tile_mcc", "mcc")],
)
def test_the_threshold_is_chosen_for_f1_or_for_mcc_where_that_is_the_metric(
    tmp_path: Path, metric: str | None, chosen_for: str
) -> None:
    changes = {"training.metric": metric, "training.epochs": 1}
    result = run(tmp_path, changes)
    assert SETTINGS.updated(changes, "test").threshold_metric == chosen_for
    model = load_window_model(result.model_folder).to(default_device())
    threshold = model.threshold
    best = calibrate(model, VALIDATION, class_weights(SETTINGS.training), chosen_for)
    assert best.metrics.threshold == pytest.approx(threshold, rel=1e-6)
    assert getattr(best.metrics, chosen_for) == pytest.approx(result.metrics[chosen_for], rel=1e-6)


def test_of_promoters_mcc_chooses_epoch_and_threshold() -> None:
    settings = RunSettings.for_task("promoter")
    assert (settings.metric, settings.threshold_metric) == ("mcc", "mcc")


@pytest.mark.parametrize("figure", [0.98765, 0.00004321, 12.3456, float("nan")])
def test_the_line_of_an_epoch_fits_behind_a_date_into_80_columns(figure: float) -> None:
    names = ("train_loss", "loss", "average_precision", "f1", "mcc", "tile_f1")
    line = str(EpochReport(100, 100, dict.fromkeys(names, figure)))
    assert len(f"2026-12-01 10:00:00 {line}") <= 80 + (figure > 1) * 4  # a share is at most 1
    assert line.startswith("epoch 100 of 100: loss ")
