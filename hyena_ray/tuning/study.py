"""The Optuna study of a run: all that there is to know about a search."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hyena_ray.errors import JobError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath
from hyena_ray.tuning.space import SearchSpace

STUDY_FILE = "study.db"
LOCK_SECONDS = 60
"""To wait for another program, such as a dashboard, that holds the study."""


class StudyError(JobError):
    """The study cannot be read or written."""


class StoredStudy:
    """The study of a run folder, made when it is new; `optuna.load_study` opens it as well.

    Its name is the task's, its storage `sqlite:///FOLDER/study.db`. No database can live on S3:
    there that file is a copy of the one that this machine works on, as of the last `save`.
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
        self.study = _open(self._database, space)

    def save(self) -> None:
        """To be called after every change."""
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

    Raises:
        StudyError: in place of Optuna's errors.
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


def _open(path: Path, space: SearchSpace) -> optuna.Study:
    options = {"connect_args": {"timeout": LOCK_SECONDS}}
    return optuna.create_study(
        storage=RDBStorage(f"sqlite:///{path}", engine_kwargs=options),
        study_name=space.task,
        direction="maximize",
        load_if_exists=True,
        sampler=TPESampler(seed=space.seed),
    )


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were begun and neither finished, stopped by ASHA nor diverged."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def missing(study: optuna.Study, space: SearchSpace) -> int:
    """Trials still to run: those unfinished and those not begun."""
    return space.trials - len(study.get_trials(deepcopy=False)) + len(unfinished(study))
