"""A small tuning run under a Ray with a dashboard; prints as JSON what could be seen of it there.

    python tests/jobs/watched_run.py FOLDER

Before that, shards of which the first cannot end before the metrics have been read: what is
exported while work goes on does not depend on how long it takes.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read by Ray when it starts; 10 s without.
os.environ.update(RAY_metrics_report_interval_ms="1000")

import ray
from ray.util.state import list_actors, list_tasks

from hyena_ray.cli import run as run_command
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Resources
from hyena_ray.cluster.start import connect
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.genome.simulation import simulate_genome

PATIENCE = 120.0
SPACE = """\
task: zdna
trials: 2
scheduler: {grace_period: 2}
attribution: {methods: [tp], shuffles: 1}
settings: {data.length: 100, model.d_model: 16, model.n_layer: 1, training.epochs: 2}
search:
  training.learning_rate: {low: 4e-3, high: 1e-2, log: true}
"""
SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
TAG = re.compile(r'(\w+)="([^"]*)"')


class Scraper:
    """Reads this node's Prometheus endpoint again and again, and keeps how our metrics change."""

    def __init__(self) -> None:
        (node,) = ray.nodes()
        self._url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.seen: list[dict[str, Any]] = []
        self._last: dict[str, float] = {}
        self._thread.start()

    def _read(self) -> None:
        while not self._over.wait(0.3):
            with urllib.request.urlopen(self._url, timeout=PATIENCE) as answer:
                text = answer.read().decode()
            for line in text.splitlines():
                sample = SAMPLE.match(line)
                if sample and "hyena_ray" in sample[1]:
                    tags = dict(TAG.findall(sample[2]))
                    kept = {key: tags[key] for key in ("work", "JobId", "state") if key in tags}
                    series, value = f"{sample[1]} {kept}", float(sample[3])
                    if self._last.get(series) != value:
                        self._last[series] = value
                        self.seen.append({"name": sample[1], "tags": kept, "value": value})

    def wait_for(self, name: str, work: str, at_least: float) -> None:
        """Until a metric of some work was seen to be so high."""
        deadline = time.monotonic() + PATIENCE
        while not any(
            each["name"] == f"ray_hyena_ray_{name}"
            and each["tags"]["work"] == work
            and each["value"] >= at_least
            for each in list(self.seen)
        ):
            assert time.monotonic() < deadline, (name, work, self.seen)
            time.sleep(0.2)

    def stop(self) -> list[dict[str, Any]]:
        self._over.set()
        self._thread.join()
        return self.seen


def squares(folder: Path) -> Shards:
    """Four shards, of which the last waits for the file `go`."""

    def make() -> Callable[[int], None]:
        def work(number: int) -> None:
            deadline = time.monotonic() + PATIENCE
            while number == 3 and not (folder / "go").exists():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            (folder / f"{number}.done").write_text(str(number**2))

        return work

    return Shards(
        name="squares",
        numbers=range(4),
        make=make,
        is_done=lambda number: (folder / f"{number}.done").exists(),
        describe=lambda number: f"square of {number}",
        windows=lambda number: 10,
    )


def main(folder: Path) -> None:
    made = simulate_genome(folder, contig_length=20_000, tracts=60, decoys=60)
    settings = PrepareSettings(task="zdna", genome=made.genome, regions=made.regions)
    prepare(settings, folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    with connect("local", dashboard=True):
        scraper = Scraper()

        def go() -> None:
            for name, at_least in (
                ("shards_done", 3),
                ("windows_total", 30),
                ("windows_per_second", 0.01),
            ):
                scraper.wait_for(name, "squares", at_least)
            (folder / "go").touch()

        threading.Thread(target=go, daemon=True).start()
        run_shards(squares(folder), actors=1, resources=Resources(cpu=1))
        given = ["--space", "space.yaml", "--data", "data", "--out", "run"]
        words = [word if word.startswith("--") else str(folder / word) for word in given]
        run_command(["tune", "zdna", *words])
        # The last values are exported a second later.
        scraper.wait_for("shards_done", "attribution", at_least=1)
        address = f"http://{ray._private.worker.get_dashboard_url()}"
        tasks = list_tasks(address=address, detail=True, limit=1000)
        actors = list_actors(address=address, detail=True, limit=1000)
        token = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
        job = ray.get_runtime_context().get_job_id()
        request = urllib.request.Request(f"{address}/api/data/datasets/{job}", headers=token)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            datasets = json.load(answer)["datasets"]
        seen = {
            "job": job,
            "metrics": scraper.stop(),
            "tasks": sorted({each.name for each in tasks}),
            "actors": sorted({f"{each.class_name}: {each.repr_name}" for each in actors}),
            "datasets": sorted(each["dataset"] for each in datasets),
        }
    print(json.dumps(seen, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
