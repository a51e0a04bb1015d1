"""An Optuna study out of a run folder, without a lock or a write there."""

from __future__ import annotations

import tempfile
from pathlib import Path

import optuna
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath


def read_study(path: AnyPath, name: str) -> optuna.Study | None:
    """All trials of a study, in memory; None where there is no file.

    Raises:
        InputError: the file is damaged, or holds no study of that name.
    """
    if not path.exists():
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
        # A copy: opening a database may write to it, and may wait for others.
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{copy}")
            stored = optuna.load_study(study_name=name, storage=storage)
            found = optuna.create_study(study_name=name, directions=stored.directions)
            found.add_trials(stored.get_trials(deepcopy=False))
            storage.engine.dispose()
        except (OptunaError, SQLAlchemyError, KeyError) as error:
            problem = f"not the study of this run ({' '.join(str(error).split())})"
            raise InputError(path, None, problem, "restore it, or search again") from None
    return found
