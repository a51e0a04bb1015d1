"""What the benchmarks of costs print, in small."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyena_ray.cli.commands import JOBS as COMMANDS

JOBS = Path(__file__).parents[2] / "jobs"
TRIALS = """\
import json, pathlib, sys
from benchmarks.tune import of_trials
small = {"training.epochs": 1, "data.limit": 64, "model.d_model": 16, "model.n_layer": 1}
print(json.dumps(of_trials(pathlib.Path(sys.argv[1]), trials=2, **small).measure()))
"""
"""In a process and a Ray of its own, whose workers find the module too."""


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The modules by name."""
    monkeypatch.syspath_prepend(JOBS)
    return {
        name: importlib.import_module(f"benchmarks.{name}")
        for name in ("figures", "memory", "startup", "tune")
    }


def test_a_cell_is_the_median_of_its_rounds(benchmarks: dict[str, Any]) -> None:
    rounds = iter([{"ours": {"s": 3.0}}, {"ours": {"s": 1.0}}, {"ours": {"s": 2.0}}])
    figures = benchmarks["figures"].Figures("title", lambda: next(rounds))
    assert figures.median(3) == {"ours": {"s": 2.0}}


@pytest.mark.slow
def test_trials_cost_the_same_work_through_tune_and_in_a_loop(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIALS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{JOBS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        check=False,
        capture_output=True,
        text=True,
    )
    # Models that differ would be an error.
    assert done.returncode == 0, done.stderr
    ours, peer = json.loads(done.stdout.splitlines()[-1]).values()
    assert ours["ours over it"] == 1
    assert peer["ours over it"] == pytest.approx(ours["work_s"] / peer["work_s"])
    for row in (ours, peer):
        assert row["workers_s"] > 0
        assert 0 < row["idle_s"] < row["work_s"]
        assert row["processor_s"] > 0


def test_models_that_differ_are_no_comparison(benchmarks: dict[str, Any], tmp_path: Path) -> None:
    for name, text in (("ours", "a"), ("peer", "b")):
        model = tmp_path / name / "0000" / "model"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text(text)
    with pytest.raises(AssertionError, match="trial 0: the two models differ"):
        benchmarks["tune"].same_models(tmp_path / "ours", tmp_path / "peer", 1)


def test_the_first_work_of_every_job_is_a_function_that_there_is(
    benchmarks: dict[str, Any],
) -> None:
    known = benchmarks["startup"].FIRST_WORK
    read_what_others_leave = {"combine", "report", "threshold", "verify", "push"}
    assert set(known) == set(COMMANDS) - read_what_others_leave
    for function, worker in known.values():
        module, names = function.split(":")
        found: Any = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
        assert callable(found)
        assert worker == "-" or importlib.import_module(worker)


@pytest.mark.slow
def test_a_start_is_help_a_refusal_and_the_way_to_the_first_work(
    benchmarks: dict[str, Any], tmp_path: Path
) -> None:
    rows = benchmarks["startup"].of_jobs(tmp_path, ["prepare", "attribute"]).measure()
    for row in rows.values():
        assert row["help_s"] > 0
        assert row["refusal_s"] > 0
        assert row["work_s"] > row["ray_s"]
    assert rows["prepare"]["ray_s"] == rows["prepare"]["worker_s"] == 0
    assert rows["attribute"]["ray_s"] > 0
    assert rows["attribute"]["worker_s"] > 0


@pytest.mark.slow
def test_memory_is_that_of_driver_and_workers(benchmarks: dict[str, Any], tmp_path: Path) -> None:
    many, few = benchmarks["memory"].of_shards(tmp_path, 2, 4).measure().values()
    assert few["driver_mb"] >= few["before_mb"] > 100
    assert few["worker_mb"] > 100
    assert many["driver ratio"] == many["worker ratio"] == 1
    assert few["driver ratio"] == many["driver_mb"] / few["driver_mb"]
