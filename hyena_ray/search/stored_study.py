"""The Optuna study of a run, which is all there is to know about a search, and its table."""

from __future__ import annotations

import json
import logging
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.exceptions import StorageInternalError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hyena_ray.errors import InputError, JobError
from hyena_ray.files import atomic_file
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial_fields import (
    COMPLETE,
    EPOCH,
    FAILED,
    METRICS,
    OWN,
    PROBLEM,
    SCORE,
    SECONDS,
    SETTINGS,
    STOPPED,
    STUDY_FILE,
    UNFINISHED,
)
from hyena_ray.storage import AnyPath, arrow_file

logger = logging.getLogger(__name__)

STATES = {
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: STOPPED,
    TrialState.FAIL: FAILED,
    TrialState.RUNNING: UNFINISHED,
    TrialState.WAITING: UNFINISHED,
}
"""Name of each of Optuna's states in the table."""
LOCK_SECONDS = 60
"""Seconds to wait for another program, such as a dashboard, that holds the study."""


class StudyError(JobError):
    """The study cannot be read or written."""


class StoredStudy:
    """The study of a run, made when it is new; `optuna.load_study` opens it as well.

    Its name is the task's, its storage `sqlite:///FOLDER/study.db`. No database can be on S3: there
    that file is a copy of the one that this machine works on, as of the last `save`.

    Args:
        folder: Folder of the run.
        space: What is searched.
    """

    def __init__(self, folder: AnyPath, space: SearchSpace) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._stored = folder / STUDY_FILE
        self._here: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(self._stored, Path):
            self._database = self._stored
        else:
            self._here = tempfile.TemporaryDirectory(prefix="hyena_ray-")
            self._database = Path(self._here.name) / STUDY_FILE
            if self._stored.exists():
                self._database.write_bytes(self._stored.read_bytes())
        self._storage = RDBStorage(
            f"sqlite:///{self._database}",
            engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}},
        )
        self.study = optuna.create_study(
            storage=self._storage,
            study_name=space.task,
            direction="maximize",
            load_if_exists=True,
            sampler=TPESampler(seed=space.seed),
        )
        if foreign := [str(trial.number) for trial in all_trials(self.study) if not is_own(trial)]:
            logger.warning(
                "%s: left out, since another program has added them: trial %s",
                self._stored,
                ", ".join(foreign),
            )

    def trial(self, number: int) -> Trial:
        """Return a trial of the study as one that can be continued.

        Args:
            number: Number of a trial that is neither finished nor stopped.

        Returns:
            A trial that keeps the settings suggested before, and suggests those that it lacks.
        """
        study_id = self._storage.get_study_id_from_name(self.study.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
        return Trial(self.study, trial_id)

    def save(self) -> None:
        """Store the study; to be called after every change."""
        if self._here is None:
            return
        with (
            atomic_file(self._stored) as temporary,
            closing(sqlite3.connect(self._database)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            # Not the file, which may be in the middle of a change.
            source.backup(target)


@contextmanager
def study_errors(folder: AnyPath) -> Iterator[None]:
    """Say in one line that the study is locked or damaged.

    Args:
        folder: Folder of the run.

    Raises:
        StudyError: In place of Optuna's errors.
    """
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        # Optuna's own error has SQLAlchemy's below it, and that has the database's.
        below = error.__cause__ or error
        cause = str(getattr(below, "orig", below)).splitlines()[0]
        raise StudyError(
            f"{folder / STUDY_FILE}: {cause}: the study cannot be used; make room on its disk, "
            "or close other programs that have it open, and run again with --resume"
        ) from None


def all_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return every trial of a study, also those that other programs have added.

    Args:
        study: Study of a search.
    """
    return study.get_trials(deepcopy=False)


def is_own(trial: FrozenTrial) -> bool:
    """Tell whether a trial is one of the search's, and not one that another program has added.

    Args:
        trial: Trial of the search's study.
    """
    return OWN in trial.user_attrs


def own_trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Return the trials of a search in order of their numbers.

    Args:
        study: Study of the search.
        states: States that are wanted; none stands for all.
    """
    trials = all_trials(study)
    return [trial for trial in trials if is_own(trial) and trial.state in (states or STATES)]


def started(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were started, without one that waits to be.

    Args:
        study: Study of a search.
    """
    return [trial for trial in own_trials(study) if trial.state != TrialState.WAITING]


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were started but have not finished, failed or been stopped by ASHA.

    Args:
        study: Study of a search.
    """
    return own_trials(study, TrialState.RUNNING)


def missing(study: optuna.Study, space: SearchSpace) -> int:
    """Count the trials still to run: those unfinished and those not started.

    Args:
        study: Study of a search.
        space: What is searched.
    """
    return space.trials - len(started(study)) + len(unfinished(study))


def write_trials(study: optuna.Study, space: SearchSpace, path: AnyPath) -> None:
    """Write `trials.parquet`, one row per trial in order of their numbers.

    Columns: trial, state, score, epochs, seconds, problem; one per searched setting, null where it
    did not apply; one per metric, of the best epoch of a complete trial, else of the last.

    Args:
        study: Study of a search.
        space: What was searched.
        path: File to write.
    """
    trials = own_trials(study)
    rows = [trial.user_attrs for trial in trials]
    columns: dict[str, pa.Array] = {
        "trial": pa.array([trial.number for trial in trials], pa.int64()),
        "state": pa.array([STATES[trial.state] for trial in trials], pa.string()),
        SCORE: pa.array([_score(trial) for trial in trials], pa.float64()),
        "epochs": pa.array([row.get(EPOCH) for row in rows], pa.int64()),
        SECONDS: pa.array([row.get(SECONDS) for row in rows], pa.float64()),
        PROBLEM: pa.array([row.get(PROBLEM) or None for row in rows], pa.string()),
    }
    for key in space.search:
        columns[key] = _column([row.get(SETTINGS, {}).get(key) for row in rows])
    for name in sorted({name for row in rows for name in row.get(METRICS, {})}):
        metrics = [row.get(METRICS, {}).get(name) for row in rows]
        columns[name] = pa.array(metrics, pa.float64())
    with atomic_file(path) as temporary:
        pq.write_table(pa.table(columns), temporary, write_page_checksum=True)


def finished_in(path: AnyPath) -> int:
    """Count the trials that an interrupted search does not run again.

    Args:
        path: File `trials.parquet` of the search.
    """
    with arrow_file(path) as stream:
        states = pq.read_table(stream, columns=["state"])["state"].to_pylist()
    return sum(state != STATES[TrialState.RUNNING] for state in states)


def best_trial(study: optuna.Study) -> FrozenTrial:
    """Return the complete trial with the best score; of equal ones, the first.

    Args:
        study: Study of a search.

    Raises:
        InputError: Every trial failed or was stopped.
    """
    complete = own_trials(study, TrialState.COMPLETE)
    if not complete:
        raise InputError(
            "search space", None, "no trial finished with a finite loss", "lower the learning rates"
        )
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))


def _score(trial: FrozenTrial) -> float | None:
    if trial.value is not None:
        return float(trial.value)
    scores = trial.intermediate_values
    return scores[max(scores)] if scores else None


def _column(values: list[Any]) -> pa.Array:
    """Values of one setting: of their own type, or as JSON where they have several."""
    try:
        return pa.array(values)
    except pa.ArrowException:
        return pa.array([None if value is None else json.dumps(value) for value in values])
