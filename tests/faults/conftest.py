"""Fixtures of the tests that inject faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.small_runs import Inputs, Nodes
from tests.tuned_run import Result, result_of


@pytest.fixture
def inputs(small_data: Path, tuned_run: Path) -> Inputs:
    """What the shared run was made of."""
    return Inputs(small_data, tuned_run.with_name("space.yaml"))


@pytest.fixture
def calm(tuned_run: Path) -> Result:
    """What a run finds that nothing happens to."""
    return result_of(tuned_run)


@pytest.fixture(scope="module")
def s3_nodes(
    s3_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """Two workers of one CPU that find the S3 server, and which no test kills."""
    yield from two_nodes(Nodes(tmp_path_factory.mktemp("nodes"), s3_server))


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two workers of one CPU."""
    yield from two_nodes(Nodes(tmp_path))


def two_nodes(started: Nodes) -> Iterator[Nodes]:
    started.add()
    started.add()
    yield started
    started.shutdown()
