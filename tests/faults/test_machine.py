"""Memory, disk and shared memory run out; the run goes on, or stops with what it has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hyena_ray.errors import JobError
from tests.command_line import environment, run_job
from tests.faults.small_runs import Inputs, Job
from tests.tuned_run import Result, result_of

pytestmark = pytest.mark.slow


def tune_after(code: str, inputs: Inputs, out: Path) -> str:
    """Run a search in a process of its own, after `code`; return its messages."""
    program = f"""
import sys, time
from pathlib import Path
import numpy as np
import ray
from hyena_ray.cli import main
from hyena_ray.cluster import feeds, start
from hyena_ray.search import tune_experiment as experiment
from hyena_ray.search.trial import run_trial
{code}
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", program, *inputs.arguments(out)]
    return Job(command, environment()).finish()


HUNGRY = """
def trial(config, plan):
    marker = plan.folder_of(config["number"]).with_suffix(".hungry")
    if config["number"] == 1 and not marker.exists():
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        eaten = []
        while True:
            eaten.append(np.ones(1 << 23))
            time.sleep(0.02)
    run_trial(config, plan)

experiment.run_trial = trial
"""


def test_a_trial_that_takes_all_memory_is_run_again(
    inputs: Inputs, calm: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = psutil.virtual_memory()
    allowed = (memory.total - memory.available + (6 << 30)) / memory.total
    if allowed > 0.95:
        pytest.skip("less than 6 GiB of memory are free to be eaten")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{allowed:.3f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    messages = tune_after(HUNGRY, inputs, tmp_path / "run")
    assert (tmp_path / "run" / "trials" / "0001.hungry").exists()
    assert "trial 1 failed, and is tried again" in messages or "starting it again" in messages
    assert result_of(tmp_path / "run") == calm


SPILL = """
start.LOCAL_OBJECT_STORE = 80 << 20
share = feeds.share_data
kept = []

def share_data(*arguments):
    data = share(*arguments)
    kept.extend(ray.put(np.zeros(5 << 20)) for _ in range(5))
    return data

feeds.share_data = share_data
shutdown = ray.shutdown

def tell():
    session = Path(ray.init(ignore_reinit_error=True).address_info["session_dir"])
    spilled = [path for path in session.glob("ray_spilled_objects*/*") if path.stat().st_size]
    print(f"Spilled into {len(spilled)} files" if spilled else "nothing spilled", file=sys.stderr)
    shutdown()

ray.shutdown = tell
"""


def test_windows_that_are_spilled_to_disk_are_read_back(
    inputs: Inputs, calm: Result, tmp_path: Path
) -> None:
    messages = tune_after(SPILL, inputs, tmp_path / "run")
    assert "Spilled into" in messages
    assert result_of(tmp_path / "run") == calm


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB, of which a checkpoint takes 260."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("not allowed to mount a small file system here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("cluster")
def test_a_full_disk_stops_the_run_and_with_more_room_it_goes_on(
    inputs: Inputs, calm: Result, small_disk: Path
) -> None:
    out = small_disk / "run"
    with pytest.raises(JobError, match=r"(No space left|disk is full).*--resume"):
        run_job(*inputs.arguments(out))
    assert not (out / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    run_job(*inputs.arguments(out, "--resume"))
    assert result_of(out) == calm
