"""A search whose trial has two workers: killed, resumed, and as good as with one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.search.space import SearchSpace
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import EpochReport, train_run
from tests.command_line import run_job

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "tune_zdna.py"
EPOCHS = 3
SPACE = f"""\
task: zdna
trials: 1
resources: {{cpu: 1, gpu: 0, workers: WORKERS}}  # a machine may have a single GPU
scheduler: {{grace_period: {EPOCHS + 1}}}  # no trial stops early
settings:
  data.length: 40
  data.limit: 1000
  model.d_model: 16
  model.n_layer: 1
  model.max_seq_len: 130
  readout.flank: 8
  readout.lookahead: 8
  training.epochs: {EPOCHS}
search:
  training.learning_rate: {{low: 2e-3, high: 4e-3, log: true}}
"""


def arguments(data: Path, folder: Path, workers: int) -> list[str]:
    """Of the job; its space and its output lie in `folder`."""
    space = folder / f"{workers}.yaml"
    space.write_text(SPACE.replace("WORKERS", str(workers)))
    out = folder / f"run of {workers}"
    return ["--data", str(data), "--space", str(space), "--out", str(out)]


def start(folder: Path, *given: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "HOME": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    return subprocess.Popen([sys.executable, str(JOB), *given], env=environment)


def only_trial(out: Path) -> FrozenTrial:
    study = optuna.load_study(study_name="zdna", storage=f"sqlite:///{out / 'study.db'}")
    (trial,) = study.get_trials()
    assert trial.state == TrialState.COMPLETE
    return trial


def scores_of_one_worker(settings: RunSettings, data: Path, folder: Path) -> dict[int, float]:
    """Score of every epoch of the same run in this process, without Ray."""
    found, prepared = {}, PreparedData.open(data)

    def report(epoch: EpochReport) -> None:
        found[epoch.epoch] = epoch.metrics[settings.metric]

    length = settings.data.length
    train = ArraySource(prepared.read(length, "train", settings.data.limit))
    train_run(
        settings,
        train,
        HeldOut.read(prepared, "val"),
        folder,
        report,
        fingerprint=settings.fingerprint(),
    )
    return found


@pytest.mark.slow
def test_a_trial_of_two_workers_goes_on_after_a_kill_and_scores_as_that_of_one(
    small_data: Path, tmp_path: Path, cluster: Cluster
) -> None:
    two = arguments(small_data, tmp_path, 2)
    out = Path(two[-1])
    with start(tmp_path, *two) as first:
        deadline = time.monotonic() + 400
        while not (out / "trials" / "0000" / "checkpoint.pt").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        first.send_signal(signal.SIGKILL)
        first.wait(300)
    assert not (out / "manifest.json").exists()
    with start(tmp_path, *two, "--resume") as second:
        assert second.wait(400) == 0
    assert (out / "manifest.json").exists()
    trial = only_trial(out)
    # What the dashboard calls the group of workers.
    assert list((out / "trials" / "0000").glob("trial_0000_*"))
    scores = trial.intermediate_values
    assert list(scores) == list(range(1, EPOCHS + 1))
    assert scores[EPOCHS] > 0.8
    settings = SearchSpace.load(tmp_path / "2.yaml").run_settings(trial.params)
    alone = scores_of_one_worker(settings, small_data, tmp_path / "alone")
    assert scores == pytest.approx(alone, abs=0.03)


def test_more_workers_than_the_cluster_holds_are_refused_with_what_it_has(
    small_data: Path, tmp_path: Path, cluster: Cluster
) -> None:
    given = arguments(small_data, tmp_path, 999)
    with pytest.raises(InputError, match=r"999 CPUs and 0 GPUs for each: the cluster has \d+ CPUs"):
        run_job("tune", "zdna", *given)
    assert not Path(given[-1]).exists()


def test_workers_are_refused_where_no_dashboard_tells_who_is_alive(
    small_data: Path, tmp_path: Path, cluster: Cluster
) -> None:
    given = arguments(small_data, tmp_path, 2)
    with pytest.raises(InputError, match="workers: 2: the cluster has no dashboard"):
        run_job("tune", "zdna", *given)
    assert not Path(given[-1]).exists()
