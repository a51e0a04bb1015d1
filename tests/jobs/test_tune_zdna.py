"""The tuning job from the command line to its manifest, through an interruption."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.resources import Cluster
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.outcomes import Outcome
from hyena_ray.workflows.tune import TuneRecord
from tests.command_line import run_job

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "tune_zdna.py"
SPACE = """\
task: zdna
trials: 3
concurrent: 1
settings:
  data.length: 40
  data.limit: 400
  model.d_model: 16
  model.n_layer: 1
  model.max_seq_len: 130
  readout.flank: 8
  training.epochs: 2
search:
  readout.lookahead: {choices: [4, 8]}
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""


class Inputs(NamedTuple):
    """What a run is made of."""

    data: Path
    space: Path


@pytest.fixture(scope="module")
def inputs(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    space = tmp_path_factory.mktemp("tune") / "space.yaml"
    space.write_text(SPACE)
    return Inputs(small_data, space)


def arguments(inputs: Inputs, out: Path, *more: str) -> list[str]:
    return [
        *("--data", str(inputs.data), "--out", str(out)),
        *("--space", str(inputs.space), *more),
    ]


def job(inputs: Inputs, out: Path, *more: str) -> Outcome:
    return run_job("tune", "zdna", *arguments(inputs, out, *more))


@pytest.fixture(scope="module")
def calm(inputs: Inputs, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "run"
    job(inputs, out)
    return out


def tried(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "trials.parquet")
    columns = ["trial", "readout.lookahead", "training.learning_rate"]
    rows: list[dict[str, Any]] = table.select(columns).to_pylist()
    return rows


@pytest.mark.slow
def test_a_run_leaves_all_that_the_design_lists(calm: Path) -> None:
    for name in ("config.yaml", "trials.parquet", "study.db", "model/model.safetensors"):
        assert (calm / name).is_file()
    for table in ("ig", "smoothgrad", "tp", "consensus"):
        assert (calm / "kmers" / f"{table}.parquet").is_file()
        assert (calm / "kmers" / f"{table}.csv").is_file()
    summary = TuneRecord.read(calm)
    assert summary.simulated
    assert sum(summary.trials.values()) == 3
    assert summary.test["f1"] > 0.1
    assert summary.kmers["consensus"]
    table = pq.read_table(calm / "trials.parquet")
    assert table.num_rows == 3
    assert {"state", "score", "epochs", "seconds", "f1", "mcc"} <= set(table.column_names)
    study = optuna.load_study(study_name="zdna", storage=f"sqlite:///{calm / 'study.db'}")
    assert study.best_trial.number == summary.best_trial
    assert (
        load_window_model(calm / "model").readout.lookahead
        == (summary.settings["readout.lookahead"])
    )


@pytest.mark.slow
def test_a_complete_run_is_left_as_it_is(inputs: Inputs, calm: Path) -> None:
    before = (calm / "manifest.json").stat().st_mtime_ns
    done = job(inputs, calm, "--resume")
    assert (calm / "manifest.json").stat().st_mtime_ns == before
    assert "consensus" in done.text


@pytest.mark.slow
def test_a_complete_run_takes_more_trials(inputs: Inputs, calm: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(calm, more)
    # As if attribution had been begun with another model.
    plan = read_json(more / "shards" / "plan.json")
    write_json(more / "shards" / "plan.json", plan | {"model": "0" * 64})
    job(inputs, more, "--resume", "--trials", "4")
    assert sum(TuneRecord.read(more).trials.values()) == 4
    assert tried(more)[:3] == tried(calm)


def test_a_run_is_not_resumed_with_another_space(
    inputs: Inputs, calm: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "space.yaml"
    changed.write_text(SPACE.replace("epochs: 2", "epochs: 3"))
    with pytest.raises(InputError, match=r"config.yaml: space: the run was begun with another"):
        job(inputs, calm, "--resume", "--space", str(changed))


REFUSED: dict[str, tuple[list[str], str]] = {
    "no space": (["--space", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
    "no data": (["--data", "nowhere"], "nowhere: there is no such folder"),
    "not prepared": (
        ["--space", str(ROOT / "search_spaces" / "demo_zdna.yaml")],
        "data.length: 100: the data in .* has windows of 40 bases",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    inputs: Inputs, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *more)
    assert list(tmp_path.iterdir()) == []


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HOME": str(home),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
