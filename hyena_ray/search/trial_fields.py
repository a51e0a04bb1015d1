"""Names of what a trial reports, what the Optuna study stores of it, and the files of a search.

Imports nothing, so that a worker and the report read them without Ray and Optuna.
"""

from __future__ import annotations

SCORE = "score"
"""Key of a report: the task's metric, higher is better."""
EPOCH = "epoch"
"""Key of a report: number of finished epochs, from 1."""
FINISHED = "finished"
"""Key of a report: whether the run is over; its score is then that of its best epoch."""
PROBLEM = "problem"
"""Key of a report: why the run failed, such as a loss that is not finite, or an empty string."""
SECONDS = "seconds"
"""Key of a report: wall time of the run since it was started or resumed."""
METRIC = "metric/"
"""Prefix of the key of every metric in a report."""

METRICS = "metrics"
"""Attribute of an Optuna trial: its last metrics, or those of its best epoch when finished."""
SETTINGS = "settings"
"""Attribute of an Optuna trial: its searched settings as they are, not as Optuna encodes them."""
OWN = "hyena_ray"
"""Attribute that marks the Optuna trials of a search; trials that other programs add to the study
lack it."""

COMPLETE = "complete"
"""State of a trial that trained to its end."""
STOPPED = "stopped early"
"""State of a trial that ASHA stopped."""
FAILED = "failed"
"""State of a trial that diverged, ran out of GPU memory, or needs a precision that the device
lacks."""
UNFINISHED = "unfinished"
"""State of a trial that a later start runs again."""

STUDY_FILE = "study.db"
"""File of the Optuna study in a run's folder."""
TRIALS = "trials.parquet"
"""File of the table of trials in a run's folder."""
