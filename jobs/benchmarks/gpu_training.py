"""Training and pretraining on a GPU next to plain PyTorch on the same GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import NamedTuple

import torch
from torch.nn import functional as F
from torch.optim import AdamW

from benchmarks import pretraining
from benchmarks.comparison import Comparison, Run, lazily
from benchmarks.limits import Limits
from benchmarks.model import PLAIN, new_model, random_windows
from benchmarks.operations import STEP, Work, pass_cost
from benchmarks.published import PlainHyenaDNA, matrix_products
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.settings import Precision
from hyena_ray.model.window import WindowModel
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.pretraining import NextBase, new_pretrainer
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_trainer, step_batches
from hyena_ray.training.trainer import LOOK, Optimization

FLANK = 32
"""Bases on each side of a window; labels are read 32 positions after their base."""
PLAIN_PYTORCH = "peer: plain PyTorch, published design"
COMPILED = "peer: the same with TF32 and torch.compile"


class Sizes(NamedTuple):
    """Amount of training in a run of the benchmark."""

    training: tuple[tuple[int, int], ...] = ((32, 200), (512, 40))
    """Windows of a step and number of steps, for each comparison."""
    pretraining: tuple[tuple[int, int], ...] = ((32_768, 20), (524_288, 4))
    """Bases of a step and number of steps, for each comparison."""
    length: int = 1024
    """Bases of a window in pretraining."""


def train_ours(model: WindowModel, windows: Windows, batch: int, precision: Precision) -> Run:
    """Return a run of one epoch with our trainer; every run continues the training.

    Args:
        model: Model to train, on its device.
        windows: Windows of an epoch.
        batch: Windows of a step.
        precision: Arithmetic of the passes.
    """
    recipe = PLAIN.updated({"precision": precision, "batch_size": batch}, "benchmark")
    source = ArraySource(windows)
    optimizer = stage_optimizer(model, training_stages(recipe)[0], recipe.weight_decay)
    schedule = Schedule(optimizer, recipe.schedule, source.count, recipe.warmup)
    trainer = new_trainer(model, recipe)
    trainer.start_stage(Optimization.of(optimizer, schedule))
    epochs = count()

    def run() -> None:
        for step in step_batches(source, recipe, next(epochs), trainer.device):
            trainer.step(step)
            if trainer.steps % LOOK[trainer.device.type] == 0:
                trainer.read_losses()

    return run


def train_plain(
    plain: PlainHyenaDNA,
    windows: Windows,
    batch: int,
    precision: Precision,
    *,
    compiled: bool = False,
) -> Run:
    """Return a run of the same epoch as a plain loop, on windows that are already on the device.

    Args:
        plain: Model to train, on its device.
        windows: Windows of an epoch.
        batch: Windows of a step.
        precision: Arithmetic of the passes.
        compiled: Whether the model is compiled with torch.compile.
    """
    device = plain.device
    passes = torch.compile(plain, dynamic=False) if compiled else plain
    optimizer = AdamW(plain.parameters(), lr=PLAIN.learning_rate, weight_decay=0.0, fused=True)
    tokens = torch.from_numpy(windows.tokens).long().to(device)
    labels = torch.from_numpy(windows.labels).long().to(device)
    weights = class_weights(PLAIN).to(device)
    read = slice(2 * FLANK, None)

    def run() -> None:
        for rows in torch.randperm(len(tokens), device=device).split(batch):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = passes(tokens[rows])[:, read].float()
            loss = F.cross_entropy(logits.flatten(0, 1), labels[rows].flatten(), weights)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), PLAIN.clip_norm)
            optimizer.step()

    def in_its_precision() -> None:
        with matrix_products(precision):
            run()

    return in_its_precision


def of_training(
    batch: int, steps: int, device: torch.device, limits: Limits, *, rounded: bool
) -> Comparison:
    """Compare supervised training on windows of 100 bases.

    Args:
        batch: Windows of a step.
        steps: Steps of a run.
        device: Device to measure.
        limits: Limits of the device.
        rounded: Whether our trainer computes in bfloat16 and TF32 instead of float32.
    """
    windows, model = random_windows(batch * steps, FLANK), new_model(FLANK)

    def ours(precision: Precision) -> Run:
        return train_ours(new_model(FLANK).to(device), windows, batch, precision)

    def peer(precision: Precision, *, compiled: bool = False) -> Run:
        plain = PlainHyenaDNA(model.classifier).to(device)
        return train_plain(plain, windows, batch, precision, compiled=compiled)

    def work(precision: Precision) -> Work:
        return training_work(model, batch * steps, precision)

    return Comparison(
        f"training, {_in(rounded)}, batch {batch}, windows of 100 bases, {FLANK} on each side",
        "windows/s",
        batch * steps,
        _runs(ours, peer, work, rounded=rounded),
        device,
        limits,
    )


def training_work(model: WindowModel, windows: int, precision: Precision = "float32") -> Work:
    """Return the work of training on windows.

    Args:
        model: HyenaDNA.
        windows: Number of windows.
        precision: Arithmetic of the passes.
    """
    length = model.left + model.readout.window + model.right
    cost = pass_cost(model, model.classifier.config, length, STEP, precision)
    return Work(windows, cost.times(windows))


def of_pretraining(
    tokens: int, steps: int, length: int, limits: Limits, *, rounded: bool
) -> Comparison:
    """Compare pretraining on the default device.

    Args:
        tokens: Bases of a step.
        steps: Steps of a run.
        length: Bases of a window.
        limits: Limits of the device.
        rounded: Whether our trainer computes in bfloat16 and TF32 instead of float32.
    """
    model = new_pretrainer(pretraining.settings_of(length, tokens)).model
    assert isinstance(model, NextBase)

    def ours(precision: Precision) -> Run:
        run, _ = pretraining.ours(length, tokens, precision)
        return partial(_repeated, run, steps)

    def peer(precision: Precision, *, compiled: bool = False) -> Run:
        run = pretraining.peer(model, length, tokens, precision, compiled=compiled)
        return partial(_repeated, run, steps)

    def work(precision: Precision) -> Work:
        cost = pass_cost(model, model.model.config, length, STEP, precision)
        return Work(tokens * steps, cost.times(tokens // length * steps))

    return Comparison(
        f"pretraining, {_in(rounded)}, steps of {tokens:,} bases in windows of {length:,}",
        "bases/s",
        tokens * steps,
        _runs(ours, peer, work, rounded=rounded),
        pretraining.device_of(model),
        limits,
    )


def _in(rounded: bool) -> str:
    return "bfloat16 and TF32" if rounded else "float32"


def _repeated(run: Run, times: int) -> None:
    for _ in range(times):
        run()


def _runs(
    ours: Callable[[Precision], Run],
    peer: Callable[..., Run],
    work: Callable[[Precision], Work],
    *,
    rounded: bool,
) -> dict[str, Run]:
    """Return the runs of one row, each of which is prepared on its first call.

    The precisions are divided between two rows, because our CUDA graphs keep their memory between
    runs.
    """
    compiled = partial(peer, compiled=True)
    row: dict[str, tuple[Callable[[Precision], Run], Precision]] = {
        "ours": (ours, "float32"),
        PLAIN_PYTORCH: (peer, "float32"),
        COMPILED: (compiled, "tf32"),
    }
    if rounded:
        row = {
            "ours, bfloat16": (ours, "bfloat16"),
            f"{PLAIN_PYTORCH}, bfloat16": (peer, "bfloat16"),
            "ours, TF32": (ours, "tf32"),
        }

    def counted(run: Run, precision: Precision) -> Work:
        run()
        return work(precision)

    return {
        who: partial(counted, lazily(partial(make, precision)), precision)
        for who, (make, precision) in row.items()
    }


def training_rows(
    device: torch.device, limits: Limits, sizes: Sizes, *, rounded: bool
) -> Iterator[tuple[str, Callable[[], Comparison]]]:
    """Yield the title of every comparison, and a function that prepares it.

    Args:
        device: Device to measure.
        limits: Limits of the device.
        sizes: Amount of training.
        rounded: Whether our trainer computes in bfloat16 and TF32 instead of float32.
    """
    for batch, steps in sizes.training:
        yield (
            f"training, {_in(rounded)}, batch {batch}",
            partial(of_training, batch, steps, device, limits, rounded=rounded),
        )
    for tokens, steps in sizes.pretraining:
        yield (
            f"pretraining, {_in(rounded)}, steps of {tokens:,} bases",
            partial(of_pretraining, tokens, steps, sizes.length, limits, rounded=rounded),
        )
