"""The outcome of a search as a table, and its best trial."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial, TrialState

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath, arrow_file
from hyena_ray.tuning.search import EPOCH, METRICS, PROBLEM, SCORE, SECONDS, SETTINGS
from hyena_ray.tuning.space import SearchSpace

TRIALS = "trials.parquet"
"""In a run's folder."""
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "diverged",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}
"""How the table calls Optuna's states."""


def write_trials(study: optuna.Study, space: SearchSpace, path: AnyPath) -> None:
    """Write `trials.parquet`, one row per trial in order of their numbers.

    Columns: trial, state, score, epochs, seconds, problem; one per searched setting, null where
    it did not apply; one per metric, of the best epoch of a complete trial, else of the last.
    """
    trials = study.get_trials(deepcopy=False)
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
    """Trials of `trials.parquet` that an interrupted search does not run again."""
    with arrow_file(path) as stream:
        states = pq.read_table(stream, columns=["state"])["state"].to_pylist()
    return sum(state != STATES[TrialState.RUNNING] for state in states)


def best_trial(study: optuna.Study) -> FrozenTrial:
    """The complete trial with the best score.

    Raises:
        InputError: every trial diverged or was stopped.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
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
