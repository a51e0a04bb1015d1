"""Small runs, the jobs as processes of their own, and clusters whose nodes can be killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from hyena_ray.files import sha256_file
from hyena_ray.storage import AnyPath
from hyena_ray.tuning.summary import RunSummary

ROOT = Path(__file__).parents[2]
SPACE = """\
task: zdna
trials: 3
scheduler: {grace_period: 99}
settings:
  data.length: 40
  data.limit: 400
  model.d_model: 16
  model.n_layer: 1
  model.max_seq_len: 130
  readout.flank: 8
  training.epochs: 3
attribution: {shuffles: 1, tolerance: null, steps: 4, samples: 4}
search:
  readout.lookahead: {choices: [4, 8]}
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""
"""No trial is stopped early, and so few are drawn without regard to earlier ones: what is found
depends neither on how many run at once nor on which ends first."""


class Inputs(NamedTuple):
    """What a run is made of."""

    data: AnyPath
    space: Path

    def arguments(self, out: AnyPath, *more: str) -> list[str]:
        """Of the tuning job."""
        return ["--data", str(self.data), "--space", str(self.space), "--out", str(out), *more]


class Result(NamedTuple):
    """All that two runs of the same plan have in common."""

    trials: list[dict[str, Any]]
    """Settings and scores."""
    weights: list[str]
    """sha256 of every trial's model."""
    test: dict[str, float]
    attribution: str
    """Digest of the tables."""


def result_of(out: AnyPath) -> Result:
    with (out / "trials.parquet").open("rb") as stream:
        table = pq.read_table(stream)
    summary = RunSummary.read(out)
    columns = ["trial", "state", "score", "readout.lookahead", "training.learning_rate"]
    models = sorted((out / "trials").glob("*/model/model.safetensors"))
    return Result(
        table.select(columns).to_pylist(),
        [sha256_file(model) for model in models],
        summary.test,
        summary.attribution,
    )


class Nodes:
    """A head that runs nothing, and workers."""

    def __init__(self) -> None:
        options = {"num_cpus": 0, "object_store_memory": 200_000_000, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=options)
        self.workers: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, cpus: float = 1.0) -> None:
        self.workers.append(self.cluster.add_node(num_cpus=cpus, object_store_memory=200_000_000))

    def kill(self, number: int) -> None:
        """Its raylet, and with it all that it runs."""
        self.cluster.remove_node(self.workers.pop(number), allow_graceful=False)


def start(job: str, *arguments: str) -> subprocess.Popen[str]:
    """A job as a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until something is so, while the job runs."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """The messages of a job that ends with this code."""
    _, messages = process.communicate(timeout=600)
    assert process.returncode == code, messages[-20_000:]
    return messages
