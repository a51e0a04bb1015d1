"""Training steps of HyenaDNA and of a transformer of as many parameters, by window length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.figures import Figures, Rows
from benchmarks.model import random_windows
from benchmarks.processes import peak_mb
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_trainer, step_batches
from hyena_ray.training.trainer import Optimization

LENGTHS = (100, 256, 1024, 4096)
BASES = 16_384
"""Bases of a batch, at every length of windows."""
FLANK = 32
"""Bases on each side of a window, and lookahead of HyenaDNA: both read the same input."""
STEPS = 3
"""Steps that are timed, after one to warm up."""
BACKBONES = {
    "HyenaDNA": ModelSettings(d_model=64, head="lookahead"),
    "HyenaDNA, published filters": ModelSettings(d_model=64, head="lookahead", filters="published"),
    "transformer": ModelSettings(architecture="transformer", d_model=80),
}
"""Sizes of the presets zdna/lookahead_head and zdna/transformer."""


def benchmark_backbones(folder: Path) -> Iterator[Figures]:
    """Compare steps of training: processor time, so that other work on the machine does not count,
    peak memory and parameters. Each is measured in a process of its own, in turn."""
    for length in LENGTHS:
        title = f"training on windows of {length:,} bases, batches of {batch_of(length)}"
        yield Figures(title, partial(rows_of, length))


def rows_of(length: int) -> Rows:
    """Measure every backbone once.

    Args:
        length: Bases of a window.
    """
    rows = {name: in_a_process(name, length) for name in BACKBONES}
    slowest = rows["transformer"]["windows/s"]
    for row in rows.values():
        row["to transformer"] = row["windows/s"] / slowest
    return rows


def in_a_process(name: str, length: int) -> dict[str, float]:
    """Measure one backbone in a new process, since the peak of a process never falls.

    Args:
        name: A key of `BACKBONES`.
        length: Bases of a window.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.backbones", name, str(length)],
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def batch_of(length: int) -> int:
    """Return the windows of a batch.

    Args:
        length: Bases of a window.
    """
    return max(1, BASES // length)


def new_model(name: str, length: int) -> WindowModel:
    """Build a backbone with its head.

    Args:
        name: A key of `BACKBONES`.
        length: Bases of a window.
    """
    causal = BACKBONES[name].architecture == "hyenadna"
    readout = Readout(window=length, flank=FLANK, lookahead=FLANK if causal else 0)
    return build_model(BACKBONES[name], readout, LoraSettings(), TASKS["zdna"], seed=0)


def trained(name: str, length: int, steps: int = STEPS) -> dict[str, float]:
    """Train in this process, and return rate, memory and parameters.

    Args:
        name: A key of `BACKBONES`.
        length: Bases of a window.
        steps: Steps that are timed.
    """
    batch = batch_of(length)
    recipe = TrainingSettings(batch_size=batch, reverse_complement=True)
    model = new_model(name, length)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    source = ArraySource(random_windows(batch * (steps + 1), FLANK, length))
    optimizer = stage_optimizer(model, training_stages(recipe)[0], recipe.weight_decay)
    trainer = new_trainer(model, recipe)
    schedule = Schedule(optimizer, recipe.schedule, source.count, recipe.warmup)
    trainer.start_stage(Optimization.of(optimizer, schedule))
    before, started, done = peak_mb(os.getpid()), 0.0, 0
    for batch_of_windows in step_batches(source, recipe, 0, trainer.device):
        if done == 1:
            started = time.process_time()
        trainer.step(batch_of_windows)
        done += 1
    seconds = time.process_time() - started
    return {
        "windows/s": batch * (done - 1) / seconds,
        "more MB": peak_mb(os.getpid()) - before,
        "parameters": parameters,
    }


if __name__ == "__main__":
    print(json.dumps(trained(sys.argv[1], int(sys.argv[2]))))
