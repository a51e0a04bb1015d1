"""A search is told of as its trials are: running, ended in whatever way, or still to begin."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from hyena_ray.search.space import SearchSpace
from hyena_ray.search.trial_fields import COMPLETE, FAILED, OWN, STOPPED
from hyena_ray.search.tune_experiment import CRASHED, SearchWatch

SPACE = SearchSpace.parse(
    {
        "task": "zdna",
        "trials": 8,
        "settings": {"training.epochs": 4},
        "search": {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    },
    "test",
)
VALUES = {"training.learning_rate": 1e-3}


def study(*states: TrialState) -> optuna.Study:
    made = optuna.create_study(direction="maximize")
    for number, state in enumerate(states):
        value = number / 10 if state == TrialState.COMPLETE else None
        made.add_trial(create_trial(state=state, value=value, user_attrs={OWN: True}))
    return made


def test_a_new_search_waits_for_as_many_trials_as_may_run_at_once() -> None:
    state = SearchWatch(study(), SPACE, concurrent=3).state()
    assert state.waiting == "3 trials to be placed"
    assert state.states == {
        "running": 0,
        "pending": 8,
        COMPLETE: 0,
        STOPPED: 0,
        FAILED: 0,
        CRASHED: 0,
    }
    assert (state.done, state.part, state.best) == (0, 0.0, None)


def test_trials_of_earlier_starts_count_except_the_unfinished() -> None:
    earlier = study(
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE,
        TrialState.RUNNING,
    )  # fmt: skip
    state = SearchWatch(earlier, SPACE, concurrent=2).state()
    assert state.done == 4
    assert state.states == {
        "running": 0,
        "pending": 4,
        COMPLETE: 2,
        STOPPED: 1,
        FAILED: 1,
        CRASHED: 0,
    }
    assert state.best == 0.3


def test_running_trials_add_up_by_their_epochs() -> None:
    watch = SearchWatch(study(), SPACE, concurrent=2)
    watch.started(0, VALUES)
    watch.started(1, VALUES | {"training.epochs": 8})
    watch.reported(0, 1)
    watch.reported(1, 6)
    state = watch.state()
    assert state.part == pytest.approx(1 / 4 + 6 / 8)
    assert state.at_work == ("trial 0 (epoch 1 of 4)", "trial 1 (epoch 6 of 8)")
    assert (state.states["running"], state.states["pending"], state.waiting) == (2, 6, "")


def test_the_best_score_is_that_of_a_complete_trial() -> None:
    watch = SearchWatch(study(), SPACE, concurrent=2)
    for number, (how, score) in enumerate([(COMPLETE, 0.5), (STOPPED, 0.9), (FAILED, -1.0)]):
        watch.started(number, VALUES)
        watch.ended(number, how, score)
    state = watch.state()
    assert (state.best, state.done) == (0.5, 3)


def test_a_trial_that_failed_is_pending_until_it_is_tried_again() -> None:
    watch = SearchWatch(study(), SPACE, concurrent=1)
    watch.started(0, VALUES)
    watch.reported(0, 3)
    watch.lost(0)
    assert watch.state().states["pending"] == 8
    assert watch.state().waiting == "1 trial to be placed"
    watch.started(0, VALUES)
    assert watch.state().at_work == ("trial 0 (epoch 0 of 4)",)
    watch.ended(0, CRASHED)
    watch.reported(0, 4)
    assert (watch.state().done, watch.state().states[CRASHED], watch.state().part) == (1, 1, 0.0)
