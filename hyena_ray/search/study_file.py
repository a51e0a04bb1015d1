"""Whether the study of a search is there, known before Optuna is imported."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hyena_ray.errors import InputError
from hyena_ray.progress import count_noun
from hyena_ray.search.trial_fields import STUDY_FILE, TRIALS
from hyena_ray.storage import AnyPath


def check_study_file(folder: AnyPath) -> None:
    """Refuse to begin a new study where trials of an earlier one are.

    Args:
        folder: Folder of a search that is resumed.

    Raises:
        InputError: The study of the trials in the folder is missing, or is another one.
    """
    study, trials = folder / STUDY_FILE, folder / "trials"
    numbers = [int(path.name) for path in trials.glob("*") if path.name.isdecimal()]
    remedy = f"put back the {STUDY_FILE} of this search, or begin a new one with --overwrite"
    if not study.exists():
        left = trials if numbers else folder / TRIALS
        if numbers or left.exists():
            problem = f"is missing, and {left} holds what it knows of"
            raise InputError(study, None, problem, remedy)
    elif isinstance(study, Path) and numbers and (known := _count(study)) <= max(numbers):
        problem = f"has {count_noun(known, 'trial')}, and {trials} holds number {max(numbers)}"
        raise InputError(study, None, problem, remedy)


def _count(study: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True, timeout=1)) as connection:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.Error:
        return 1 << 60  # damaged, or held by another program: Optuna says so
