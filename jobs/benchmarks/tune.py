"""What Ray Tune costs: the same trials through it, and through a plain loop in two processes."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.figures import Figures, Rows
from benchmarks.processes import Watch
from hyena_ray.cluster.resources import Placement
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.streams import Handle, Key, share_windows
from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.simulated import simulate
from hyena_ray.files import sha256_file
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import StoredStudy
from hyena_ray.search.trial_fields import SECONDS, SETTINGS
from hyena_ray.search.tune_experiment import run_trials
from hyena_ray.tasks import TASKS
from hyena_ray.training.loaders import ArraySource, WindowSource
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import train_run

AT_ONCE = 2
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
"""Nothing that changes how much work a trial is."""


def benchmark_tune(folder: Path) -> list[Figures]:
    """Eight trials on the demo's simulated genome, two at once, one thread each."""
    return [of_trials(folder, trials=8)]


def of_trials(folder: Path, *, trials: int, **changes: Any) -> Figures:
    """`changes` are dotted settings of all trials."""
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
    """Of all trials, in seconds of wall time."""

    ray_s: float
    """Until Ray is up and has the windows."""
    workers_s: float
    """From then until the first process has imported everything and can begin to train."""
    work_s: float
    """From then until every trial is told of, and its model is in its place."""
    idle_s: float
    """Of these, those in which a place had no trial at work; the mean over places. It holds the
    wait of the last trials for each other too."""
    processor_s: float
    """Of all processes since Ray was up, their start included."""


class Stamped(NamedTuple):
    """Windows that leave a file behind when a trial first opens them: its process is ready."""

    inner: Handle
    stamp: Path

    def open(self, limit: int | None = None) -> WindowSource:
        if not self.stamp.exists():
            self.stamp.write_text(repr(time.time()))
        return self.inner.open(limit)


def through_tune(space: SearchSpace, data: Path, out: Path) -> tuple[Cost, list[RunSettings]]:
    """As the tuning job does it; also what the search has drawn."""
    out.mkdir(parents=True)
    prepared, stamp = PreparedData.open(data), out / "ready"
    keys: list[Key] = [(length, split) for length in space.lengths() for split in ("train", "val")]
    begun = time.time()
    with connect(None) as cluster, Watch() as watch:
        windows: Mapping[Key, Handle] = share_windows(prepared, keys, cluster)
        stamped: dict[Key, Handle] = {
            key: Stamped(handle, stamp) for key, handle in windows.items()
        }
        stored = StoredStudy(out, space)
        up = time.time()
        run_trials(space, stored, stamped, out, Placement(concurrent=AT_ONCE, threads=1))
        over = time.time()
    ready, done = float(stamp.read_text()), stored.study.trials
    idle = over - ready - sum(trial.user_attrs[SECONDS] for trial in done) / AT_ONCE
    drawn = [space.run_settings(trial.user_attrs[SETTINGS]) for trial in done]
    return Cost(up - begun, ready - up, over - ready, idle, watch.processor_s), drawn


def in_a_loop(settings: list[RunSettings], data: Path, out: Path) -> Cost:
    """In processes that live on, and hold the windows in memory when the clock starts."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(AT_ONCE)
    begun = time.time()
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
    return Cost(0.0, ready - begun, over - ready, idle, watch.processor_s)


_SOURCES: list[ArraySource] = []
"""Of a process of the loop: what it trains on, and what it validates with."""


def start(barrier: Any, data: Path, settings: RunSettings) -> None:
    """Of such a process."""
    torch.set_num_threads(1)
    prepared, length = PreparedData.open(data), settings.data.length
    limits = {"train": settings.data.limit, "val": None}
    _SOURCES.extend(
        ArraySource(prepared.read(length, split, limit)) for split, limit in limits.items()
    )
    barrier.wait()


def train(settings: RunSettings, folder: Path) -> float:
    """One trial there; its seconds."""
    training, validation = _SOURCES
    begun = time.time()
    train_run(
        settings,
        training,
        validation,
        folder,
        lambda report: None,
        fingerprint=settings.fingerprint(),
    )
    return time.time() - begun


def same_models(ours: Path, peer: Path, trials: int) -> None:
    """Both have done the same work if their models have the same bits."""
    for number in range(trials):
        name = Path(f"{number:04d}") / "model" / "model.safetensors"
        if sha256_file(ours / name) != sha256_file(peer / name):
            raise AssertionError(f"trial {number}: the two models differ")
