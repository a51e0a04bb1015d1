"""The tuning job from the command line to its manifest, through an interruption."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.resources import Cluster
from hyena_ray.errors import InputError
from hyena_ray.model.saved import load_window_model
from hyena_ray.workflows.tune import TuneRecord
from tests.command_line import run_job
from tests.sealed_files import edit_sealed
from tests.tuned_run import SPACE

ROOT = Path(__file__).parents[2]


def arguments(data: Path, tuned_run: Path, out: Path) -> list[str]:
    """Return those of the shared run, but for the folder that it writes to."""
    space = tuned_run.with_name("space.yaml")
    return ["tune", "zdna", "--data", str(data), "--space", str(space), "--out", str(out)]


@pytest.fixture
def copied(tuned_run: Path, tmp_path: Path) -> Path:
    """A copy of the shared run, to be gone on with."""
    return Path(shutil.copytree(tuned_run, tmp_path / "copy"))


def tried(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "trials.parquet")
    columns = ["trial", "readout.lookahead", "training.learning_rate"]
    rows: list[dict[str, Any]] = table.select(columns).to_pylist()
    return rows


@pytest.mark.slow
def test_a_run_leaves_all_that_the_design_lists(tuned_run: Path) -> None:
    for name in ("plan.json", "trials.parquet", "study.db", "model/model.safetensors"):
        assert (tuned_run / name).is_file()
    for table in ("ig", "smoothgrad", "tp", "consensus"):
        assert (tuned_run / "attribution" / "kmers" / f"{table}.parquet").is_file()
        assert (tuned_run / "attribution" / "kmers" / f"{table}.csv").is_file()
    summary = TuneRecord.read(tuned_run)
    assert summary.simulated
    assert sum(summary.trials.values()) == 3
    assert summary.test["f1"] > 0.1
    assert summary.kmers["consensus"]
    table = pq.read_table(tuned_run / "trials.parquet")
    assert table.num_rows == 3
    assert {"state", "score", "epochs", "seconds", "f1", "mcc"} <= set(table.column_names)
    study = optuna.load_study(study_name="zdna", storage=f"sqlite:///{tuned_run / 'study.db'}")
    assert study.best_trial.number == summary.best_trial
    assert (
        load_window_model(tuned_run / "model").readout.lookahead
        == (summary.settings["readout.lookahead"])
    )


@pytest.mark.slow
def test_a_complete_run_is_left_as_it_is(
    small_data: Path, tuned_run: Path, copied: Path, cluster: Cluster
) -> None:
    before = (copied / "manifest.json").stat().st_mtime_ns
    done = run_job(*arguments(small_data, tuned_run, copied), "--resume")
    assert (copied / "manifest.json").stat().st_mtime_ns == before
    assert "consensus" in done.text


@pytest.mark.slow
def test_a_complete_run_takes_more_trials(
    small_data: Path, tuned_run: Path, copied: Path, cluster: Cluster
) -> None:
    # As if attribution had been begun with another model.
    edit_sealed(copied / "attribution" / "plan.json", lambda v: v["plan"].update(model="0" * 64))
    run_job(*arguments(small_data, tuned_run, copied), "--resume", "--trials", "4")
    assert sum(TuneRecord.read(copied).trials.values()) == 4
    assert tried(copied)[:3] == tried(tuned_run)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_space(
    small_data: Path, tuned_run: Path, copied: Path, cluster: Cluster, tmp_path: Path
) -> None:
    changed = tmp_path / "space.yaml"
    changed.write_text(SPACE.replace("epochs: 3", "epochs: 4"))
    given = arguments(small_data, tuned_run, copied)
    with pytest.raises(InputError, match=r"plan\.json: space\.settings\.training\.epochs"):
        run_job(*given, "--resume", "--space", changed)


REFUSED: dict[str, tuple[list[str], str]] = {
    "no space": (["--space", "nowhere.yaml"], "--space: nowhere.yaml: there is no such file"),
    "no data": (["--data", "nowhere"], "nowhere: there is no such folder"),
    "not prepared": (
        ["--space", str(ROOT / "search_spaces" / "demo_zdna.yaml")],
        "data.length: 100: .* 40 bases",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    small_data: Path, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    given = ["--data", str(small_data), "--space", str(space), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match=message):
        run_job("tune", "zdna", *given, *more)
    assert list(tmp_path.iterdir()) == [space]
