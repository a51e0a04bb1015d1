"""Joining a cluster, or starting one on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import ray
from ray.exceptions import AuthenticationError
from ray.tune.error import TuneError

from hyena_ray.cluster import start
from hyena_ray.cluster._ray_internals import Autoscaling
from hyena_ray.cluster.resources import Cluster, Node
from hyena_ray.cluster.start import available_cores, connect, reason_of
from hyena_ray.errors import InputError, JobError


def test_a_local_start_has_cpus_to_spare_and_asks_for_a_token(cluster: Cluster) -> None:
    assert ray.cluster_resources()["CPU"] == max(4, available_cores())
    assert cluster.cpus - cluster.reserve == cluster.cores == available_cores()
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
    "address", ["http://127.0.0.1:8265", "https://ray.lab.org", "ray://127.0.0.1:10001", "nonsense"]
)
@pytest.mark.parametrize("given", [None, "auto"])
def test_an_address_from_the_environment_is_refused_by_the_name_of_its_variable(
    address: str, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with (
        pytest.raises(InputError, match=rf"^RAY_ADDRESS: {address}: .*; .*unset RAY_ADDRESS") as it,
        connect(given),
    ):
        pass
    assert "--address" not in str(it.value)
    if "://" in address:
        assert "URL" in str(it.value)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b""]
)
def test_a_server_that_is_not_rays_is_refused_at_once(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(start.ray, "init", lambda **_: pytest.fail("it would try for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(InputError, match=f"^--address: {address}: .*dashboard"),
            connect(address),
        ):
            pass
        thread.join()


def test_a_head_of_rays_answers_as_one(cluster: Cluster) -> None:
    start._check_that_ray_answers(ray.get_runtime_context().gcs_address)


REFUSALS = [
    (ConnectionError("Could not find any running Ray instance."), "ray start --head"),
    (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.3"), "versions"),
    (
        AuthenticationError("Token authentication is enabled but no token was found."),
        "RAY_AUTH_MODE",
    ),
    (Exception("Head node temp_dir not found in NodeInfo"), "ray start --head"),
    (AssertionError(), "ray start --head"),
]


@pytest.mark.parametrize(("error", "remedy"), REFUSALS)
def test_whatever_ray_raises_at_a_cluster_that_cannot_be_joined_is_one_line(
    error: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        try:
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from error
        except ConnectionError as wrapped:
            raise (wrapped if str(error) else error) from wrapped.__cause__

    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(start.ray, "init", init)
    with pytest.raises(InputError) as refused, connect("auto"):
        pass
    assert "\n" not in str(refused.value)
    assert remedy in str(refused.value).rpartition("; ")[2]
    assert " ".join(str(error).split())[:40] in str(refused.value)


WRONG_TOKEN = """Failed to connect to GCS. Last connection error: Traceback (most recent call last):
  File "node.py", line 1, in _init_gcs_client
ray.exceptions.AuthenticationError: InvalidAuthToken: Authentication token is incorrect
"""


def test_the_reason_at_the_end_of_a_traceback_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise RuntimeError(WRONG_TOKEN)

    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(start.ray, "init", init)
    with pytest.raises(InputError, match=r"InvalidAuthToken.*; set RAY_AUTH_MODE") as refused:
        connect("auto").__enter__()
    assert "node.py" not in str(refused.value)


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup. This could happen because some"),
        RuntimeError("Failed to start GCS.  Last 2 lines of error files:\nE no room\nPlease check"),
        ValueError("The configured object store size exceeds the memory"),
        BlockingIOError(11, "Resource temporarily unavailable"),
        PermissionError(13, "Permission denied"),
        OSError(28, "No space left on device"),
    ],
)
def test_whatever_ray_raises_when_it_does_not_start_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise error

    monkeypatch.setattr(start.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(start.ray, "init", init)
    with pytest.raises(JobError, match=r"^Ray did not start on this machine: ") as failed:
        connect("local").__enter__()
    assert "\n" not in str(failed.value)
    assert " ".join(str(error).split()) in str(failed.value)


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
