"""Whatever befalls a trial, the run finds what an undisturbed one finds, or says why it stopped."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import ROOT, Inputs, Result, result_of

from hyena_ray.cluster.folder import only_writer
from hyena_ray.errors import InputError
from hyena_ray.tuning import experiment, study
from hyena_ray.tuning.experiment import UnfinishedError
from hyena_ray.tuning.job import tuning_job
from hyena_ray.tuning.summary import RunSummary
from hyena_ray.tuning.trial import run_trial

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]
Fault = Callable[[Path], None]
"""Given the trial's folder, does harm to the process that it is called in."""


def tune(inputs: Inputs, out: Path, *more: str) -> None:
    tuning_job("zdna", ROOT / "search_spaces")(inputs.arguments(out, *more))


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """Let trial 1 run with a fault, the first time that it runs."""

    def start(fault: Fault) -> None:
        def trial(config: dict[str, Any], plan: Any) -> None:
            folder = plan.folder_of(config["number"])
            marker = folder.with_suffix(".faulty")
            if config["number"] == 1 and not marker.exists():
                marker.touch()
                fault(folder)
            run_trial(config, plan)

        monkeypatch.setattr(experiment, "run_trial", trial)

    return start


def die_at(moment: str) -> Fault:
    """Killed as the checkpoint of the second epoch is saved."""

    def fault(folder: Path) -> None:
        from hyena_ray.training import loop

        whole = loop.save_state

        def save(path: Path, state: Any) -> None:
            if state.epoch == 1 and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if state.epoch == 1 and moment == "during":
                (path.parent / f".{path.name}.1.tmp").write_bytes(path.read_bytes()[:1000])
                os.kill(os.getpid(), signal.SIGKILL)
            whole(path, state)
            if state.epoch == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        loop.save_state = save  # type: ignore[assignment]

    return fault


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_trial_killed_at_a_checkpoint_reaches_the_same_weights(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Callable[[Fault], None], moment: str
) -> None:
    inject(die_at(moment))
    tune(inputs, tmp_path / "run")
    assert (tmp_path / "run" / "trials" / "0001.faulty").exists()
    assert result_of(tmp_path / "run") == calm


def test_a_loss_that_is_not_a_number_ends_its_trial_alone(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Callable[[Fault], None]
) -> None:
    def fault(folder: Path) -> None:
        from hyena_ray.training import loop

        whole = loop.train_epoch

        def spoil(model: Any, *rest: Any) -> float:
            next(model.parameters()).data.fill_(float("nan"))
            loop.train_epoch = whole  # the process goes on to another trial
            return whole(model, *rest)

        loop.train_epoch = spoil  # type: ignore[assignment]

    inject(fault)
    tune(inputs, tmp_path / "run")
    assert RunSummary.read(tmp_path / "run").trials == {"complete": 2, "diverged": 1}
    found = result_of(tmp_path / "run").trials
    assert [found[0], found[2]] == [calm.trials[0], calm.trials[2]]


def test_a_damaged_checkpoint_is_named_and_once_deleted_the_run_is_the_same(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Callable[[Fault], None]
) -> None:
    out = tmp_path / "run"
    checkpoint = out / "trials" / "0001" / "checkpoint.pt"

    def fault(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04 half of it")

    inject(fault)
    with pytest.raises(UnfinishedError, match=r"trial 1: .*0001/checkpoint.pt: damaged checkpoint"):
        tune(inputs, out)
    checkpoint.unlink()
    tune(inputs, out, "--resume")
    assert result_of(out) == calm


def test_a_folder_has_one_writer(inputs: Inputs, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        only_writer(tmp_path / "run", overwrite=False),
        pytest.raises(InputError, match=r"--out: .*run: another job is writing here"),
    ):
        tune(inputs, tmp_path / "run", "--resume")


def test_what_a_killed_job_left_half_written_is_swept(
    inputs: Inputs, calm: Result, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    (out / "trials" / "0000" / ".model.1.tmp").mkdir(parents=True)
    (out / "trials" / "0000" / ".model.1.tmp" / "model.safetensors").write_text("half")
    (out / ".trials.parquet.1.tmp").write_text("half")
    (out / "config.yaml").write_text("half: [")
    with pytest.raises(InputError, match=r"config.yaml"):
        tune(inputs, out, "--resume")
    tune(inputs, out, "--overwrite")
    assert not list(out.rglob(".*.tmp"))
    assert result_of(out) == calm


def test_a_locked_study_is_waited_for_and_then_named(
    inputs: Inputs, calm: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(study, "LOCK_SECONDS", 1)
    whole, locks = experiment.scheduler, []

    def lock_first(*arguments: Any) -> Any:
        if not locks:
            locks.append(sqlite3.connect(out / "study.db", isolation_level=None))
            locks[0].execute("BEGIN EXCLUSIVE")
        return whole(*arguments)

    monkeypatch.setattr(experiment, "scheduler", lock_first)
    with pytest.raises(
        study.StudyError, match=r"study.db: .*locked.*close other programs.*--resume"
    ):
        tune(inputs, out)
    locks[0].close()
    tune(inputs, out, "--resume")
    assert result_of(out) == calm
