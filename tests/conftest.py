"""Fixtures that every room's tests may use."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from filelock import FileLock
from hypothesis import settings
from pyarrow import fs

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.storage import S3Path
from tests.command_line import run_job
from tests.tuned_run import SPACE

# Ray makes its workers nice, so that on a busy machine a test would wait for everything else.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes that test side by side share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

Once: TypeAlias = Callable[[str, Callable[[Path], None]], Path]
"""Takes a name and a function that fills a folder; see `once`."""

TESTS = Path(__file__).parent
FIRST = (
    "faults/test_chaos.py",
    "jobs/test_submit.py",
    "jobs/test_readme.py",
    "faults/test_nodes.py",
    "jobs/test_tutorial.py",  # waits for what test_submit.py makes, if that is not there yet
    "faults/test_trials.py",
    "faults/test_machine.py",
    "jobs/test_tune_workers.py",
    "jobs/test_terminal.py",
)
"""Files that take longest: begun last, one of them would run alone at the end."""


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their number: the header of gzip holds the time, and two workers that collect
    the tests in different seconds must give them the same names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest.

    `pytest -n N --dist loadfile --no-loadscope-reorder` gives out files in this order, each to one
    process, which makes its fixtures once.
    """
    ranks: dict[str, int] = {}
    for item in items:
        file = item.path.relative_to(TESTS).as_posix()
        slow = item.get_closest_marker("slow") is not None
        rank = FIRST.index(file) if file in FIRST else len(FIRST) + (not slow)
        ranks[file] = min(rank, ranks.get(file, rank))
    items.sort(key=lambda item: ranks[item.path.relative_to(TESTS).as_posix()])


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """One Ray for all tests of a session: starting it takes longer than any of them."""
    from hyena_ray.cluster.start import connect

    with connect("local") as found:
        yield found


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a folder once for all processes of a session, and return it; no test may change it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def fill(name: str, make: Callable[[Path], None]) -> Path:
        folder, filled = shared / name, shared / f"{name}.filled"
        with FileLock(shared / f"{name}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)  # another process failed here
                folder.mkdir()
                make(folder)
                filled.touch()
        return folder

    return fill


@pytest.fixture(scope="session")
def small_data(once: Once) -> Path:
    """Windows of 40 simulated bases with 24 on each side, and stretches of two of them to score."""
    return once("small", prepare_small) / "data"


def prepare_small(folder: Path) -> None:
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    recipe = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        stretch=80,
        flank=24,
    )
    prepare(recipe, folder / "data")


@pytest.fixture(scope="session")
def tuned_run(once: Once, small_data: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of a finished search on `small_data`, to which nothing happened: `SPACE`."""

    def tune(folder: Path) -> None:
        request.getfixturevalue("cluster")
        (folder / "space.yaml").write_text(SPACE)
        given = ("--data", small_data, "--space", folder / "space.yaml", "--out", folder / "run")
        run_job("tune", "zdna", *given)

    return once("tuned", tune) / "run"


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
