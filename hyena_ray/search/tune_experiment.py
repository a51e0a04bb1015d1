"""The trials of a search in Ray Tune, started again as often as it takes, and how far they are."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.trainable.function_trainable import wrap_function

from hyena_ray.cluster.feeds import SharedData
from hyena_ray.cluster.monitor import Progress, Watchdog, watchdog
from hyena_ray.cluster.resources import DRIVER_CPU, Placement, TrialResources
from hyena_ray.cluster.start import reason_of
from hyena_ray.errors import JobError
from hyena_ray.progress import State, count_noun
from hyena_ray.search.searcher import StudySearch, scheduler
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import STATES, StoredStudy, missing, own_trials, unfinished
from hyena_ray.search.trackers import Tracker, tracker_callbacks
from hyena_ray.search.trial import TrialPlan, run_trial, trial_name
from hyena_ray.search.trial_fields import (
    COMPLETE,
    EPOCH,
    FAILED,
    FINISHED,
    PROBLEM,
    SCORE,
    STOPPED,
)
from hyena_ray.storage import AnyPath

logger = logging.getLogger(__name__)

CRASHED = "crashed"
"""State of a trial that crashed on every try: over for this start of Tune, unfinished for the
study."""
ROUNDS = 4
"""Times that Tune is started: a trial that runs out of memory ends a whole `fit`."""
RETRIES = 3
"""Times that a trial continues from its checkpoint after it crashed."""
_ENVIRONMENT = {
    # Tune would catch Ctrl-C, end as if nothing had happened and keep the driver running.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Tune's CSV and JSON files repeat the Optuna study, and its TensorBoard files would show the
    # best epoch's figures at the last epoch: trials write their curves themselves.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The new output prints a table even at verbosity 0.
    "RAY_AIR_NEW_OUTPUT": "0",
}


class UnfinishedError(JobError):
    """Trials crashed on every try."""


def run_trials(
    space: SearchSpace,
    stored: StoredStudy,
    data: SharedData,
    folder: AnyPath,
    placement: Placement[TrialResources],
    trackers: Sequence[Tracker] = (),
    *,
    fingerprint: str,
) -> None:
    """Run the trials that a study lacks, and return when none is missing.

    Args:
        space: What is searched.
        stored: Study that remembers trials; see `StudySearch`.
        data: Training windows of all lengths that trials can ask for, and what they are scored on.
        folder: Folder of the run; takes `trials/`, `tensorboard/`, and Tune's own files in `tune/`.
        placement: Number of trials that run at the same time, and the resources of each.
        trackers: Experiment trackers that follow the search.
        fingerprint: Fingerprint of the search; checkpoints of another one are refused.

    Raises:
        UnfinishedError: Some trials crashed; those that finished are in the Optuna study.
        StalledError: Nothing happened for too long.
    """
    study = stored.study
    plan = TrialPlan(space, folder, data, placement.threads, placement.resources, fingerprint)
    guests = tracker_callbacks(trackers, space.task, folder)
    problem = "it ended early"
    for _ in range(ROUNDS):
        count = missing(study, space)
        if not count:
            return
        logger.info("%d of %d trials to run, %s", count, space.trials, placement.text)
        try:
            errors = _fit(stored, plan, count, placement.concurrent, guests)
        except JobError:
            raise
        # Tune raises a RuntimeError, as unexpected, for a trial that took too much memory.
        except (RayError, TuneError, RuntimeError) as error:
            if isinstance(error.__context__, StorageInternalError):
                # Tune passes on no more than the text of what its searcher raises. Where the study
                # cannot be written, another start does not help: `study_errors` says why.
                raise error.__context__ from error.__context__.__cause__
            problem = reason_of(error)
            logger.warning("Ray Tune ended early, starting it again: %s", problem)
            continue
        if errors:
            problem = errors[0]
            break
    if missing(study, space):
        numbers = ", ".join(str(trial.number) for trial in unfinished(study))
        raise UnfinishedError(
            f"{missing(study, space)} of {space.trials} trials did not finish (trial {numbers}: "
            f"{problem}); what finished is kept, --resume runs the rest"
        )


def _fit(
    stored: StoredStudy,
    plan: TrialPlan,
    count: int,
    concurrent: int,
    guests: Sequence[tune.Callback],
) -> list[str]:
    """Start Tune once, and return the last line of every crashed trial's error."""
    space, resources = plan.space, plan.resources
    held = {"cpu": resources.cpu, "gpu": resources.gpu or 0}
    if resources.workers > 1:
        held = {"cpu": DRIVER_CPU}
    run = tune.with_resources(tune.with_parameters(run_trial, plan=plan), held)
    trainable = wrap_function(run, name=f"{space.task} trial")
    # The name of its actors and their tasks on the dashboard, instead of ImplicitFunc.
    trainable.__name__ = trainable.__qualname__ = f"{space.task} trial"
    search = StudySearch(stored, space)
    watch = SearchWatch(stored.study, space, concurrent)
    progress = Progress(f"{space.task} trials", space.trials, "trials", initial=watch.state())
    with _environment(), watchdog(60 * space.stall_minutes, "the trials") as dog, progress:
        results = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=scheduler(stored.study, space),
                num_samples=count,
                max_concurrent_trials=concurrent,
                # A process that is kept saves the seconds that importing torch takes; one that
                # waits for workers of its own cannot be interrupted.
                reuse_actors=resources.workers == 1,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(plan.folder),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[TrialEvents(dog, watch, progress), *guests],
                verbose=0,
            ),
        ).fit()
    return [reason_of(error) for error in results.errors]


def _name(trial: Any) -> str:
    return trial_name(trial.config["number"])


@contextmanager
def _environment() -> Iterator[None]:
    before = {key: os.environ.get(key) for key in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


class SearchWatch:
    """Counts trials by state: those of earlier starts, and those of this one as they are reported.

    Args:
        study: Study with the trials of earlier starts.
        space: What is searched.
        concurrent: Number of trials that run at once.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, concurrent: int) -> None:
        self._space = space
        self._concurrent = concurrent
        trials = own_trials(study)
        self._ended = Counter(STATES[trial.state] for trial in trials if trial.state.is_finished())
        self._scores = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
        self._running: dict[int, int] = {}
        """Number of a trial to its last epoch."""
        self._epochs: dict[int, int] = {}

    def started(self, number: int, values: dict[str, Any]) -> None:
        """Count a trial that runs, for the first time or again.

        Args:
            number: Number of the trial in the Optuna study.
            values: Its searched settings, by dotted key.
        """
        self._epochs[number] = self._space.run_settings(values).total_epochs
        self._running[number] = 0

    def reported(self, number: int, epoch: int) -> None:
        """Note that a trial has finished an epoch.

        Args:
            number: Number of the trial in the Optuna study.
            epoch: Number of finished epochs.
        """
        if number in self._running:
            self._running[number] = epoch

    def lost(self, number: int) -> None:
        """Note that a trial failed, and is to be tried again.

        Args:
            number: Number of the trial in the Optuna study.
        """
        self._running.pop(number, None)

    def ended(self, number: int, how: str, score: float | None = None) -> None:
        """Count a trial that is over.

        Args:
            number: Number of the trial in the Optuna study.
            how: Its last state, such as `COMPLETE`.
            score: Score of a trial that is complete.
        """
        self._running.pop(number, None)
        self._ended[how] += 1
        if how == COMPLETE:
            self._scores.append(score)

    def state(self) -> State:
        """Return how far the search is."""
        running, done = len(self._running), self._ended.total()
        left = self._space.trials - done - running
        states = {"running": running, "pending": left}
        states |= {how: self._ended[how] for how in (COMPLETE, STOPPED, FAILED, CRASHED)}
        unplaced = min(self._concurrent - running, left)
        return State(
            done=done,
            part=sum(epoch / self._epochs[number] for number, epoch in self._running.items()),
            states=states,
            best=max((score for score in self._scores if score is not None), default=None),
            waiting=f"{count_noun(unplaced, 'trial')} to be placed" if unplaced else "",
            at_work=tuple(
                f"trial {number} (epoch {epoch} of {self._epochs[number]})"
                for number, epoch in sorted(self._running.items())
            ),
        )


class TrialEvents(tune.Callback):
    """Passes on what Tune reports: to the watchdog, the progress, and the log as trials end.

    Args:
        dog: Watchdog over the trials.
        watch: Counts trials.
        progress: Shows the counts.
    """

    def __init__(self, dog: Watchdog, watch: SearchWatch, progress: Progress) -> None:
        self._dog = dog
        self._watch = watch
        self._progress = progress

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Tune keeps a copy for a restore, which never happens; threads cannot be copied.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._dog.progress()
        self._watch.started(trial.config["number"], trial.config["values"])
        self._progress.update(self._watch.state())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._dog.progress()
        self._watch.reported(trial.config["number"], result[EPOCH])
        self._progress.update(self._watch.state())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, result = trial.config["number"], trial.last_result
        how = COMPLETE if result[FINISHED] else STOPPED
        if result[PROBLEM]:
            how = FAILED
        self._watch.ended(number, how, result[SCORE])
        self._progress.update(self._watch.state())
        logger.info(
            "trial %d %s: score %.4f, %.0f s",
            number,
            f"{how} ({result[PROBLEM]})" if result[PROBLEM] else how,
            result[SCORE],
            result["time_total_s"],
        )

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        self._watch.lost(number)
        self._progress.update(self._watch.state())
        logger.warning("trial %d failed, and is tried again from its last epoch", number)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["number"]
        self._watch.ended(number, CRASHED)
        self._progress.update(self._watch.state())
        logger.warning("trial %d %s", number, CRASHED)
