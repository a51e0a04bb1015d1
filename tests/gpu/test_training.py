"""On a GPU, replayed and resumed runs end with the same bits as eager and uninterrupted ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hyena_ray.dataset.schema import Windows
from hyena_ray.model.devices import default_device
from hyena_ray.model.replay import Replay
from hyena_ray.model.window import WindowModel
from hyena_ray.training import loaders, supervised
from hyena_ray.training import trainer as module
from hyena_ray.training.checkpoint import CHECKPOINT
from hyena_ray.training.genome_stream import PackedBases, WindowStream
from hyena_ray.training.loaders import ArraySource, Batch, WindowSource
from hyena_ray.training.pretraining import pretrain
from hyena_ray.training.settings import PretrainSettings, RunSettings
from hyena_ray.training.supervised import new_model, new_trainer, step_batches, train_run
from tests.training.held_out_rows import held_out

pytestmark = pytest.mark.gpu

WINDOW, FLANK, AHEAD = 100, 32, 3
SETTINGS = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 32,
        "model.channels": 16,
        "readout.flank": FLANK,
        "readout.lookahead": FLANK,
        "training.epochs": 3,
        "training.batch_size": 32,
        "training.learning_rate": 3e-3,
    },
    "test",
)
MODELS: list[dict[str, Any]] = [
    {"model.dropout": 0.2, "training.ema_decay": 0.9},
    {"training.shortest_crop": 97, "training.accumulation": 2, "training.loss": "focal"},
    {"readout.tracks": ["composition"], "training.schedule": "plateau"},
    {"model.architecture": "dilated_cnn", "training.ema_decay": 0.9},
    {"model.architecture": "kmer_logistic"},
    {"model.architecture": "rule"},
    {"lora.enabled": True, "lora.rank": 2},
    {"training.stages": "two_stage", "training.head_stage_epochs": 2},
    {"training.precision": "bfloat16"},
    {"training.precision": "tf32"},
    {"training.precision": "float16"},
]


def windows(count: int, seed: int) -> Windows:
    """Return windows of random bases, each labelled if a C is `AHEAD` bases to its right."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(7, 11, (count, WINDOW + 2 * FLANK), np.uint8)
    labels = (tokens[:, FLANK + AHEAD : FLANK + AHEAD + WINDOW] == 8).astype(np.int8)
    ids = np.arange(count)
    return Windows(ids, np.full(count, "c"), ids * WINDOW, tokens, labels, np.ones(count, np.uint8))


def run(
    folder: Path,
    changes: dict[str, Any],
    stop_after: int | None = None,
    train: WindowSource | None = None,
) -> dict[str, Any]:
    """Train, or stop after an epoch, and return the state that was saved last."""

    def report(epoch: Any) -> None:
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    folder.mkdir(exist_ok=True)
    settings = SETTINGS.updated(changes, "test")
    try:
        train_run(
            settings,
            train or ArraySource(windows(500, 0)),
            held_out(windows(150, 1)),
            folder,
            report,
            fingerprint="f",
        )
    except KeyboardInterrupt:
        assert stop_after is not None
    state: dict[str, Any] = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True)
    return state


def assert_equal(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert state["history"] == expected["history"]
    for part in ("model", "average"):
        for name, value in expected[part].items():
            assert torch.equal(state[part][name], value), name


def never_captured(device: torch.device) -> Replay:
    replay = Replay(device)
    replay.captures = False
    return replay


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_a_replayed_run_ends_with_the_bits_of_an_eager_one(
    tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = run(tmp_path / "replayed", changes)
    monkeypatch.setattr(module, "Replay", never_captured)
    monkeypatch.setitem(module.LOOK, "cuda", 1)
    assert_equal(run(tmp_path / "eager", changes), replayed)


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    calm = run(tmp_path / "calm", changes)
    run(tmp_path / "broken", changes, stop_after=2)
    assert_equal(run(tmp_path / "broken", changes), calm)


@pytest.mark.parametrize("objective", ["next_base", "masked"])
def test_a_resumed_pretraining_ends_with_the_same_bits(tmp_path: Path, objective: str) -> None:
    settings = PretrainSettings().updated(
        {
            "objective": objective,
            "model.d_model": 32,
            "training.lengths": [64, 256],
            "training.tokens_per_step": 4096,
            "training.tokens_per_pass": 2048,
            "training.steps": 60,
            "training.checkpoint_every": 25,
            "training.evaluate_every": 30,
        },
        "test",
    )
    codes = np.random.default_rng(0).integers(0, 4, 50_000, np.uint8)
    stream = WindowStream(PackedBases.of([(0, codes)]), settings)
    held_out = {"c": codes[:2560].reshape(-1, 256)}

    def trained(folder: Path, stop_after: int | None) -> dict[str, Tensor]:
        def report(step: Any) -> None:
            if step.step == stop_after:
                raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        result = pretrain(settings, stream.batches, held_out, folder, report, fingerprint="f")
        return result.model.state_dict()

    whole = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", 40)
    resumed = trained(tmp_path / "broken", None)
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def plan_of(settings: RunSettings, model: WindowModel) -> supervised.SupervisedPlan:
    return supervised.SupervisedPlan(
        settings,
        model,
        ArraySource(windows(500, 0)),
        held_out(windows(150, 1)),
        Path(),
        module.ALONE,
        lambda count: None,
    )


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("tf32", 1e-3), ("bfloat16", 0.02), ("float16", 0.01)]
)
def test_the_losses_of_a_rounded_epoch_are_close_to_the_exact_ones(
    precision: str, tolerance: float
) -> None:
    def losses(changes: dict[str, Any]) -> list[float]:
        settings = SETTINGS.updated(changes, "test")
        model = new_model(settings)
        plan = plan_of(settings, model)
        trainer = new_trainer(model, settings.training)
        trainer.start_stage(plan.optimization(0))
        for batch in step_batches(
            ArraySource(windows(500, 0)), settings.training, 0, trainer.device
        ):
            trainer.step(batch)
        return trainer.read_losses()

    exact, rounded = losses({}), losses({"training.precision": precision})
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=tolerance)


class OnTheHost:
    """A source whose windows stay on the host, as those of a stream do."""

    def __init__(self, source: ArraySource) -> None:
        self._source = source

    @property
    def count(self) -> int:
        return self._source.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Any:
        for batch in self._source.batches(batch_size, epoch=epoch, seed=seed):
            yield Batch.of(batch.tokens().numpy(), batch.labels().numpy())


def test_windows_on_the_device_and_streamed_windows_train_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = run(tmp_path / "resident", {})
    assert_equal(
        run(tmp_path / "streamed", {}, train=OnTheHost(ArraySource(windows(500, 0)))), resident
    )
    monkeypatch.setattr(loaders, "RESIDENT_FRACTION", 0.0)
    assert_equal(run(tmp_path / "too large", {}), resident)


def test_a_step_does_not_synchronise_with_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS.updated({"training.ema_decay": 0.9}, "test")
    model = new_model(settings)
    source = ArraySource(windows(500, 0))
    plan = plan_of(settings, model)
    trainer = new_trainer(model, settings.training)
    trainer.start_stage(plan.optimization(0))
    for watched in (False, True):  # captured in the first epoch, replayed in the second
        torch.cuda.set_sync_debug_mode("error" if watched else "default")
        try:
            for batch in step_batches(source, settings.training, 0, default_device()):
                if len(batch.targets) == settings.training.batch_size:
                    trainer.step(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(np.isfinite(trainer.read_losses()))


def test_a_checkpoint_of_a_gpu_resumes_on_the_cpu_and_vice_versa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"training.ema_decay": 0.9}
    on_gpu = run(tmp_path / "gpu", changes)
    for first, folder in (("cuda", tmp_path / "there"), ("cpu", tmp_path / "back")):
        with monkeypatch.context() as patch:
            patch.setattr(supervised, "default_device", lambda first=first: torch.device(first))
            run(folder, changes, stop_after=1)
        second = {"cuda": "cpu", "cpu": "cuda"}[first]
        with monkeypatch.context() as patch:
            patch.setattr(supervised, "default_device", lambda second=second: torch.device(second))
            state = run(folder, changes)
        for record, expected in zip(state["history"], on_gpu["history"], strict=True):
            assert record["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-2)
