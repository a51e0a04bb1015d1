"""One Ray for all tests of a session: starting it takes longer than any of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    from hyena_ray.cluster.start import connect

    with connect("local") as found:
        yield found
