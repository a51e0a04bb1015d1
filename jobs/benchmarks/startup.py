"""Start-up time of every job: imports, checks, and the start of Ray."""

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
from benchmarks.variants import write_deletions
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.simulated import simulate
from hyena_ray.model.saved import save_window_model
from hyena_ray.tasks import TASKS

PROBE = Path(__file__).with_name("first_work.py")
MISTYPED = "--ouput"
"""An option that no job has."""


class FirstWork(NamedTuple):
    """The call with which a job, its inputs read and checked, starts to work."""

    function: str
    """Function that does the work: `module:function`."""
    worker: str = "-"
    """Module that a worker of Ray needs for it; - where the job works in its own process."""


FIRST_WORK = {
    "prepare": FirstWork("hyena_ray.dataset.preparation:prepare"),
    "train": FirstWork("hyena_ray.training.trainer:Trainer.step"),
    "pretrain": FirstWork(
        "hyena_ray.cluster.workers:run_in_own_process", "hyena_ray.training.pretraining"
    ),
    "evaluate": FirstWork("hyena_ray.training.evaluation:evaluate_on_split"),
    "sanity": FirstWork("hyena_ray.attribution.sanity_checks:check_attribution"),
    "attribute": FirstWork("hyena_ray.cluster.pool:run_shards", "hyena_ray.attribution.shards"),
    "compare": FirstWork("hyena_ray.cluster.feeds:share_data", "hyena_ray.training.trainer"),
    "tune": FirstWork("hyena_ray.search.tune_experiment:run_trials", "hyena_ray.search.trial"),
    "predict": FirstWork("hyena_ray.cluster.pool:run_shards", "hyena_ray.prediction.pieces"),
    "variants": FirstWork(
        "hyena_ray.cluster.pool:run_shards", "hyena_ray.prediction.variant_shards"
    ),
    "embed": FirstWork(
        "hyena_ray.cluster.pool:run_shards", "hyena_ray.prediction.embedding_shards"
    ),
    "simulate": FirstWork("hyena_ray.dataset.simulated:simulate"),
}
"""The first work of every job."""


class StartUp(NamedTuple):
    """Seconds of one job, from the start of its process unless stated otherwise."""

    help_s: float
    """Duration with --help."""
    refusal_s: float
    """Duration with a mistyped option."""
    work_s: float
    """Time until the work starts (for `train` its first batch), with inputs read and checked."""
    ray_s: float
    """Part of `work_s` that the start of Ray takes."""
    worker_s: float
    """Time from then until a worker of Ray has imported the modules of the work."""


def benchmark_startup(folder: Path) -> list[Figures]:
    """Time every job on the demo's simulated genome, with an untrained model."""
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
        "variants": [
            *("--model", str(model), "--genome", str(recipe.genome)),
            *(
                "--vcf",
                str(write_deletions(Path(str(recipe.genome)), folder / "variants.tsv", 100)),
            ),
        ],
        "embed": both,
        "simulate": ["zdna"],
        "tune": ["zdna"],  # on data of its own, as the demo
    }
    numbers = itertools.count()

    def measure() -> Rows:
        return {
            job: start_up(job, [*arguments[job], "--out", str(folder / f"out-{next(numbers)}")])
            for job in jobs
        }

    return Figures("start of a job", measure)


def start_up(job: str, arguments: Sequence[str]) -> dict[str, float]:
    """Time the help of a job, a refusal, and the way to its first work."""
    task = [word for word in arguments[:1] if not word.startswith("-")]
    started = time.monotonic()
    run("-m", "hyena_ray", job, *task, "--help")
    helped = time.monotonic()
    run("-m", "hyena_ray", job, *arguments, MISTYPED, code=2)
    refused = time.monotonic()
    function, worker = FIRST_WORK[job]
    lines = run(str(PROBE), function, worker, job, *arguments).splitlines()
    marks = json.loads(lines[-1])
    return StartUp(
        help_s=helped - started,
        refusal_s=refused - helped,
        work_s=marks["work"] - refused,
        ray_s=marks.get("ray_s", 0.0),
        worker_s=marks.get("worker", marks["work"]) - marks["work"],
    )._asdict()


def run(*command: str, code: int = 0) -> str:
    """Run a program, and return what it prints.

    Args:
        command: Arguments of Python.
        code: Code with which it must leave.

    Raises:
        RuntimeError: It left with another one.
    """
    done = subprocess.run([sys.executable, *command], check=False, capture_output=True, text=True)
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout
