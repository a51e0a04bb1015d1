"""Joining a cluster, or starting one on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import ray
from ray.tune.error import TuneError

from hyena_ray.cluster import start
from hyena_ray.cluster._ray_internals import Autoscaling
from hyena_ray.cluster.resources import Cluster, Node
from hyena_ray.cluster.start import available_cores, connect, reason_of
from hyena_ray.errors import InputError


def test_a_local_start_has_cpus_to_spare_and_asks_for_a_token(cluster: Cluster) -> None:
    assert ray.cluster_resources()["CPU"] == max(4, available_cores())
    assert ray.cluster_resources()["object_store_memory"] <= 2 << 30
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_connection_inside_another_is_the_same_one_and_stays(cluster: Cluster) -> None:
    with connect("local") as inner:
        assert inner.cpus == cluster.cpus
    assert ray.is_initialized()


def test_a_cluster_counts_nodes_that_autoscaling_may_add_by_kind(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"CPU": cluster.cpus, "GPU": cluster.gpus}
    kinds: list[tuple[dict[str, float], int]] = [
        ({"CPU": 8, "GPU": 1}, 3),
        (here, 2),  # one of them is running
        ({"CPU": 0}, 1),  # a head that does no work
        ({"CPU": 48, "GPU": 4}, -1),
    ]
    total = {"CPU": 8 * 3 + 2 * cluster.cpus, "GPU": 99.0}
    monkeypatch.setattr(start, "autoscaling", lambda: Autoscaling(total, kinds))
    with connect("local") as grown:
        pass
    nodes = {(node.cpus, node.gpus): node.number for node in grown.nodes}
    assert nodes == {(8, 1): 3, tuple(here.values()): 2, (48, 4): sys.maxsize}
    assert (grown.cpus, grown.gpus) == (total["CPU"], 99)
    assert cluster.nodes == (Node(cluster.cpus, cluster.gpus),)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    with (
        pytest.raises(InputError, match=f"^--address: {address}: no Ray cluster"),
        connect(address),
    ):
        pass


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Traceback (most recent call last):\n  File x\nOSError: no space\n", "OSError: no space"),
        ("The actor died.\nname: x\n", "The actor died."),
        ("", "TuneError"),
    ],
)
def test_the_reason_is_the_line_that_says_why(message: str, reason: str) -> None:
    assert reason_of(TuneError(message)) == reason


SIGNAL = """
import os, signal, sys
from hyena_ray.cluster.start import connect
from hyena_ray.cli.terminal import run_in_terminal
def work():
    with connect("local"):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
run_in_terminal("job", work)
"""


STARTING = """
import signal, sys, threading, time, os
from hyena_ray.cluster import start
from hyena_ray.cli.terminal import run_in_terminal
before = signal.getsignal(signal.SIGTERM)
def send():
    # Once ray.init has put its own handler in place of the job's.
    while "ray" not in getattr(signal.getsignal(signal.SIGTERM), "__module__", ""):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
def work():
    threading.Thread(target=send, daemon=True).start()
    with start.connect("local"):
        print("connected", file=sys.stderr)
run_in_terminal("job", work)
"""


def test_sigterm_while_ray_starts_ends_a_job_with_its_own_code_and_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTING],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "connected" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("stopped by SIGTERM; what was finished is kept")


ORPHANS = """
import sys, time
import psutil
from hyena_ray.cluster.start import connect
with connect("local"):
    import ray
    ray.get(ray.remote(lambda: 1).remote())
    mine = [p.pid for p in psutil.Process().children(recursive=True)]
    print(*mine, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_job_leaves_no_process_behind(tmp_path: Path) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", ORPHANS],
        env={**os.environ, "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with job:
        assert job.stdout is not None
        line = job.stdout.readline()
        children = [psutil.Process(int(number)) for number in line.split()]
        assert any("agent" in " ".join(child.cmdline()).lower() for child in children)
        job.kill()
    # Far below the minute after which Ray would give up by itself, on a busy machine too.
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_sigterm_ends_a_connected_job_with_its_own_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; what was finished is kept" in done.stderr
    assert not (tmp_path / ".ray").exists(), "the token is in no file"
