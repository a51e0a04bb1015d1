"""How long a job takes before it works: its imports, its checks, Ray."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figures, Rows
from benchmarks.model import new_model
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.simulated import simulate
from hyena_ray.model.saved import save_window_model
from hyena_ray.tasks import TASKS

JOBS = Path(__file__).parents[1]
SPACE = JOBS.parent / "search_spaces" / "demo_zdna.yaml"
PROBE = Path(__file__).with_name("first_work.py")
FIRST_WORK = {
    "prepare": "hyena_ray.dataset.preparation:prepare",
    "train": "hyena_ray.training.train_and_test:train_and_test",
    "pretrain": "hyena_ray.cluster.workers:run_in_own_process",
    "evaluate": "hyena_ray.training.evaluation:evaluate_on_split",
    "sanity": "hyena_ray.attribution.sanity_checks:check_attribution",
    "attribute": "hyena_ray.cluster.pool:run_shards",
    "compare": "hyena_ray.cluster.streams:share_windows",
    "tune_zdna": "hyena_ray.search.tune_experiment:run_trials",
    "predict": "hyena_ray.cluster.pool:run_shards",
    "simulate": "hyena_ray.dataset.simulated:simulate",
}
"""Of each job the function that works: before it, inputs are read and checked, and Ray starts."""


class StartUp(NamedTuple):
    """Of one job, in seconds from the start of its process unless said."""

    help_s: float
    """With --help, to its end."""
    imports_s: float
    """Until everything is imported."""
    ray_s: float
    """What the start of Ray takes of the next."""
    work_s: float
    """Until the work begins: inputs are read and checked."""
    worker_s: float
    """From then until a worker of Ray has imported what the work needs."""


def benchmark_startup(folder: Path) -> list[Figures]:
    """Every job on the demo's simulated genome, with an untrained model."""
    return [of_jobs(folder, list(FIRST_WORK))]


def of_jobs(folder: Path, jobs: Sequence[str]) -> Figures:
    recipe = simulate(TASKS["zdna"], folder, 0, lengths=(100,), flank=32)
    assert isinstance(recipe, PrepareSettings)
    data, model = folder / "data", folder / "model"
    manifest = prepare(recipe, data)
    assert manifest.simulated
    untrained = new_model()
    untrained.threshold = 0.0  # all is called, so that there is something to attribute
    save_window_model(untrained, model)
    both = ["--model", str(model), "--data", str(data)]
    arguments = {
        "prepare": ["zdna", "--genome", str(recipe.genome), "--regions", str(recipe.regions)],
        "train": ["--data", str(data)],
        "pretrain": ["--genome", str(recipe.genome)],
        "evaluate": both,
        "sanity": both,
        "attribute": both,
        "compare": ["--data", str(data), "--presets", "zdna/lookahead_head"],
        "predict": ["--model", str(model), "--genome", str(recipe.genome)],
        "simulate": ["zdna"],
        "tune_zdna": [
            "--data",
            str(data),
            "--space",
            str(SPACE),
        ],
    }
    numbers = itertools.count()

    def measure() -> Rows:
        return {
            job: start_up(job, [*arguments[job], "--out", str(folder / f"out-{next(numbers)}")])
            for job in jobs
        }

    return Figures("start of a job", measure)


def start_up(job: str, arguments: Sequence[str]) -> dict[str, float]:
    """Once for its help, and once as far as its first work."""
    path = str(JOBS / f"{job}.py")
    begun = time.monotonic()
    run(path, "--help")
    helped = time.monotonic()
    marks = json.loads(run(str(PROBE), path, FIRST_WORK[job], *arguments).splitlines()[-1])
    return StartUp(
        help_s=helped - begun,
        imports_s=marks["imported"] - helped,
        ray_s=marks.get("ray_s", 0.0),
        work_s=marks["work"] - helped,
        worker_s=marks.get("worker", marks["work"]) - marks["work"],
    )._asdict()


def run(*command: str) -> str:
    """What it prints.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
