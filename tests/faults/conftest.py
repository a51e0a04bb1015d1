"""Fixtures of the tests that inject faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import run_job
from tests.faults.small_runs import SPACE, Inputs, Nodes, Result, result_of


@pytest.fixture(scope="session")
def inputs(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    space = tmp_path_factory.mktemp("space") / "space.yaml"
    space.write_text(SPACE)
    return Inputs(small_data, space)


@pytest.fixture(scope="session")
def calm_run(inputs: Inputs, cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("calm") / "run"
    run_job("tune", "zdna", *inputs.arguments(out))
    return out


@pytest.fixture(scope="session")
def calm(calm_run: Path) -> Result:
    return result_of(calm_run)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two workers of one CPU."""
    found = Nodes(tmp_path)
    found.add()
    found.add()
    yield found
    found.shutdown()
