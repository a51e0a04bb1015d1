"""Between Ray Tune, which asks for settings, and an Optuna study, which suggests and remembers.

Ray's own OptunaSearch tells Optuna that trials stopped by ASHA are COMPLETE, leaves trials with a
non-finite score RUNNING, and knows only the trials that it asked for itself. Here the Optuna study
on disk holds the whole state of a search, so that the search resumes from it after any end.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import optuna
from optuna.samplers import TPESampler
from optuna.trial import Trial, TrialState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from hyena_ray.search.space import SearchSpace, Values
from hyena_ray.search.stored_study import StoredStudy, all_trials, own_trials, started, unfinished
from hyena_ray.search.trial_fields import (
    EPOCH,
    FINISHED,
    METRIC,
    METRICS,
    OWN,
    PROBLEM,
    SCORE,
    SECONDS,
    SETTINGS,
)


class StudySearch(Searcher):
    """Suggests the trials that a study lacks: the unfinished ones, then the points of the space.

    Args:
        stored: Study that remembers trials.
        space: What is searched.
    """

    def __init__(self, stored: StoredStudy, space: SearchSpace) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._study = study = stored.study
        self._save = stored.save
        self._space = space
        # Of a trial that was killed between two of its suggestions, the rest are suggested now.
        self._again = deque(stored.trial(trial.number) for trial in unfinished(study))
        self._trials: dict[str, Trial] = {}
        self._seconds_before: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the number and the searched settings of the next trial.

        Args:
            trial_id: Tune's name of the trial.

        Returns:
            The trial's configuration, or `Searcher.FINISHED`.
        """
        if self._again:
            trial = self._again.popleft()
        elif len(started(self._study)) < self._space.trials:
            trial = self._ask()
        else:
            return str(Searcher.FINISHED)
        values: Values = self._space.suggest(trial)
        trial.set_user_attr(SETTINGS, values)
        self._trials[trial_id] = trial
        self._seconds_before[trial_id] = trial.user_attrs.get(SECONDS, 0.0)
        self._save()
        return {"number": trial.number, "values": values}

    def _ask(self) -> Trial:
        # One seed per trial: a search that is resumed neither repeats its first suggestions nor
        # differs, given the same results, from one that was never interrupted.
        number = len(started(self._study))
        seed = self._space.seed * 1_000_003 + number
        self._study.sampler = TPESampler(seed=seed, constant_liar=True)
        points = self._space.points()
        # One that waits is left by a start that was killed before it could ask.
        if not own_trials(self._study, TrialState.WAITING):
            known = self._space.parameters_in_study(points[number]) if number < len(points) else {}
            # Not `ask` alone: a trial is known as the search's own from the moment it is there.
            self._study.enqueue_trial(known, user_attrs={OWN: True})
        trial = self._study.ask()
        while OWN not in trial.user_attrs:  # another program had one wait
            trial = self._study.ask()
        return trial

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Remember a score, so that ASHA and a later start know it.

        Args:
            trial_id: Tune's name of the trial.
            result: What the trial reported; see `trial_fields`.
        """
        trial = self._trials[trial_id]
        self._note(trial_id, result)
        known = all_trials(self._study)[trial.number].intermediate_values
        if result[EPOCH] not in known and not result[PROBLEM]:
            trial.report(result[SCORE], result[EPOCH])
        self._save()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record in the Optuna study how a trial ended; one that crashed stays unfinished.

        Args:
            trial_id: Tune's name of the trial.
            result: What the trial reported last.
            error: Whether it crashed.
        """
        if error or result is None:
            return
        # Where ASHA stops a trial, Tune has not passed on this result before.
        self.on_trial_result(trial_id, result)
        trial = self._trials[trial_id]
        if result[PROBLEM]:
            self._study.tell(trial, state=TrialState.FAIL)
        elif result[FINISHED]:
            self._study.tell(trial, result[SCORE])
        else:
            self._study.tell(trial, state=TrialState.PRUNED)
        self._save()

    def _note(self, trial_id: str, result: dict[str, Any]) -> None:
        notes = {key: result[key] for key in (EPOCH, PROBLEM)}
        notes[SECONDS] = self._seconds_before[trial_id] + result[SECONDS]
        notes[METRICS] = {
            key.removeprefix(METRIC): value
            for key, value in result.items()
            if key.startswith(METRIC)
        }
        for key, value in notes.items():
            self._trials[trial_id].set_user_attr(key, value)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the Optuna study is saved at every step, and Tune's copy is never read."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""


def scheduler(study: optuna.Study, space: SearchSpace) -> ASHAScheduler:
    """Make an ASHA that compares with the trials of earlier starts too.

    Args:
        study: Holds the scores of every epoch of earlier trials.
        space: Says when trials may be stopped.

    Returns:
        A scheduler that knows its metric, so that `TuneConfig` need not name one.
    """
    asha = ASHAScheduler(
        metric=SCORE,
        mode="max",
        time_attr=EPOCH,
        max_t=max(space.longest_run(), space.scheduler.grace_period),
        grace_period=space.scheduler.grace_period,
        reduction_factor=space.scheduler.reduction_factor,
        # A trial ends by itself, after its model has been written.
        stop_last_trials=False,
    )
    for trial in own_trials(study, TrialState.COMPLETE, TrialState.PRUNED):
        past: Any = _PastTrial(f"past-{trial.number}")
        asha.on_trial_add(None, past)
        for epoch, score in sorted(trial.intermediate_values.items()):
            asha.on_trial_result(None, past, {EPOCH: epoch, SCORE: score})
    return asha


class _PastTrial(NamedTuple):
    """As much of a Tune trial as ASHA looks at."""

    trial_id: str
