"""One small real search for all tests of this room, with sanity checks and a comparison."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hyena_ray.commands import Outcome
from tests.command import run
from tests.report.report_runs import Runs, comparison

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def runs(tuned_run: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("report")
    copy = Path(shutil.copytree(tuned_run, folder / "tuned"))
    given = ("--model", copy / "model", "--data", small_data, "--methods", "input_x_gradient")
    done = run("sanity", *given, "--limit", "6", "--out", copy / "sanity")
    assert done.code == 0, done.stderr
    return Runs(copy, comparison(folder / "compared", small_data), small_data)


@pytest.fixture
def tuned(runs: Runs, tmp_path: Path) -> Path:
    """Copy the search, for a test that changes it."""
    return Path(shutil.copytree(runs.tuned, tmp_path / "tuned"))


@pytest.fixture(scope="session")
def report() -> Callable[..., Outcome]:
    """Return `main` of the job."""
    main = runpy.run_path(str(ROOT / "jobs" / "report.py"))["main"]

    def job(*arguments: object) -> Outcome:
        found: Outcome = main([str(argument) for argument in arguments])
        return found

    return job
