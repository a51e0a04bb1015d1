"""The tuning job from the command line to its manifest, through an interruption."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.start import Cluster
from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.genome.simulate import simulate_genome
from hyena_ray.model.saved import load_window_model
from hyena_ray.tuning.job import tuning_job
from hyena_ray.tuning.summary import RunSummary

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


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/` and `space.yaml`."""
    folder = tmp_path_factory.mktemp("tune")
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    settings = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(40,), flank=8
    )
    prepare(settings, folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def arguments(inputs: Path, out: Path, *more: str) -> list[str]:
    return [
        *("--data", str(inputs / "data"), "--out", str(out)),
        *("--space", str(inputs / "space.yaml"), *more),
    ]


def job(inputs: Path, out: Path, *more: str) -> None:
    tuning_job("zdna", ROOT / "search_spaces")(arguments(inputs, out, *more))


@pytest.fixture(scope="module")
def calm(inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "run"
    job(inputs, out)
    return out


def tried(out: Path) -> list[dict[str, Any]]:
    table = pq.read_table(out / "trials.parquet")
    return table.select(["trial", "readout.lookahead", "training.learning_rate"]).to_pylist()


@pytest.mark.slow
def test_a_run_leaves_all_that_the_design_lists(calm: Path) -> None:
    for name in ("config.yaml", "trials.parquet", "study.db", "model/model.safetensors"):
        assert (calm / name).is_file()
    for table in ("ig", "smoothgrad", "tp", "consensus"):
        assert (calm / "kmers" / f"{table}.parquet").is_file()
        assert (calm / "kmers" / f"{table}.csv").is_file()
    summary = RunSummary.read(calm)
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
def test_a_complete_run_is_left_as_it_is(
    inputs: Path, calm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (calm / "manifest.json").stat().st_mtime_ns
    job(inputs, calm, "--resume")
    assert (calm / "manifest.json").stat().st_mtime_ns == before
    assert "consensus" in capsys.readouterr().out


@pytest.mark.slow
def test_a_complete_run_takes_more_trials(inputs: Path, calm: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(calm, more)
    # As if attribution had been begun with another model.
    plan = read_json(more / "shards" / "plan.json")
    write_json(more / "shards" / "plan.json", plan | {"model": "0" * 64})
    job(inputs, more, "--resume", "--trials", "4")
    assert sum(RunSummary.read(more).trials.values()) == 4
    assert tried(more)[:3] == tried(calm)


def test_a_run_is_not_resumed_with_another_space(inputs: Path, calm: Path, tmp_path: Path) -> None:
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
    inputs: Path, tmp_path: Path, case: str
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


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_goes_on_with_the_trials_of_an_undisturbed_one(
    inputs: Path, calm: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, str(JOB), *arguments(inputs, out)], env=environment(tmp_path)
    ) as first:
        deadline = time.monotonic() + 300
        while not (out / "trials" / "0001" / "checkpoint.pt").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        first.send_signal(number)
        assert first.wait(300) == code
    assert not (out / "manifest.json").exists()
    job(inputs, out, "--resume")
    assert tried(out) == tried(calm)
    ours, theirs = RunSummary.read(out), RunSummary.read(calm)
    assert ours.best_trial == theirs.best_trial
    assert ours.test == theirs.test
    assert ours.attribution == theirs.attribution
