"""Run work on a node with two fake GPUs, and print as JSON which of them each process saw.

    python -m tests.cluster.gpus_of_a_node FOLDER DATA

Ray assigns as many GPUs as it is configured with, without checking that they exist. torch sees
none, so all work runs on the CPU.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from hyena_ray.cli import run as run_command
from hyena_ray.cluster._ray_internals import loopback_only
from hyena_ray.cluster.feeds import SharedData
from hyena_ray.cluster.pool import Shards, check_devices, run_shards, run_task
from hyena_ray.cluster.resources import Placement, Resources, TrialResources
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.streams import share
from hyena_ray.cluster.workers import Report, run_on_workers
from hyena_ray.errors import InputError
from hyena_ray.search import tune_experiment
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import StoredStudy
from hyena_ray.search.trial import TrialPlan, run_trial
from hyena_ray.search.trial_fields import EPOCH, FINISHED, METRIC, PROBLEM, SCORE, SECONDS
from hyena_ray.training.data_parallel import Workers
from tests.tuned_run import SPACE

GPUS, CPUS = 2, 6
PATIENCE = 120.0


def visible_gpus() -> str:
    """Return the GPUs that are visible to this process, as CUDA would read them."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def meet(folder: Path, name: str, count: int) -> None:
    """Wait until `count` processes have arrived, so that all of them run at the same time."""
    (folder / name).touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < deadline, f"{count} processes do not run at the same time"
        time.sleep(0.05)


def seen_by_actors(folder: Path, gpu: float, count: int) -> list[str]:
    """Return the GPUs that each of several concurrent actors saw."""
    here, seen = folder / "here", folder / "seen"
    for each in (here, seen):
        each.mkdir(parents=True)

    def make() -> Callable[[int], object]:
        def work(number: int) -> None:
            meet(here, str(number), count)
            (seen / str(number)).write_text(visible_gpus())

        return work

    shards = Shards(
        name="look",
        numbers=range(count),
        make=make,
        is_done=lambda number: (seen / str(number)).exists(),
        describe=str,
    )
    run_shards(shards, actors=count, resources=Resources(cpu=1, gpu=gpu))
    return sorted(path.read_text() for path in seen.iterdir())


def seen_by_trials(folder: Path, gpu: float, count: int) -> list[str]:
    """Return the GPUs that each of several concurrent trials saw."""
    here, seen = folder / "here", folder / "seen"
    for each in (here, seen):
        each.mkdir(parents=True)

    def look(config: dict[str, Any], plan: TrialPlan) -> None:
        # Everything that `run_trial` does, except the training.
        run_trial.__globals__["_train"] = lambda *given: None
        run_trial(config, plan)
        meet(here, str(config["number"]), count)
        (seen / str(config["number"])).write_text(visible_gpus())
        report = {EPOCH: 1, SCORE: 0.5, FINISHED: True, PROBLEM: "", SECONDS: 1.0}
        tune.report({**report, METRIC + "average_precision": 0.5})

    tune_experiment.run_trial = look
    (folder / "space.yaml").write_text(SPACE.replace("trials: 3", f"trials: {count}"))
    space = SearchSpace.load(folder / "space.yaml")
    placement = Placement(count, 1, TrialResources(gpu=gpu))
    nothing: Any = share(None)
    data = SharedData({}, nothing)
    stored = StoredStudy(folder, space)
    tune_experiment.run_trials(space, stored, data, folder, placement, fingerprint="search")
    return sorted(path.read_text() for path in seen.iterdir())


def seen_by_workers(folder: Path) -> list[str]:
    """Return the GPUs that each worker saw in a run without GPUs."""
    seen: list[str] = []

    def look(workers: Workers, report: Report) -> None:
        every = workers.merge([visible_gpus()])
        report({"seen": every})

    resources = TrialResources(gpu=0, workers=2)
    run_on_workers(look, resources, folder, name="look", tell=lambda r: seen.extend(r["seen"]))
    return seen


def dry_run_of_tune(folder: Path, data: str) -> dict[str, Any]:
    """Return the resources that a search would take if the user requests none."""
    (folder / "space.yaml").write_text(SPACE.replace("trials: 3", "trials: 5"))
    given = ["--data", data, "--space", str(folder / "space.yaml"), "--out", str(folder / "run")]
    outcome = run_command(["tune", "zdna", *given, "--dry-run"])
    assert outcome is not None
    return {"text": outcome.text, **outcome.found}


def described_device(gpu: float) -> str:
    """Return the description of a run's device, or the message with which the run is refused."""
    try:
        return check_devices(Placement(2, 1, Resources(gpu=gpu)))
    except InputError as error:
        return str(error)


def main(folder: Path, data: str) -> None:
    logging.basicConfig(level=logging.WARNING)
    with loopback_only():
        ray.init("local", num_cpus=CPUS, num_gpus=GPUS, log_to_driver=False)
    with connect() as cluster:
        seen = {
            "cluster": cluster._asdict(),
            "tasks": {
                str(gpu): run_task(visible_gpus, Resources(cpu=1, gpu=gpu), "look")
                for gpu in (1, 0)
            },
            "devices": {str(gpu): described_device(gpu) for gpu in (1, 0)},
            "actors": {
                "1": seen_by_actors(folder / "whole", 1, 2),
                "0.5": seen_by_actors(folder / "half", 0.5, 4),
                "0": seen_by_actors(folder / "none", 0, 2),
            },
            "trials": {
                "1": seen_by_trials(folder / "trials of one", 1, 2),
                "0": seen_by_trials(folder / "trials of none", 0, 2),
            },
            "workers": seen_by_workers(folder / "workers"),
            "search": dry_run_of_tune(folder, data),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
