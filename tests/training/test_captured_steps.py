"""Recorded steps, and losses that are read rarely, do not change the trained model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import InputError
from hyena_ray.training import ema
from hyena_ray.training import trainer as module
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.training.genome_stream import PackedBases, WindowStream
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.pretraining import StepReport, pretrain
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import PretrainSettings, RunSettings
from hyena_ray.training.supervised import train_run
from hyena_ray.training.trainer import (
    LOOK,
    DivergenceError,
    Optimization,
    Phase,
    Record,
    StepBatch,
    Trainer,
)
from tests.fake_graphs import FakeGraphs
from tests.training.held_out_rows import held_out

WINDOW, FLANK = 20, 8
SUPERVISED = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 8,
        "model.n_layer": 1,
        "model.channels": 8,
        "readout.flank": FLANK,
        "readout.lookahead": 4,
        "training.epochs": 3,
        "training.batch_size": 8,
    },
    "test",
)
PRETRAINING = PretrainSettings().updated(
    {
        "model.d_model": 8,
        "model.n_layer": 1,
        "training.lengths": [16, 32],
        "training.tokens_per_step": 256,
        "training.tokens_per_pass": 128,
        "training.steps": 30,
        "training.checkpoint_every": 7,
        "training.evaluate_every": 11,
        "masking.lookahead": 4,
    },
    "test",
)


@pytest.fixture
def made_graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraphs]:
    """Record steps and read losses only every five steps, as on a GPU."""
    made: list[FakeGraphs] = []

    def make(device: torch.device) -> FakeGraphs:
        made.append(FakeGraphs(device))
        return made[-1]

    for user in (module, ema):
        monkeypatch.setattr(user, "Replay", make)
    monkeypatch.setitem(LOOK, "cpu", 5)
    return made


def windows(count: int) -> Windows:
    rng = np.random.default_rng(0)
    tokens = rng.integers(7, 11, (count, WINDOW + 2 * FLANK), np.uint8)
    labels = rng.integers(0, 2, (count, WINDOW)).astype(np.int8)
    labels[::3, :4] = IGNORED
    ids = np.arange(count)
    return Windows(ids, np.full(count, "c"), ids * WINDOW, tokens, labels, np.ones(count, np.uint8))


def supervised_run(
    folder: Path, changes: dict[str, Any], stop_after: int | None = None
) -> dict[str, Any]:
    """Train, or stop after an epoch, and return the state that was saved last."""

    def report(epoch: Any) -> None:
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    settings = SUPERVISED.updated(changes, "test")
    probabilities = np.random.default_rng(1).random((70, WINDOW), np.float32)
    try:
        train_run(
            settings,
            ArraySource(windows(70)).taught(probabilities),
            held_out(windows(20)),
            folder,
            report,
            fingerprint="f",
        )
    except KeyboardInterrupt:
        assert stop_after is not None
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)
    return state


def pretraining_run(
    folder: Path, objective: str, stop_after: int | None = None
) -> tuple[list[StepReport], dict[str, Tensor]]:
    """Train, or stop after a step, and return the reports and the weights that were saved last."""
    settings = PRETRAINING.updated({"objective": objective}, "test")
    codes = np.random.default_rng(0).integers(0, 4, 3000, np.uint8)
    stream = WindowStream(PackedBases.of([(0, codes)]), settings)
    reports: list[StepReport] = []

    def report(step: StepReport) -> None:
        reports.append(step)
        if step.step == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    held_out = {"c": codes[:320].reshape(-1, 32)}
    try:
        pretrain(settings, stream.batches, held_out, folder, report, fingerprint="f")
    except KeyboardInterrupt:
        assert stop_after is not None
    weights: dict[str, Tensor] = torch.load(folder / CHECKPOINT, weights_only=True)["model"]
    return reports, weights


def assert_equal(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert state["history"] == expected["history"]
    for part in ("model", "average"):
        assert state[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            assert torch.equal(state[part][name], value), name


@pytest.mark.parametrize(
    "changes",
    [
        {"model.dropout": 0.2, "training.ema_decay": 0.9},
        {"training.shortest_crop": 18, "training.accumulation": 2, "training.loss": "focal"},
        {"model.architecture": "dilated_cnn", "training.ema_decay": 0.9},
        {"training.stages": "two_stage", "training.head_stage_epochs": 2},
        {"training.soft_edges": 2, "training.teacher_share": 0.4, "training.loss": "focal"},
    ],
    ids=["dropout", "crops", "cnn", "stages", "soft"],
)
def test_a_recorded_run_ends_with_the_bits_of_an_eager_one_and_so_does_a_resumed_run(
    tmp_path: Path, changes: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    plain = supervised_run(tmp_path / "plain", changes)
    made_graphs: list[FakeGraphs] = request.getfixturevalue("made_graphs")
    assert_equal(supervised_run(tmp_path / "captured", changes), plain)
    assert sum(graphs.graphs for graphs in made_graphs) > 0
    supervised_run(tmp_path / "resumed", changes, stop_after=1)
    assert_equal(supervised_run(tmp_path / "resumed", changes), plain)


@pytest.mark.parametrize("objective", ["next_base", "masked"])
def test_every_step_is_reported_in_order_however_rarely_losses_are_read(
    tmp_path: Path, objective: str, request: pytest.FixtureRequest
) -> None:
    expected, weights = pretraining_run(tmp_path / "plain", objective)
    request.getfixturevalue("made_graphs")
    reports, captured = pretraining_run(tmp_path / "captured", objective)
    assert reports == expected
    assert all(torch.equal(captured[name], value) for name, value in weights.items())
    for stop_after in (9, 22):
        before, _ = pretraining_run(tmp_path / f"{stop_after}", objective, stop_after)
        assert before == expected[:stop_after]
        rest, resumed = pretraining_run(tmp_path / f"{stop_after}", objective)
        assert rest == expected[stop_after // 7 * 7 :], "resumes from the last checkpoint"
        assert all(torch.equal(resumed[name], value) for name, value in weights.items())


class Line:
    """A plan of ten steps of linear regression, saved every four steps; the loss of one is NaN."""

    def __init__(self, model: nn.Module, bad: int) -> None:
        self._model = model
        self._bad = bad

    def phases(self, steps: int) -> Iterator[Phase]:
        yield Phase(0, 10, 0, self._batches(steps))

    def _batches(self, steps: int) -> Iterator[StepBatch]:
        for number in range(steps + 1, 11):
            targets = torch.full((2, 1), math.nan if number == self._bad else float(number))
            yield StepBatch(torch.ones(2, 1), targets, torch.tensor(2.0), rows=2)

    def optimization(self, stage: int) -> Optimization:
        optimizer = SGD(self._model.parameters(), lr=0.1)
        return Optimization.of(optimizer, Schedule(optimizer, "constant", 10, 0.0))

    def evaluates_after(self, steps: int) -> bool:
        return steps == 10

    def saves_after(self, steps: int) -> bool:
        return steps % 4 == 0

    def evaluate(self, model: nn.Module, steps: int, losses: list[float]) -> Record:
        return {"losses": len(losses)}

    def after_evaluation(self, model: nn.Module, history: list[Record]) -> float | None:
        return None

    def is_over(self, history: list[Record]) -> bool:
        return False


@pytest.mark.parametrize("bad", [2, 4, 6, 8, 9, 10])
def test_a_step_that_diverges_is_named_and_never_saved(
    tmp_path: Path, bad: int, made_graphs: list[FakeGraphs]
) -> None:
    model: nn.Module = nn.Linear(1, 1)
    trainer = Trainer(model, lambda outputs, targets: (outputs - targets).square().sum())
    steps: list[int] = []
    with pytest.raises(DivergenceError, match=rf"nan at step {bad};"):
        trainer.fit(
            Line(model, bad),
            tmp_path,
            fingerprint="f",
            on_step=lambda step, loss, record: steps.append(step),
        )
    saved = (bad - 1) // 4 * 4
    assert steps == list(range(1, len(steps) + 1))
    assert saved <= len(steps) < bad
    assert (tmp_path / CHECKPOINT).exists() == (saved > 0)
    if saved:
        state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
        assert (state["steps"], len(state["losses"])) == (saved, saved)
        assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_a_pass_that_runs_out_of_gpu_memory_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. And more.")

    monkeypatch.setattr(module, "Replay", lambda device: out_of_memory)
    monkeypatch.setattr(Trainer, "start_stage", keep_optimization)
    with pytest.raises(InputError, match="8 windows in a pass") as error:
        supervised_run(tmp_path, {})
    assert "\n" not in str(error.value)


def keep_optimization(self: Any, optimization: Optimization) -> None:
    self._optimization = optimization


def test_a_precision_that_the_device_lacks_is_refused_before_a_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.precision.*tf32"):
        supervised_run(tmp_path, {"training.precision": "tf32"})
    assert list(tmp_path.iterdir()) == []
