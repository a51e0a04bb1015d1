"""The cost of Ray Tune: the same trials through it, and in a plain loop of two processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.figures import Figures, Rows
from benchmarks.processes import Watch
from hyena_ray.cluster.feeds import Handle, SharedData, share_data
from hyena_ray.cluster.resources import Placement, TrialResources
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.simulated import simulate
from hyena_ray.files import sha256_file
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import StoredStudy
from hyena_ray.search.trial_fields import SECONDS, SETTINGS
from hyena_ray.search.tune_experiment import run_trials
from hyena_ray.tasks import TASKS
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource, WindowSource
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import train_run

AT_ONCE = 2
"""Trials that run at the same time."""
SETTINGS_OF_ALL = {
    "data.length": 100,
    "model.d_model": 64,
    "readout.flank": 32,
    "readout.lookahead": 32,
    "training.epochs": 3,
}
SEARCHED = {
    "training.learning_rate": {"low": 1e-3, "high": 6e-3, "log": True},
    "training.positive_weight": {"low": 1.0, "high": 3.0},
}
"""Settings that do not change the amount of work of a trial."""


def benchmark_tune(folder: Path) -> list[Figures]:
    """Compare eight trials on the demo's simulated genome, two at once, one thread each."""
    return [of_trials(folder, trials=8)]


def of_trials(folder: Path, *, trials: int, **changes: Any) -> Figures:
    """Compare Ray Tune with the loop.

    Args:
        folder: Folder to work in.
        trials: Number of trials.
        changes: Dotted settings of all trials.
    """
    space = SearchSpace.parse(
        {
            "task": "zdna",
            "trials": trials,
            # Every trial runs to its end, here as there.
            "scheduler": {"grace_period": 99},
            "settings": SETTINGS_OF_ALL | changes,
            "search": SEARCHED,
        },
        "benchmark",
    )
    [length] = space.lengths()
    recipe = simulate(TASKS["zdna"], folder, 0, lengths=(length,), flank=32)
    data, numbers = folder / "data", itertools.count()
    prepare(recipe, data)

    # Ray makes its workers nice: beside other work they would get less of a core than a loop does.
    os.environ.update(RAY_worker_niceness="0")

    def measure() -> Rows:
        runs = folder / f"round-{next(numbers)}"
        ours, settings = through_tune(space, data, runs / "ours")
        peer = in_a_loop(settings, data, runs / "peer")
        same_models(runs / "ours" / "trials", runs / "peer", trials)
        return {
            who: {**part._asdict(), "ours over it": ours.work_s / part.work_s}
            for who, part in {"ours: Ray Tune": ours, "peer: a loop": peer}.items()
        }

    return Figures(f"{trials} trials, {AT_ONCE} at once", measure)


class Cost(NamedTuple):
    """Cost of all trials, in seconds of wall time unless another unit is named."""

    ray_s: float
    """Time until Ray has started and holds the windows."""
    workers_s: float
    """Time from then until the first process has imported everything and can train."""
    work_s: float
    """Time from then until every trial has reported and its model is written."""
    idle_s: float
    """Part of `work_s` in which a slot ran no trial, averaged over the slots. It includes the wait
    for the last trial."""
    processor_s: float
    """Processor time of all processes since Ray had started, including their start."""


class Stamped(NamedTuple):
    """Windows that write a file when a trial first opens them: then its process is ready."""

    inner: Handle
    stamp: Path

    def open(
        self,
        limit: int | None = None,
        workers: Workers | None = None,
        negatives: str | None = None,
    ) -> WindowSource:
        if not self.stamp.exists():
            self.stamp.write_text(repr(time.time()))
        return self.inner.open(limit, workers, negatives)


def through_tune(space: SearchSpace, data: Path, out: Path) -> tuple[Cost, list[RunSettings]]:
    """Run the trials as `tune` does, and return their cost and the settings that were drawn."""
    out.mkdir(parents=True)
    prepared, stamp = PreparedData.open(data), out / "ready"
    started = time.time()
    with connect(None), Watch() as watch:
        shared = share_data(prepared, space.lengths(), "shared")
        train = {length: Stamped(handle, stamp) for length, handle in shared.train.items()}
        stamped = SharedData(train, shared.validation)
        stored = StoredStudy(out, space)
        up = time.time()
        placement = Placement(AT_ONCE, threads=1, resources=TrialResources(gpu=0))
        run_trials(space, stored, stamped, out, placement, fingerprint="benchmark")
        over = time.time()
    ready, done = float(stamp.read_text()), stored.study.trials
    idle = over - ready - sum(trial.user_attrs[SECONDS] for trial in done) / AT_ONCE
    drawn = [space.run_settings(trial.user_attrs[SETTINGS]) for trial in done]
    return Cost(up - started, ready - up, over - ready, idle, watch.processor_s), drawn


def in_a_loop(settings: list[RunSettings], data: Path, out: Path) -> Cost:
    """Run the trials in two processes that hold the windows in memory when the clock starts."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(AT_ONCE)
    started = time.time()
    with (
        ProcessPoolExecutor(AT_ONCE, context, start, (barrier, data, settings[0])) as pool,
        Watch() as watch,
    ):
        list(pool.map(abs, range(AT_ONCE)))  # returns when all have met at the barrier
        ready = time.time()
        folders = [out / f"{number:04d}" for number in range(len(settings))]
        seconds = list(pool.map(train, settings, folders))
        over = time.time()
    idle = over - ready - sum(seconds) / AT_ONCE
    return Cost(0.0, ready - started, over - ready, idle, watch.processor_s)


_DATA: list[tuple[ArraySource, HeldOut]] = []
"""Training windows and validation data of a process of the loop."""


def start(barrier: Any, data: Path, settings: RunSettings) -> None:
    """Load the data of a process of the loop."""
    torch.set_num_threads(1)
    prepared, length = PreparedData.open(data), settings.data.length
    train = ArraySource(prepared.read(length, "train", settings.data.limit))
    _DATA.append((train, HeldOut.read(prepared, "val")))
    barrier.wait()


def train(settings: RunSettings, folder: Path) -> float:
    """Train one trial of the loop, and return its seconds."""
    training, validation = _DATA[0]
    started = time.time()
    train_run(
        settings,
        training,
        validation,
        folder,
        lambda report: None,
        fingerprint=settings.fingerprint(),
    )
    return time.time() - started


def same_models(ours: Path, peer: Path, trials: int) -> None:
    """Check that both did the same work: their models have the same bits."""
    for number in range(trials):
        name = Path(f"{number:04d}") / "model" / "model.safetensors"
        if sha256_file(ours / name) != sha256_file(peer / name):
            raise AssertionError(f"trial {number}: the two models differ")
