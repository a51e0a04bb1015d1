"""A head node that listens on loopback and asks for a token, and jobs that are submitted to it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ray.job_submission import JobStatus, JobSubmissionClient

from tests.command_line import ROOT

RAY = Path(sys.executable).with_name("ray")
EXCLUDES = [".venv", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"]


class Head(NamedTuple):
    """A running head node."""

    client: JobSubmissionClient
    home: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_head(home: Path) -> Iterator[Head]:
    """Run a head node of two CPUs, whose jobs have this home."""
    # Unix sockets have short names, so Ray's files need a short folder.
    temporary = Path(tempfile.mkdtemp(prefix="hr", dir="/tmp"))
    port, dashboard = free_port(), free_port()
    token = secrets.token_hex(32)
    environment = {
        **os.environ,
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    started = subprocess.Popen(
        [
            *(str(RAY), "start", "--head", "--block", f"--port={port}", "--num-cpus=2"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *("--dashboard-agent-listen-port=0", f"--ray-client-server-port={free_port()}"),
            *("--node-ip-address=127.0.0.1", f"--temp-dir={temporary}/ray"),
            "--object-store-memory=500000000",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Head(_client(f"http://127.0.0.1:{dashboard}", token, started), home)
    finally:
        # To end it gently takes half a minute.
        os.killpg(started.pid, signal.SIGKILL)
        started.wait(60)
        shutil.rmtree(temporary, ignore_errors=True)


class Demo(NamedTuple):
    """The search of `python jobs/tune_zdna.py`, submitted to a head node."""

    folder: Path
    """Folder of the run."""
    log: str

    @classmethod
    def read(cls, home: Path) -> Demo:
        """Find the run in the home of the head node."""
        (folder,) = (home / "ray_results" / "hyena_ray").iterdir()
        return cls(folder, (home / "log").read_text())


def run_demo(home: Path) -> None:
    """Submit the job without any argument, to a head node with this home, and wait for its end."""
    with running_head(home) as head:
        status, log = submit(head, "jobs/tune_zdna.py")
        assert status == JobStatus.SUCCEEDED, log
    (home / "log").write_text(log)


def _client(address: str, token: str, started: subprocess.Popen[bytes]) -> JobSubmissionClient:
    deadline = time.monotonic() + 120
    while True:
        try:
            return JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"})
        except (ConnectionError, RuntimeError):
            assert started.poll() is None, "the head node ended"
            assert time.monotonic() < deadline
            time.sleep(1)


def begin(head: Head, entrypoint: str, **variables: str) -> str:
    """Submit a job with environment variables, and time to save when it is stopped; its id."""
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": "30", **variables}
    job: str = head.client.submit_job(
        entrypoint=f"{sys.executable} {entrypoint}",
        runtime_env={"working_dir": str(ROOT), "excludes": EXCLUDES, "env_vars": environment},
    )
    return job


def submit(head: Head, entrypoint: str) -> tuple[JobStatus, str]:
    """Status and log of a job, once it has ended."""
    return end(head, begin(head, entrypoint))


def end(head: Head, job: str) -> tuple[JobStatus, str]:
    deadline = time.monotonic() + 900
    while not (status := head.client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline, head.client.get_job_logs(job)
        time.sleep(1)
    return status, head.client.get_job_logs(job)
