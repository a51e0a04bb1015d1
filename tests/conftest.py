"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Ray makes its workers nice, so that on a busy machine a test would wait for everything else.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """One Ray for all tests of a session: starting it takes longer than any of them."""
    from hyena_ray.cluster.start import connect

    with connect("local") as found:
        yield found


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the real data and the reference vectors."""
    folder = os.environ.get("HYENA_RAY_SHARED")
    if not folder:
        pytest.skip("HYENA_RAY_SHARED is unset: real data and reference vectors are not at hand")
    return Path(folder)


# No deadline: the machines are shared. The same examples each time: a failure can be repeated.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")
