"""Run the trials of a search through Ray Tune, however often it takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from hyena_ray.cluster.pool import last_line
from hyena_ray.cluster.resources import DRIVER_CPU, Placement
from hyena_ray.cluster.watchdog import Watchdog, watchdog
from hyena_ray.cluster.windows import Handle, Key
from hyena_ray.storage import AnyPath
from hyena_ray.tuning.search import (
    FINISHED,
    PROBLEM,
    SCORE,
    StudySearch,
    scheduler,
)
from hyena_ray.tuning.space import SearchSpace
from hyena_ray.tuning.study import StoredStudy, missing, unfinished
from hyena_ray.tuning.trial import TrialPlan, run_trial

logger = logging.getLogger(__name__)

ROUNDS = 4
"""Times that Tune is started: an out-of-memory trial ends a whole `fit`."""
RETRIES = 3
"""Times that a trial goes on from its checkpoint after it crashed."""
_ENVIRONMENT = {
    # Tune would catch Ctrl-C, end as if nothing had happened and keep the driver running.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Its own CSV, JSON and TensorBoard files repeat the study's.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The new output prints a table even when told to be silent.
    "RAY_AIR_NEW_OUTPUT": "0",
}


class UnfinishedError(RuntimeError):
    """Trials crashed on every try."""


def run_trials(
    space: SearchSpace,
    stored: StoredStudy,
    windows: dict[Key, Handle],
    folder: AnyPath,
    placement: Placement,
) -> None:
    """Run what the study lacks. Returns when no trial is missing.

    Args:
        space: what is searched.
        stored: remembers trials; see `StudySearch`.
        windows: by length and split, all that the space may ask for.
        folder: of the run; takes `trials/`, and `tune/` for Tune's own files.
        placement: trials at once and threads of each.

    Raises:
        UnfinishedError: some trials crashed; those that finished are in the study.
        StalledError: nothing happened for too long.
    """
    study = stored.study
    plan = TrialPlan(space, folder / "trials", windows, placement.threads)
    problem = "it ended early"
    for _ in range(ROUNDS):
        count = missing(study, space)
        if not count:
            return
        logger.info("%d of %d trials to run, %d at once", count, space.trials, placement.concurrent)
        try:
            errors = _fit(stored, plan, count, placement.concurrent, folder)
        except (RayError, TuneError) as error:
            problem = last_line(error)
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
    stored: StoredStudy, plan: TrialPlan, count: int, concurrent: int, folder: AnyPath
) -> list[str]:
    """One start of Tune. The last line of every crashed trial's error."""
    space = plan.space
    each = {"cpu": space.resources.cpu, "gpu": space.resources.gpu}
    if space.resources.workers > 1:
        each = {"cpu": DRIVER_CPU}
    trainable = tune.with_resources(tune.with_parameters(run_trial, plan=plan), each)
    search = StudySearch(stored, space)
    with _environment(), watchdog(60 * space.stall_minutes, "the trials") as dog:
        results = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="max",
                search_alg=search,
                scheduler=scheduler(stored.study, space),
                num_samples=count,
                max_concurrent_trials=concurrent,
                # A process that is kept saves the seconds that importing torch takes; one that
                # waits for workers of its own cannot be interrupted.
                reuse_actors=space.resources.workers == 1,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[_Progress(dog, space.trials)],
                verbose=0,
            ),
        ).fit()
    return [last_line(error) for error in results.errors]


def _name(trial: Any) -> str:
    return f"trial_{trial.config['number']:04d}"


class _Progress(tune.Callback):  # type: ignore[misc]
    """A line in the log for every trial that ends."""

    def __init__(self, dog: Watchdog, total: int) -> None:
        self._dog = dog
        self._total = total

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._dog.progress()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._dog.progress()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        result = trial.last_result
        how = "finished" if result[FINISHED] else "stopped early"
        logger.info(
            "trial %d of %d %s: %s, %.0f s",
            trial.config["number"] + 1,
            self._total,
            f"diverged ({result[PROBLEM]})" if result[PROBLEM] else how,
            f"score {result[SCORE]:.4f}",
            result["time_total_s"],
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        logger.warning("trial %d of %d crashed", trial.config["number"] + 1, self._total)


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
