"""Who gets into a cluster that a job starts on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.slow
STARTS = """
import ipaddress, json, os, psutil, subprocess, sys, urllib.error, urllib.request
import ray
from hyena_ray.cluster.start import connect

def status(port, token=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/jobs/")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        return urllib.request.urlopen(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

def join(address, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")} | more
    # ray.init itself would try for minutes.
    code = f"from ray._raylet import GcsClient; GcsClient({address!r}).internal_kv_keys(b'')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    return "joined" if done.returncode == 0 else done.stderr

with connect("local", dashboard=True):
    ray.get(ray.remote(lambda: None).remote())  # so that there is a worker
    token = os.environ["RAY_AUTH_TOKEN"]
    me = psutil.Process()
    listening = {
        (process.name(), *socket.laddr)
        for process in (me, *me.children(recursive=True))
        for socket in process.net_connections("inet") if socket.status == "LISTEN"
    }
    port = int(ray.init(ignore_reinit_error=True).dashboard_url.rpartition(":")[2])
    gcs = ray.get_runtime_context().gcs_address
    print(json.dumps({
        "names": sorted({name for name, _, _ in listening}),
        "open": sorted({
            f"{name} {ip}:{port}" for name, ip, port in listening
            if not ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback
        }),
        "statuses": [status(port), status(port, "0" * 64), status(port, token)],
        "without": join(gcs, RAY_AUTH_MODE="disabled"),
        "wrong": join(gcs, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
        "right": join(gcs, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
    }))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a cluster says that was started where the environment turns tokens off."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    environment |= {"HOME": str(tmp_path_factory.mktemp("home")), "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_listens_beyond_this_machine(found: dict[str, Any]) -> None:
    assert {"gcs_server", "raylet"} <= set(found["names"])
    assert found["open"] == []


def test_the_dashboard_and_its_jobs_ask_for_the_token(found: dict[str, Any]) -> None:
    without, wrong, right = found["statuses"]
    assert without == 401
    assert wrong == 403
    assert right == 200


def test_a_client_without_the_token_cannot_join(found: dict[str, Any]) -> None:
    assert "AuthenticationError" in found["without"]
    assert "AuthenticationError" in found["wrong"]
    assert found["right"] == "joined"
