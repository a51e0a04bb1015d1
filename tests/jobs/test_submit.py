"""Jobs submitted to a cluster that listens on loopback and asks for a token."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from hyena_ray.workflows.tune import TuneRecord
from tests.tuned_run import result_of

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
EXCLUDES = [".venv", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"]
pytestmark = pytest.mark.slow


class Head(NamedTuple):
    """A running head node."""

    client: JobSubmissionClient
    home: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("home")
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
            *("--node-ip-address=127.0.0.1", f"--temp-dir={temporary}"),
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


def _client(address: str, token: str, started: subprocess.Popen[bytes]) -> JobSubmissionClient:
    deadline = time.monotonic() + 120
    while True:
        try:
            return JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"})
        except (ConnectionError, RuntimeError):
            assert started.poll() is None, "the head node ended"
            assert time.monotonic() < deadline
            time.sleep(1)


def begin(head: Head, entrypoint: str) -> str:
    """Submit a job; its id."""
    job: str = head.client.submit_job(
        entrypoint=f"{sys.executable} {entrypoint}",
        runtime_env={"working_dir": str(ROOT), "excludes": EXCLUDES},
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


def test_the_job_without_any_argument_succeeds(head: Head) -> None:
    status, log = submit(head, "jobs/tune_zdna.py")
    assert status == JobStatus.SUCCEEDED, log
    (folder,) = (head.home / "ray_results" / "hyena_ray").iterdir()
    assert str(folder) in log
    assert "zdna trials: 4 of 4 trials in" in log
    assert "share zdna windows length=100 train: took" in log
    assert "score test windows: took" in log
    assert "attribution: waiting for 2 actors to start" in log
    assert re.search(r"attribution: (\d+) of \1 shards in .* windows/s\n", log)
    assert "simulated: no figure here says anything about real DNA" in log
    summary = TuneRecord.read(folder)
    assert summary.simulated
    assert " ".join(summary.kmers["consensus"]) in log


def test_a_stopped_search_keeps_what_it_did_and_goes_on_to_the_end_of_an_undisturbed_one(
    head: Head, small_data: Path, tuned_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    space = tuned_run.with_name("space.yaml")
    entrypoint = f"jobs/tune_zdna.py --data {small_data} --space {space} --out {out}"
    job = begin(head, entrypoint)
    deadline = time.monotonic() + 300
    while not (out / "trials" / "0000" / "checkpoint.pt").exists():
        assert time.monotonic() < deadline, head.client.get_job_logs(job)
        time.sleep(0.2)
    head.client.stop_job(job)
    status, log = end(head, job)
    assert status == JobStatus.STOPPED
    assert "stopped by SIGTERM; what was finished is kept" in log
    assert not (out / "manifest.json").exists()
    status, log = submit(head, f"{entrypoint} --resume")
    assert status == JobStatus.SUCCEEDED, log
    assert result_of(out) == result_of(tuned_run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--data /nowhere --out /tmp/hyena_ray_refused",
            "error: --data: /nowhere: there is no such folder",
        ),
        ("--out run", "error: --out: run: relative to a submitted job's working directory"),
    ],
)
def test_bad_input_fails_with_a_readable_last_line(
    head: Head, arguments: str, message: str
) -> None:
    status, log = submit(head, f"jobs/tune_zdna.py {arguments}")
    assert status == JobStatus.FAILED
    assert log.strip().splitlines()[-1].startswith(message), log


def test_nobody_gets_in_without_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{head.client.get_address()}/api/jobs/")
    with refusal.value:
        assert refusal.value.code in (401, 403)
