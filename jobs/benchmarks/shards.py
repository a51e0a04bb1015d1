"""Attribution in shards: its cost by windows, and its speed by actors."""

from __future__ import annotations

import atexit
import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.comparison import Comparison
from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import (
    SHARD_SIZE,
    ShardPlan,
    merge_shards,
    missing_shards,
    run_shard,
)
from hyena_ray.attribution.tracks import write_tracks
from hyena_ray.cluster.resources import Resources
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.runs.run import Output, start
from hyena_ray.tasks import TASKS
from hyena_ray.workflows.attribute import attribute_in_run

FEW, MANY = 4 * SHARD_SIZE, 400 * SHARD_SIZE
"""Numbers of windows."""


def benchmark_shards(folder: Path) -> list[Comparison]:
    """Time shards of a simulated genome with overlapping windows, a quarter of them labelled."""
    made = simulate_genome(folder, contig_length=1_500_000, tracts=9_000)
    data = folder / "data"
    prepare(
        PrepareSettings(
            task="zdna", genome=made.genome, regions=made.regions, train_stride=5, flank=8
        ),
        data,
    )
    return [of_windows(folder, data), of_actors(folder, data)]


def of_windows(folder: Path, data_folder: Path) -> Comparison:
    """Compare one attribution of many windows with as many windows in small attributions.

    The model is so small that shards, tables and tracks take most of the time.
    """
    data, model = PreparedData.open(data_folder), new_model(channels=16)
    settings = AttributionSettings(methods=("smoothgrad", "tp"), samples=1)

    def run(windows: int) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            whole = ShardPlan.make(model, data, split="train", settings=settings)
            shards = whole.shards[: windows // SHARD_SIZE]
            assert len(shards) * SHARD_SIZE == windows
            plan = whole.model_copy(update={"shards": shards})
            (Path(out) / "shards").mkdir()
            attributor = Attributor(model, settings)
            for index in missing_shards(plan, Path(out)):
                run_shard(attributor, data, plan, index, Path(out))
            merge_shards(plan, Path(out))
            write_tracks(plan, data, Path(out))

    def in_turn() -> None:
        for _ in range(MANY // FEW):
            run(FEW)

    return Comparison(
        "shards, tables and tracks of one process",
        "windows/s",
        MANY,
        {f"{MANY:,} windows": lambda: run(MANY), f"{FEW:,} windows, again and again": in_turn},
    )


def of_actors(folder: Path, data_folder: Path) -> Comparison:
    """Compare tiny-1k on two actors and on one, each on one core; Ray has started before."""
    data, model_folder = PreparedData.open(data_folder), folder / "model"
    model = new_model(channels=128)
    save_window_model(model, model_folder)
    settings = AttributionSettings(methods=("ig",), steps=16, tolerance=None, shuffles=1)
    shards, numbers = 32, itertools.count()

    plan = ShardPlan.make(model, data, split="train", settings=settings)
    plan = plan.model_copy(update={"shards": plan.shards[:shards]})
    cluster = ExitStack()
    cluster.enter_context(connect(None))
    atexit.register(cluster.close)

    def run(actors: int) -> None:
        out = folder / f"run-{next(numbers)}"
        with start(Output(out), plan) as run:
            attribute_in_run(run, model_folder, data, actors=actors, resources=Resources(cpu=1))

    return Comparison(
        "attribution on actors",
        "windows/s",
        shards * SHARD_SIZE,
        {"two actors": lambda: run(2), "one actor": lambda: run(1)},
    )


def new_model(channels: int) -> WindowModel:
    """Return a model with random weights that calls every labelled base."""
    model = build_model(
        ModelSettings(d_model=channels, n_layer=1 if channels < 128 else 2),
        Readout(window=100, flank=8, lookahead=8, strands="forward"),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    model.threshold = 0.0
    torch.set_num_threads(1)
    return model
