"""A step is the same however it is cut into passes, with any precision and with clipping."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.errors import JobError
from hyena_ray.model.settings import Targets
from hyena_ray.model.window import WindowModel
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import RunSettings, TrainingSettings
from hyena_ray.training.supervised import epoch_seed, new_model, new_trainer, step_batches
from hyena_ray.training.trainer import (
    DivergenceError,
    Optimization,
    Phase,
    Record,
    StepBatch,
    Trainer,
)

WINDOW, FLANK = 20, 8
SETTINGS = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 16,
        "model.n_layer": 2,
        "model.max_seq_len": 64,
        "readout.flank": FLANK,
        "readout.lookahead": 4,
        "training.clip_norm": 1e9,
    },
    "test",
)


def uneven_windows(count: int) -> ArraySource:
    """Random bases and labels; window i has i ignored labels, up to all but one."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(7, 11, (count, WINDOW + 2 * FLANK), np.uint8)
    labels = rng.integers(0, 2, (count, WINDOW)).astype(np.int8)
    for row in range(count):
        labels[row, : min(row, WINDOW - 1)] = IGNORED
    ids = np.arange(count)
    return ArraySource(
        Windows(ids, np.full(count, "c"), ids * WINDOW, tokens, labels, np.ones(count, np.uint8))
    )


def step(changes: dict[str, Any], count: int = 16) -> tuple[dict[str, torch.Tensor], float]:
    """Gradients of the last step of an epoch of plain SGD, and the epoch's loss."""
    settings = SETTINGS.updated(changes, "test")
    model = new_model(settings)
    optimizer = SGD(model.parameters(), lr=1e-3)
    trainer = new_trainer(model, settings.training)
    trainer.start_stage(Optimization.of(optimizer, Schedule(optimizer, "constant", 10, 0.0)))
    loss = train_epoch(trainer, uneven_windows(count), settings.training)
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, loss


def train_epoch(
    trainer: Trainer[WindowModel], source: ArraySource, recipe: TrainingSettings
) -> float:
    """Train on every window once; the mean loss over steps."""
    torch.manual_seed(epoch_seed(recipe, 0))
    for batch in step_batches(source, recipe, 0, trainer.device):
        trainer.step(batch)
    losses = trainer.read_losses()
    return sum(losses) / len(losses)


@pytest.mark.parametrize("more", [{}, {"training.loss": "focal"}, {"training.shortest_crop": 9}])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_accumulated_gradients_are_those_of_one_large_batch(
    batch_size: int, more: dict[str, Any]
) -> None:
    whole, loss = step({"training.batch_size": 16, **more})
    changes = {"training.batch_size": batch_size, "training.accumulation": -(-16 // batch_size)}
    parts, loss_of_parts = step({**changes, **more})
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_schedule_steps_once_for_all_passes_of_a_step() -> None:
    settings = SETTINGS.updated({"training.batch_size": 2, "training.accumulation": 4}, "test")
    model = new_model(settings)
    optimizer = SGD(model.parameters(), lr=1.0)
    schedule = Schedule(optimizer, "linear", 10, 0.0)
    trainer = new_trainer(model, settings.training)
    trainer.start_stage(Optimization.of(optimizer, schedule))
    train_epoch(trainer, uneven_windows(20), settings.training)
    rate = float(optimizer.param_groups[0]["lr"])
    assert rate == pytest.approx(0.7)  # 20 windows are 3 steps of 8


def test_gradients_are_clipped_as_a_whole() -> None:
    whole, _ = step({"training.batch_size": 4, "training.accumulation": 4})
    clipped, _ = step(
        {"training.batch_size": 4, "training.accumulation": 4, "training.clip_norm": 1e-3}
    )
    norm = torch.cat([gradient.flatten() for gradient in whole.values()]).norm()
    for name, gradient in whole.items():
        torch.testing.assert_close(clipped[name], gradient * 1e-3 / norm, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_rounded_activations_come_close_and_weights_stay_in_float32(precision: str) -> None:
    exact, loss = step({"training.batch_size": 16})
    rounded, rounded_loss = step({"training.batch_size": 16, "training.precision": precision})
    assert rounded_loss != loss
    assert rounded_loss == pytest.approx(loss, rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in rounded.values())
    flat, other = (
        torch.cat([g.flatten() for g in gradients.values()]) for gradients in (exact, rounded)
    )
    assert torch.cosine_similarity(flat, other, dim=0) > 0.98
    assert float(other.norm()) == pytest.approx(float(flat.norm()), rel=0.1)


@pytest.mark.parametrize("targets", get_args(Targets))
def test_adapters_of_every_target_train_in_bfloat16(targets: str) -> None:
    lora = {"lora.enabled": True, "lora.targets": targets, "lora.dropout": 0.0}
    _, loss = step(lora)
    gradients, rounded_loss = step({**lora, "training.precision": "bfloat16"})
    assert rounded_loss == pytest.approx(loss, rel=0.02)
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


def test_a_step_whose_scaled_gradients_overflow_is_left_out_and_not_counted() -> None:
    changes = {"training.precision": "float16", "training.ema_decay": 0.5}
    settings = SETTINGS.updated(changes, "test")
    model = new_model(settings)
    before = copy.deepcopy(model.state_dict())
    optimizer = SGD(model.parameters(), lr=1.0)
    schedule = Schedule(optimizer, "linear", 10, 0.0)
    trainer = new_trainer(model, settings.training)
    trainer.scaler = GradScaler(trainer.device.type, init_scale=2.0**100)
    trainer.start_stage(Optimization.of(optimizer, schedule))
    train_epoch(trainer, uneven_windows(8), settings.training)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    averaged = trainer.average.model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in averaged.items())
    assert trainer.scaler.get_scale() < 2.0**100


def test_checkpointed_activations_change_no_gradient() -> None:
    plain, _ = step({"training.batch_size": 8, "model.dropout": 0.2})
    again, _ = step(
        {
            "training.batch_size": 8,
            "model.dropout": 0.2,
            "training.checkpoint_activations": True,
        }
    )
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_loss_that_is_not_finite_stops_training_and_names_its_step() -> None:
    with pytest.raises(DivergenceError, match="step 1; lower the learning rate"):
        step({"training.positive_weight": 3e38})


class ShortData:
    """A plan of two steps whose data have one."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def phases(self, steps: int) -> Iterator[Phase]:
        zeros = torch.zeros(2, 1)
        yield Phase(0, 2, 0, iter([StepBatch(zeros, zeros, torch.tensor(2.0), rows=2)]))

    def optimization(self, stage: int) -> Optimization:
        optimizer = SGD(self._model.parameters(), lr=0.1)
        return Optimization.of(optimizer, Schedule(optimizer, "constant", 2, 0.0))

    def evaluates_after(self, steps: int) -> bool:
        return False

    saves_after = evaluates_after

    def evaluate(self, model: nn.Module, steps: int, losses: list[float]) -> Record:
        raise AssertionError

    def after_evaluation(self, model: nn.Module, history: list[Record]) -> float | None:
        raise AssertionError

    def is_over(self, history: list[Record]) -> bool:
        return False


def test_a_phase_whose_data_end_early_stops_the_run(tmp_path: Path) -> None:
    model: nn.Module = nn.Linear(1, 1)
    trainer = Trainer(model, lambda outputs, targets: (outputs - targets).square().sum())
    steps: list[int] = []
    with pytest.raises(JobError, match="steps 1 to 2 ended after step 1"):
        trainer.fit(
            ShortData(model),
            tmp_path,
            fingerprint="f",
            on_step=lambda step, loss, record: steps.append(step),
        )
    assert steps == [1]
