"""Small runs, the jobs as processes of their own, and clusters whose nodes can be killed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow.parquet as pq

from hyena_ray.files import sha256_file
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.tune import TuneRecord

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
    summary = TuneRecord.read(out)
    columns = ["trial", "state", "score", "readout.lookahead", "training.learning_rate"]
    models: list[AnyPath] = [*(out / "trials").glob("*/model/model.safetensors")]
    return Result(
        table.select(columns).to_pylist(),
        [sha256_file(model) for model in sorted(models, key=str)],
        summary.test,
        summary.attribution,
    )


class Nodes:
    """A head that runs nothing, and workers that can be killed.

    Args:
        home: of its files and of the jobs that join it.
    """

    def __init__(self, home: Path) -> None:
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nodes_of_a_cluster.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._write, self._read = self._process.stdin, self._process.stdout
        self.address = self._read.readline().strip()
        self.workers: list[psutil.Process] = []
        """Their raylets."""

    def add(self, cpus: float = 1.0) -> None:
        self._write.write(f"{cpus}\n")
        self._write.flush()
        self.workers.append(psutil.Process(int(self._read.readline())))

    def kill(self, number: int) -> None:
        """As when a machine is lost: the raylet and all that it runs."""
        raylet = self.workers.pop(number)
        for process in [raylet, *raylet.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def start(self, job: str, *arguments: str) -> Job:
        """One of jobs/, on this cluster."""
        path = str(ROOT / "jobs" / f"{job}.py")
        return Job(path, *arguments, "--address", self.address, environment=self.environment)

    def shutdown(self) -> None:
        self._write.close()
        self._process.wait(60)
        self._read.close()


class Job:
    """A job as a process of its own."""

    def __init__(self, *command: str, environment: Mapping[str, str] = os.environ) -> None:
        # Not a pipe, which nobody reads while the job runs, and which may be full.
        self._messages = Path(tempfile.mkstemp(prefix="messages-")[1])
        with self._messages.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env=environment,
            )

    @property
    def messages(self) -> str:
        """What it has said so far."""
        return self._messages.read_text()[-20_000:]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until something is so, while the job runs."""
        deadline = time.monotonic() + 300
        while not condition():
            assert self.process.poll() is None, self.messages
            assert time.monotonic() < deadline, self.messages
            time.sleep(0.1)

    def finish(self, code: int = 0) -> str:
        """The messages of a job that ends with this code."""
        assert self.process.wait(600) == code, self.messages
        return self.messages
