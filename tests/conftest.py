"""Fixtures that every room's tests may use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyarrow import fs

from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.storage import S3Path

# Ray makes its workers nice, so that on a busy machine a test would wait for everything else.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """One Ray for all tests of a session: starting it takes longer than any of them."""
    from hyena_ray.cluster.start import connect

    with connect("local") as found:
        yield found


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared windows of 40 simulated bases with 8 on each side, three shards to test on."""
    folder = tmp_path_factory.mktemp("small")
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    recipe = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(40,), flank=8
    )
    prepare(recipe, folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and the reference vectors."""
    folder = os.environ.get("HYENA_RAY_SHARED")
    if not folder:
        pytest.skip("HYENA_RAY_SHARED is unset: real data and reference vectors are not at hand")
    return Path(folder)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[dict[str, str]]:
    """An S3 server on loopback, in a process of its own; the environment that leads to it."""
    code = (
        "from moto.server import ThreadedMotoServer as S\n"
        "s = S(ip_address='127.0.0.1', port=0, verbose=False); s.start()\n"
        "print(s.get_host_and_port()[1], flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        port = next(line for line in lines if line.strip().isdigit()).strip()
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        server.kill()


@pytest.fixture
def bucket(
    s3_server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> S3Path:
    """An empty bucket on S3."""
    for key, value in s3_server.items():
        monkeypatch.setenv(key, value)
    name = f"bucket-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]}"
    store, _ = fs.FileSystem.from_uri(f"s3://{name}?allow_bucket_creation=true")
    store.create_dir(name)
    return S3Path(name)


# No deadline: the machines are shared. The same examples each time: a failure can be repeated.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")
