"""Two workers do what one does: the same gradients, scores and files, at the same whole batch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing
from torch.optim import SGD, Optimizer

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.model.window import WindowModel
from hyena_ray.training import supervised
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.distillation import teach
from hyena_ray.training.evaluation import EVALUATION_BATCH, predict
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import RunSettings, TrainingSettings
from hyena_ray.training.stages import Stage, stage_optimizer
from hyena_ray.training.supervised import (
    epoch_seed,
    new_model,
    new_trainer,
    step_batches,
    train_run,
)
from hyena_ray.training.trainer import DivergenceError, Optimization, Trainer
from tests.training.held_out_rows import held_out

WINDOW, FLANK = 20, 8
SETTINGS = RunSettings().updated(
    {
        "data.length": WINDOW,
        "model.d_model": 16,
        "model.n_layer": 2,
        "model.max_seq_len": 64,
        "model.channels": 8,
        "model.k": 3,
        "readout.flank": FLANK,
        "readout.lookahead": 4,
        "training.clip_norm": 1e9,
        "training.batch_size": 16,
    },
    "test",
)
STEPS: dict[str, dict[str, Any]] = {
    "whole": {},
    "accumulated": {"training.batch_size": 3, "training.accumulation": 5},
    "cropped": {"training.shortest_crop": 9, "training.loss": "focal"},
    "recomputed": {
        "training.checkpoint_activations": True,
        "training.batch_size": 4,
        "training.accumulation": 4,
    },
    "soft": {"training.soft_edges": 2, "training.shortest_crop": 9, "training.loss": "focal"},
    "taught": {"training.teacher_share": 0.4, "training.soft_edges": 1},
    "averaged": {"training.ema_decay": 0.5, "training.batch_size": 4},
    "rounded": {"training.precision": "bfloat16"},
    "adapters": {"lora.enabled": True, "lora.rank": 2, "lora.dropout": 0.0},
    "dilated_cnn": {"training.ema_decay": 0.5, "model.architecture": "dilated_cnn"},
    "bilstm": {"model.architecture": "bilstm"},
    "kmer_logistic": {"model.architecture": "kmer_logistic"},
    "rule": {"model.architecture": "rule"},
}
RUN = {
    "training.epochs": 6,
    "training.learning_rate": 3e-3,
    "training.clip_norm": 1.0,
    # The rule of `windows` holds on the given strand alone.
    "training.reverse_complement": False,
    "readout.strands": "forward",
}


def rows(count: int, seed: int = 0) -> Windows:
    """Random bases; labelled are those before a C, and the first i of window i are ignored."""
    tokens = np.random.default_rng(seed).integers(7, 11, (count, WINDOW + 2 * FLANK), np.uint8)
    labels = (tokens[:, FLANK + 1 : FLANK + 1 + WINDOW] == 8).astype(np.int8)
    for row in range(count):
        labels[row, : row % (WINDOW - 1)] = IGNORED
    ids = np.arange(count)
    return Windows(ids, np.full(count, "c"), ids * WINDOW, tokens, labels, np.ones(count, np.uint8))


def windows(count: int, *, taught: bool = False) -> ArraySource:
    source = ArraySource(rows(count))
    if not taught:
        return source
    teacher = new_model(SETTINGS.updated({"model.architecture": "dilated_cnn"}, "teacher"))
    return teach(source, teacher, both_strands=True)


BATCH_NORM = "dilated_cnn"
# A step of 16, and one of a single window that leaves the second worker without; 15 and 3.
COUNTS = {"accumulated": 18, BATCH_NORM: 16}
TRAIN, VALIDATION = windows(256), held_out(rows(3 * EVALUATION_BATCH + 5, seed=1))


def trainer_with(
    model: WindowModel, optimizer: Optimizer, recipe: TrainingSettings, workers: Workers
) -> Trainer[WindowModel]:
    trainer = new_trainer(model, recipe, workers)
    trainer.start_stage(Optimization.of(optimizer, Schedule(optimizer, "constant", 10, 0.0)))
    return trainer


def train_epoch(
    trainer: Trainer[WindowModel], source: ArraySource, recipe: TrainingSettings
) -> float:
    """Train on every window once; the mean loss over steps."""
    workers = trainer.workers
    torch.manual_seed(epoch_seed(recipe, 0, workers))
    for batch in step_batches(source, recipe, 0, trainer.device, workers):
        trainer.step(batch)
    losses = trainer.read_losses()
    for model in dict.fromkeys((trainer.model, trainer.average.model)):
        workers.agree(model)
    return sum(losses) / len(losses)


def step(name: str, workers: Workers) -> dict[str, Any]:
    """Weights, last gradients and loss of an epoch of plain SGD."""
    settings = SETTINGS.updated(STEPS[name], "test")
    model = new_model(settings)
    optimizer = SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    recipe = settings.training
    trainer = trainer_with(model, optimizer, recipe, workers)
    source = windows(COUNTS.get(name, 17), taught=recipe.teacher_share is not None)
    loss = train_epoch(trainer, source, recipe)
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    kept = trainer.average.model
    return {"loss": loss, "weights": dict(kept.state_dict()), "gradients": gradients}


def frozen(workers: Workers) -> list[list[str]]:
    """Names of what moves while the backbone is frozen, and after."""
    model = new_model(SETTINGS)
    moved = []
    for rate in (None, 0.1):
        before = {name: weight.clone() for name, weight in model.state_dict().items()}
        optimizer = stage_optimizer(model, Stage(epochs=1, backbone_rate=rate, head_rate=0.1), 0.0)
        trainer = trainer_with(model, optimizer, SETTINGS.training, workers)
        train_epoch(trainer, windows(32), SETTINGS.training)
        after = model.state_dict()
        moved.append([name for name in after if not torch.equal(before[name], after[name])])
    return moved


def scores(workers: Workers) -> Any:
    model = new_model(SETTINGS)
    found = predict(model, VALIDATION, class_weights(SETTINGS.training), workers)
    return {"log_odds": torch.from_numpy(found.log_odds), "loss": found.loss}


def whole_run(folder: Path, workers: Workers, stop_after: int | None = None) -> Any:
    """Train, or break off as a killed driver would after an epoch."""
    reported = []

    def report(epoch: Any) -> None:
        reported.append(epoch.epoch)
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    try:
        result = train_run(
            SETTINGS.updated(RUN, "test"),
            TRAIN,
            VALIDATION,
            folder,
            report,
            workers,
            fingerprint="f",
        )
    except KeyboardInterrupt:
        return reported
    return {"best": result.best_epoch, "metrics": result.metrics, "reported": reported}


def diverging(workers: Workers) -> str:
    settings = SETTINGS.updated({"training.positive_weight": 3e38}, "test")
    model = new_model(settings)
    optimizer = SGD(model.parameters(), lr=0.1)
    trainer = trainer_with(model, optimizer, settings.training, workers)
    with pytest.raises(DivergenceError) as found:
        train_epoch(trainer, TRAIN, settings.training)
    return str(found.value)


def on_the_cpu() -> torch.device:
    """Return the CPU: the workers communicate over Gloo, and with NCCL would need two GPUs."""
    return torch.device("cpu")


def all_of_it(workers: Workers, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {name: step(name, workers) for name in STEPS}
    found["frozen"] = frozen(workers)
    found["scores"] = scores(workers)
    found["run"] = whole_run(folder / f"run of {workers.size}", workers)
    found["diverging"] = diverging(workers)
    if workers.writes:
        whole_run(folder / "continued", ALONE, stop_after=2)
    workers.merge([None])  # The others wait.
    found["continued"] = whole_run(folder / "continued", workers)
    return found


def work(rank: int, size: int, folder: Path) -> None:
    """What a process does."""
    supervised.default_device = on_the_cpu
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(all_of_it(Workers.of_process_group(), folder), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "default_device", on_the_cpu)
        return all_of_it(ALONE, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What each of two workers has found."""
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(work, (2, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@given(st.integers(1, 5), st.integers(0, 12))
def test_every_item_is_one_workers(size: int, count: int) -> None:
    ranks = [Workers(rank, size) for rank in range(size)]
    shares = [list(workers.share(range(count))) for workers in ranks]
    assert sorted(item for share in shares for item in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STEPS if name != BATCH_NORM])
def test_two_workers_take_the_step_of_one(one: Any, two: list[Any], name: str) -> None:
    # bfloat16 rounds sums over a batch: they differ where its parts do.
    limits = {"rtol": 1e-5, "atol": 1e-5} if name != "rounded" else {"rtol": 0.1, "atol": 0.01}
    for found in two:
        assert found[name]["loss"] == pytest.approx(one[name]["loss"], rel=limits["rtol"])
        for part in ("gradients", "weights"):
            assert found[name][part].keys() == one[name][part].keys()
            for key, value in one[name][part].items():
                torch.testing.assert_close(found[name][part][key], value, msg=key, **limits)


@pytest.mark.slow
def test_all_workers_hold_the_same_weights(two: list[Any]) -> None:
    for name in STEPS:
        for key, value in two[0][name]["weights"].items():
            assert torch.equal(two[1][name]["weights"][key], value), (name, key)


@pytest.mark.slow
def test_workers_freeze_what_one_freezes(one: Any, two: list[Any]) -> None:
    head_alone, everything = one["frozen"]
    assert set(head_alone) < set(everything)
    assert all(found["frozen"] == one["frozen"] for found in two)


@pytest.mark.slow
def test_every_worker_has_the_scores_of_all_windows(one: Any, two: list[Any]) -> None:
    for found in two:
        assert np.array_equal(found["scores"]["log_odds"], one["scores"]["log_odds"])
        assert found["scores"]["loss"] == one["scores"]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "continued"])
def test_a_run_of_two_workers_ends_as_that_of_one(one: Any, two: list[Any], name: str) -> None:
    assert one["run"]["metrics"]["f1"] > 0.9
    assert two[0][name] == two[1][name]
    assert two[0][name]["reported"] == one[name]["reported"]
    # To what rounding leaves after a few epochs, which is less than another seed would change.
    for metric in ("loss", "f1", "mcc", "roc_auc", "average_precision"):
        expected = pytest.approx(one["run"]["metrics"][metric], abs=0.02)
        assert two[0][name]["metrics"][metric] == expected, metric


@pytest.mark.slow
def test_all_workers_stop_at_a_loss_that_is_not_finite(one: Any, two: list[Any]) -> None:
    assert [found["diverging"] for found in two] == [one["diverging"]] * 2
