"""Whatever befalls a trial, the run finds what an undisturbed one finds, or says why it stopped."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hyena_ray.errors import InputError, JobError
from hyena_ray.runs.lock import only_writer
from hyena_ray.search import stored_study as study
from hyena_ray.search import tune_experiment as experiment
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial import run_trial
from hyena_ray.workflows.tune import TuneRecord
from tests.command_line import run_job
from tests.faults.small_runs import Inputs
from tests.tuned_run import Result, result_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]
Fault = Callable[[Path], None]
"""Given the trial's folder, does harm to the process that it is called in."""
Inject = Callable[[Mapping[int, Fault]], None]
"""Takes faults by number of trial."""


def tune(inputs: Inputs, out: Path, *more: str) -> None:
    run_job(*inputs.arguments(out, *more))


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[int, Fault]], None]:
    """Let trials run with a fault, the first time that they run."""

    def start(faults: Mapping[int, Fault]) -> None:
        def trial(config: dict[str, Any], plan: Any) -> None:
            folder = plan.folder_of(config["number"])
            marker = folder.with_suffix(".faulty")
            if config["number"] in faults and not marker.exists():
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
                faults[config["number"]](folder)
            run_trial(config, plan)

        monkeypatch.setattr(experiment, "run_trial", trial)

    return start


def die_at(moment: str) -> Fault:
    """Killed as the checkpoint of the second epoch is saved."""

    def fault(folder: Path) -> None:
        from hyena_ray.training import trainer

        whole = trainer.save_state

        def save(path: Path, state: Any) -> None:
            if len(state.history) == 2 and moment == "during":
                (path.parent / f".{path.name}.1.tmp").write_bytes(path.read_bytes()[:1000])
            if len(state.history) == 2 and moment != "after":
                os.kill(os.getpid(), signal.SIGKILL)
            whole(path, state)
            if len(state.history) == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.save_state = save  # type: ignore[assignment]

    return fault


def test_trials_killed_at_a_checkpoint_reach_the_same_weights(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Inject
) -> None:
    inject({number: die_at(moment) for number, moment in enumerate(("before", "during", "after"))})
    tune(inputs, tmp_path / "run")
    assert len(list((tmp_path / "run" / "trials").glob("*.faulty"))) == 3
    assert result_of(tmp_path / "run") == calm


def test_a_loss_that_is_not_a_number_ends_its_trial_alone(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Inject
) -> None:
    def fault(folder: Path) -> None:
        from hyena_ray.training.trainer import Trainer

        whole = Trainer.step

        def spoil(self: Any, batch: Any) -> None:
            next(self.model.parameters()).data.fill_(float("nan"))
            Trainer.step = whole  # type: ignore[method-assign]  # for the next trial
            whole(self, batch)

        Trainer.step = spoil  # type: ignore[method-assign]

    inject({1: fault})
    tune(inputs, tmp_path / "run")
    assert TuneRecord.read(tmp_path / "run").trials == {"complete": 2, "failed": 1}
    found = result_of(tmp_path / "run").trials
    assert [found[0], found[2]] == [calm.trials[0], calm.trials[2]]


def test_a_damaged_checkpoint_is_named_and_once_deleted_the_run_is_the_same(
    inputs: Inputs, calm: Result, tmp_path: Path, inject: Inject
) -> None:
    out = tmp_path / "run"

    def fault(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04 half of it")

    inject({1: fault})
    with pytest.raises(JobError, match=r"trial 1: .*0001/checkpoint.pt: damaged checkpoint"):
        tune(inputs, out)
    (out / "trials" / "0001" / "checkpoint.pt").unlink()
    # What killed jobs leave half-written is swept.
    (out / "trials" / "0000" / ".model.1.tmp").mkdir()
    (out / "trials" / "0000" / ".model.1.tmp" / "model.safetensors").write_text("half")
    (out / ".trials.parquet.1.tmp").write_text("half")
    tune(inputs, out, "--resume")
    assert not list(out.rglob(".*.tmp"))
    assert result_of(out) == calm


def test_a_folder_has_one_writer(inputs: Inputs, tuned_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tuned_run, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with (
        only_writer(tmp_path / "run"),
        pytest.raises(InputError, match=r"--out: .*: another job is writing here"),
    ):
        tune(inputs, tmp_path / "run", "--resume")


def test_a_locked_study_is_named_with_the_remedy(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(study, "LOCK_SECONDS", 1)
    whole = experiment.scheduler
    locks: list[sqlite3.Connection] = []

    def lock_first(*arguments: Any) -> Any:
        if not locks:
            locks.append(sqlite3.connect(out / "study.db", isolation_level=None))
            locks[0].execute("BEGIN EXCLUSIVE")
        return whole(*arguments)

    monkeypatch.setattr(experiment, "scheduler", lock_first)
    with pytest.raises(JobError, match=r"study.db: database is locked.*--resume"):
        tune(inputs, out)
    locks[0].close()
    stored = study.StoredStudy(out, SearchSpace.load(inputs.space))
    assert stored.study.get_trials() == []
