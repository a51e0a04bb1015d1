"""Memory of driver and workers, with few shards and with many."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figures, Rows
from benchmarks.processes import Watch, peak_mb
from benchmarks.shards import new_model
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import ShardPlan
from hyena_ray.cluster.resources import Resources
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.runs.run import Output, start
from hyena_ray.workflows.attribute import attribute_in_run

FEW, MANY = 10, 1_000
"""Numbers of shards."""
SIZE = 16
"""Windows of a shard: so few that memory kept for each shard shows."""
ACTORS = 2
SETTINGS = AttributionSettings(methods=("smoothgrad", "tp"), samples=1)


def benchmark_memory(folder: Path) -> list[Figures]:
    return [of_shards(folder, FEW, MANY)]


def of_shards(folder: Path, few: int, many: int) -> Figures:
    """Measure the first shards of one plan; each number of shards has its own process and Ray."""
    made = simulate_genome(
        folder, contig_length=20_000 + 400 * many, tracts=2 * many, decoys=2 * many
    )
    recipe = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, train_stride=5, flank=8
    )
    prepare(recipe, folder / "data")
    save_window_model(new_model(channels=16), folder / "model")

    def measure() -> Rows:
        rows = {f"{shards:,} shards": in_a_process(folder, shards) for shards in (many, few)}
        most = rows[f"{many:,} shards"]
        for row in rows.values():
            row |= {f"{who} ratio": most[f"{who}_mb"] / row[f"{who}_mb"] for who in WHO}
        return rows

    return Figures(f"memory of attribution on {ACTORS} actors, shards of {SIZE} windows", measure)


WHO = ("driver", "worker")


def in_a_process(folder: Path, shards: int) -> dict[str, float]:
    """Measure peak memory in a new process, since the peak of a process never falls."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(folder), str(shards)],
        cwd=Path(__file__).parents[1],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def attributed(folder: Path, shards: int) -> dict[str, float]:
    """Attribute shards in this process, and return its memory before and after, and a worker's."""
    model, data = load_window_model(folder / "model"), PreparedData.open(folder / "data")
    whole = ShardPlan.make(model, data, split="train", settings=SETTINGS, size=SIZE)
    plan = whole.model_copy(update={"shards": whole.shards[:shards]})
    assert len(plan.shards) == shards
    with connect(None):
        before = peak_mb(os.getpid())
        with Watch() as watch:
            out, resources = folder / f"out-{os.getpid()}", Resources(cpu=1)
            with start(Output(out), plan) as run:
                attribute_in_run(run, folder / "model", data, actors=ACTORS, resources=resources)
    return {
        "before_mb": before,
        "driver_mb": peak_mb(os.getpid()),
        "worker_mb": max(watch.peaks_mb("ray::attribution")),
    }


if __name__ == "__main__":
    print(json.dumps(attributed(Path(sys.argv[1]), int(sys.argv[2]))))
