"""A trial tells Tune of every epoch, also of those that a killed one had no time to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hyena_ray.cluster.feeds import SharedData
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.devices import DeviceError
from hyena_ray.search import trial
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial import TrialPlan, run_trial
from hyena_ray.search.trial_fields import EPOCH, FINISHED, PROBLEM
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource, WindowSource
from hyena_ray.training.supervised import EpochReport, train_run
from hyena_ray.training.trainer import DivergenceError, Trainer
from tests.training.held_out_rows import held_out

EPOCHS = 3
SPACE = SearchSpace.parse(
    {
        "task": "zdna",
        "settings": {
            "data.length": 20,
            "model.d_model": 8,
            "model.n_layer": 1,
            "model.max_seq_len": 64,
            "readout.flank": 4,
            "readout.lookahead": 4,
            "training.epochs": EPOCHS,
        },
        "search": {"training.learning_rate": {"low": 0.001, "high": 0.01}},
    },
    "test",
)
CONFIG = {"number": 0, "values": {"training.learning_rate": 0.005}}


class InMemory:
    """A handle of windows that need no Ray."""

    def open(
        self,
        limit: int | None = None,
        workers: Workers | None = None,
        negatives: str | None = None,
    ) -> WindowSource:
        return ArraySource(windows())


class InProcess(NamedTuple):
    """A shared value that needs no Ray."""

    value: HeldOut

    def get(self) -> HeldOut:
        return self.value


def windows() -> Windows:
    rng = np.random.default_rng(0)
    tokens = rng.integers(7, 11, (48, 28), np.uint8)
    labels = (tokens[:, 4:24] == 8).astype(np.int8)
    ids = np.arange(48)
    return Windows(ids, np.full(48, "c"), ids * 20, tokens, labels, np.ones(48, np.uint8))


@pytest.fixture
def plan(tmp_path: Path) -> TrialPlan:
    data = SharedData({20: InMemory()}, InProcess(held_out(windows())))
    # With a GPU, because a trial without one would hide all GPUs from the process of the tests.
    return TrialPlan(SPACE, tmp_path, data, threads=1, resources=TrialResources(gpu=1), search="s")


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    monkeypatch.setattr(trial.tune, "report", results.append)
    return results


@pytest.mark.parametrize("killed_after", [0, 1, 2, 3])
def test_every_epoch_is_reported_once_whenever_a_trial_was_killed(
    plan: TrialPlan, reports: list[dict[str, Any]], killed_after: int
) -> None:
    def report(epoch: EpochReport) -> None:
        if epoch.epoch == killed_after:
            raise KeyboardInterrupt

    if killed_after:
        settings = SPACE.run_settings(CONFIG["values"])
        with pytest.raises(KeyboardInterrupt):
            train_run(
                settings,
                InMemory().open(),
                held_out(windows()),
                plan.folder_of(0),
                report,
                fingerprint=plan.fingerprint_of(CONFIG["values"]),
            )
    run_trial(CONFIG, plan)
    assert [result[EPOCH] for result in reports] == [1, 2, 3]
    assert [result[FINISHED] for result in reports] == [False, False, True]
    curve = EventAccumulator(str(plan.events_of(0)))
    curve.Reload()
    # The last report has the figures of the best epoch, the curve those of the last.
    history = torch.load(plan.folder_of(0) / CHECKPOINT, weights_only=True)["history"]
    assert [event.step for event in curve.Scalars("loss")] == [1, 2, 3]
    losses = [metrics["loss"] for metrics in history]
    assert [event.value for event in curve.Scalars("loss")] == pytest.approx(losses)


@pytest.mark.parametrize(
    "error",
    [
        DivergenceError("the loss is nan at step 1"),
        DeviceError("training", "512 windows in a pass", "does not fit", "use fewer"),
    ],
)
def test_a_failure_caused_by_the_settings_is_reported_and_not_tried_again(
    plan: TrialPlan,
    reports: list[dict[str, Any]],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(Trainer, "step", fails)
    run_trial(CONFIG, plan)
    [result] = reports
    assert result[FINISHED]
    assert result[PROBLEM] == str(error)


def test_a_trial_has_no_folder_but_that_of_its_number(tmp_path: Path) -> None:
    data = SharedData({}, InProcess(held_out(windows())))
    plan = TrialPlan(SPACE, tmp_path, data, threads=1, resources=TrialResources(), search="s")
    assert plan.folder_of(12) == tmp_path / "trials" / "0012"
    with pytest.raises(ValueError, match="format code"):
        plan.folder_of("../../x")
