"""Models that are fitted to all windows at once pass through the same run as all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED, codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.untrained import zhunt_scores
from hyena_ray.model.saved import load_window_model, model_sha256
from hyena_ray.training.evaluation import evaluate
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import HISTORY, MODEL, EpochReport, RunResult, train_run
from tests.search.unread_data import prepared
from tests.training.held_out_rows import held_out

WINDOW, FLANK = 50, 24
PAIRS = ((3, 3), (8, 8), (4, 6))
CHANGES: dict[str, dict[str, Any]] = {
    "zhunt": {"model.zhunt_windows": [list(pair) for pair in PAIRS]},
    "trees": {"model.trees": 20, "model.tree_shrinkage": 0.3, "model.smallest_leaf": 1},
}


def settings_of(architecture: str, **changes: object) -> RunSettings:
    values = {
        "data.length": WINDOW,
        "model.architecture": architecture,
        "readout.flank": FLANK,
        "readout.lookahead": 0,
        "readout.strands": "forward",
    }
    return RunSettings().updated(values | CHANGES[architecture] | changes, "test")


def windows(count: int, seed: int) -> Windows:
    """Random bases; labelled are those in a Z-HUNT window of 8 dinucleotides above 20."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (count, WINDOW + 2 * FLANK), np.uint8)
    inner = slice(FLANK, FLANK + WINDOW)
    labels = (zhunt_scores(codes, (8, 8))[:, inner] > 20).astype(np.int8)
    labels[:, 0] = IGNORED
    ids = np.arange(count)
    tokens = codes_to_tokens(codes)
    kinds = np.resize(np.array([0, 1, 1, 3], np.uint8), count)
    return Windows(ids, np.full(count, "c"), ids * WINDOW, tokens, labels, kinds)


TRAIN, VALIDATION = ArraySource(windows(150, 0)), held_out(windows(80, 1))


def run(
    folder: Path,
    settings: RunSettings,
    stop_after: int | None = None,
    train: ArraySource | None = None,
) -> tuple[RunResult | None, list[EpochReport]]:
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> None:
        reports.append(epoch)
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    try:
        source = train or TRAIN
        result = train_run(settings, source, VALIDATION, folder, report, fingerprint="f")
    except KeyboardInterrupt:
        return None, reports
    return result, reports


@pytest.mark.parametrize("architecture", CHANGES)
def test_the_kept_model_scores_what_its_fit_reported(architecture: str, tmp_path: Path) -> None:
    settings = settings_of(architecture)
    result, reports = run(tmp_path / "run", settings)
    assert result is not None
    fits = settings.total_epochs
    assert [(r.epoch, r.epochs) for r in reports] == [(n + 1, fits) for n in range(fits)]
    assert read_json(tmp_path / "run" / HISTORY) == [r.metrics for r in reports]
    scores = [r.metrics[settings.metric] for r in reports]
    assert result.best_epoch == 1 + scores.index(max(scores))
    assert result.metrics == reports[result.best_epoch - 1].metrics
    assert result.trainable_share == 1.0
    model = load_window_model(tmp_path / "run" / MODEL)
    weights = class_weights(settings.training)
    metrics = evaluate(model, VALIDATION, weights).record()
    assert metrics == {name: result.metrics[name] for name in metrics}


def test_validation_chooses_the_windows_of_z_hunt_that_made_the_labels(tmp_path: Path) -> None:
    result, reports = run(tmp_path / "run", settings_of("zhunt"))
    assert result is not None
    assert result.best_epoch == 1 + PAIRS.index((8, 8))
    assert load_window_model(result.model_folder).classifier.config.dinucleotides == [8, 8]
    # The threshold that made the labels is among those that the score has.
    assert result.metrics["f1"] == 1.0
    assert all(report.metrics["f1"] < 0.9 for report in reports if report.epoch != 2)


def test_trees_learn_what_z_hunt_says(tmp_path: Path) -> None:
    result, _ = run(tmp_path / "run", settings_of("trees"))
    assert result is not None
    assert result.metrics["average_precision"] > 0.9


@pytest.mark.parametrize("architecture", CHANGES)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(architecture: str, tmp_path: Path) -> None:
    settings = settings_of(architecture)
    whole, _ = run(tmp_path / "whole", settings)
    assert run(tmp_path / "resumed", settings, stop_after=1)[0] is None
    resumed, _ = run(tmp_path / "resumed", settings)
    assert whole is not None
    assert resumed is not None
    assert (resumed.best_epoch, resumed.metrics) == (whole.best_epoch, whole.metrics)
    digests = {model_sha256(load_window_model(r.model_folder)) for r in (whole, resumed)}
    assert len(digests) == 1


def test_a_fit_reads_the_windows_of_the_first_epoch(tmp_path: Path) -> None:
    held, shares, settings = windows(150, 0), "random:1,tract:0.5", settings_of("trees")
    rows = NegativeDraw.of(held.kind, shares).rows(epoch=0, seed=settings.training.seed)
    sources = (ArraySource(held, shares), ArraySource(held.rows(rows)), TRAIN)
    found = [
        run(tmp_path / str(number), settings, train=source)[1]
        for number, source in enumerate(sources)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("architecture", "task"), [("zhunt", "g4"), ("zhunt", "promoter"), ("trees", "promoter")]
)
def test_a_task_that_an_architecture_is_not_made_for_is_refused_in_one_line(
    architecture: str, task: str
) -> None:
    settings = RunSettings.for_task(task).updated({"model.architecture": architecture}, "test")
    message = f"here: model.architecture: {architecture}: is made for zdna.*the task is {task}"
    with pytest.raises(InputError, match=message) as refusal:
        check_run_fits(settings, prepared(task), "here", gpu=False)
    assert "\n" not in str(refusal.value)
