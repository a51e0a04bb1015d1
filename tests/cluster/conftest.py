"""One Ray for all tests of a session: starting it takes longer than any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Ray makes its workers nice, so that on a busy machine a test would wait for everything else.
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    from hyena_ray.cluster.start import connect

    with connect("local") as found:
        yield found
