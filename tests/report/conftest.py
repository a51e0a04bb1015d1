"""One small real search for all tests of this room, with sanity checks and a comparison."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hyena_ray.outcomes import Outcome
from tests.command_line import run_job
from tests.report.report_runs import Runs, comparison


@pytest.fixture(scope="session")
def runs(tuned_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("report")
    copy = Path(shutil.copytree(tuned_run, folder / "tuned"))
    given = ("--model", copy / "model", "--data", small_data, "--methods", "input_x_gradient")
    run_job("sanity", *given, "--limit", "6", "--out", copy / "sanity")
    return Runs(copy, comparison(folder / "compared", small_data), small_data)


@pytest.fixture
def tuned(runs: Runs, tmp_path: Path) -> Path:
    """Copy the search without its page, for a test that changes it."""
    without_page = shutil.ignore_patterns("report.html")
    return Path(shutil.copytree(runs.tuned, tmp_path / "tuned", ignore=without_page))


@pytest.fixture(scope="session")
def report() -> Callable[..., Outcome]:
    """Return what runs the job."""
    return lambda *words: run_job("report", *words)
