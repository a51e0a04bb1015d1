"""What is told of a search while it runs: where its trials are, and how each of them ended."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import optuna
from optuna.trial import TrialState
from ray import tune

from hyena_ray.cluster.progress import Progress, State, counted
from hyena_ray.cluster.watchdog import Watchdog
from hyena_ray.training.stages import training_stages
from hyena_ray.tuning.results import STATES
from hyena_ray.tuning.search import EPOCH, FINISHED, PROBLEM, SCORE
from hyena_ray.tuning.space import SearchSpace

logger = logging.getLogger(__name__)

COMPLETE, STOPPED, DIVERGED = (
    STATES[state] for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
)
CRASHED = "crashed"
"""On every try: for this start of Tune the trial is over, for the study it is unfinished."""


class SearchWatch:
    """Counts trials by state: those of earlier starts, and what it is told of this one's."""

    def __init__(self, study: optuna.Study, space: SearchSpace, concurrent: int) -> None:
        self._space = space
        self._concurrent = concurrent
        trials = study.get_trials(deepcopy=False)
        self._ended = Counter(STATES[trial.state] for trial in trials if trial.state.is_finished())
        self._scores = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
        self._running: dict[int, int] = {}
        """Number of a trial to its last epoch."""
        self._epochs: dict[int, int] = {}

    def started(self, number: int, values: dict[str, Any]) -> None:
        """A trial has its place, for the first time or again."""
        recipe = self._space.run_settings(values).training
        self._epochs[number] = sum(stage.epochs for stage in training_stages(recipe))
        self._running[number] = 0

    def reported(self, number: int, epoch: int) -> None:
        """A trial has finished an epoch."""
        if number in self._running:
            self._running[number] = epoch

    def lost(self, number: int) -> None:
        """A trial failed, and is to be tried again."""
        self._running.pop(number, None)

    def ended(self, number: int, how: str, score: float | None = None) -> None:
        """A trial is over; one that is complete has a score."""
        self._running.pop(number, None)
        self._ended[how] += 1
        if how == COMPLETE:
            self._scores.append(score)

    def state(self) -> State:
        """All of it."""
        running, done = len(self._running), self._ended.total()
        left = self._space.trials - done - running
        states = {"running": running, "pending": left}
        states |= {how: self._ended[how] for how in (COMPLETE, STOPPED, DIVERGED, CRASHED)}
        unplaced = min(self._concurrent - running, left)
        return State(
            done=done,
            part=sum(epoch / self._epochs[number] for number, epoch in self._running.items()),
            states=states,
            best=max((score for score in self._scores if score is not None), default=None),
            waiting=f"{counted(unplaced, 'trial')} to be placed" if unplaced else "",
            at_work=tuple(
                f"trial {number} (epoch {epoch} of {self._epochs[number]})"
                for number, epoch in sorted(self._running.items())
            ),
        )


class TrialEvents(tune.Callback):
    """Hears Tune, and passes it on: to the watchdog, the progress, and the log as trials end."""

    def __init__(self, dog: Watchdog, watch: SearchWatch, progress: Progress) -> None:
        self._dog = dog
        self._watch = watch
        self._progress = progress

    def __reduce__(self) -> tuple[type[tune.Callback], tuple[()]]:
        # Tune keeps a copy for a restore, which is never asked for; threads cannot be copied.
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
            how = DIVERGED
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
