"""Combinations of searched settings are exact: equal to brute force over small random spaces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import optuna
import pytest

from hyena_ray.search._combinations import Combinations
from hyena_ray.search.space import Parameter, SearchSpace

Space = dict[str, Parameter]
KEYS = (
    *("data.length", "training.stages", "training.epochs", "training.head_stage_epochs"),
    *("readout.flank", "lora.rank", "training.seed"),
)
ABSENT = None


def random_space(seed: int) -> Space:
    """Four to six settings in a random order, about half of them under conditions, and half of
    these with other values otherwise."""
    numbers = random.Random(seed)
    space: Space = {}
    for key in numbers.sample(KEYS, numbers.randint(4, 6)):
        conditions: dict[str, dict[str, Any]] = {"when": {}, "unless": {}}
        for above in numbers.sample(list(space), min(len(space), numbers.choice([0, 0, 1, 1, 2]))):
            values = every_value(space[above])
            # Sometimes a value that the setting above cannot take.
            asked = [*numbers.sample(values, min(len(values), numbers.randint(1, 2))), 77]
            condition = conditions[numbers.choice(["when", "when", "unless"])]
            condition[above] = numbers.choice([asked, asked[0], asked[:1]])
        otherwise = None
        if any(conditions.values()) and numbers.random() < 0.5:
            otherwise = random_parameter(key, numbers)
        changes = {**conditions, "otherwise": otherwise}
        space[key] = random_parameter(key, numbers).model_copy(update=changes)
    return space


def random_parameter(key: str, numbers: random.Random) -> Parameter:
    if key == "training.stages":
        stages = ("single", "discriminative", "two_stage", "frozen")
        return Parameter(choices=tuple(numbers.sample(stages, numbers.randint(1, 4))))
    if numbers.random() < 0.5:
        return Parameter(choices=tuple(numbers.sample(range(1, 9), numbers.randint(1, 4))))
    low, step = numbers.randint(1, 4), numbers.choice([None, 2, 3])
    return Parameter(low=low, high=low + numbers.randint(1, 6), step=step)


def own_values(parameter: Parameter) -> list[Any]:
    """Written anew, so as not to test the code with itself."""
    if parameter.choices is not None:
        return list(parameter.choices)
    return list(range(int(parameter.low or 0), int(parameter.high or 0) + 1, parameter.step or 1))  # type: ignore[call-overload]


def every_value(parameter: Parameter) -> list[Any]:
    others = [] if parameter.otherwise is None else every_value(parameter.otherwise)
    return [*own_values(parameter), *others]


def allowed_values(parameter: Parameter | None, values: dict[str, Any]) -> list[Any]:
    """The values that a setting may take beside those of the settings above; none where it is
    absent."""
    if parameter is None:
        return []

    def meets(key: str, asked: Any) -> bool:
        return key in values and values[key] in (asked if isinstance(asked, list) else [asked])

    required = all(meets(key, asked) for key, asked in parameter.when.items())
    refused = any(meets(key, asked) for key, asked in parameter.unless.items())
    if required and not refused:
        return own_values(parameter)
    return allowed_values(parameter.otherwise, values)


def every_trial(space: Space) -> Iterator[dict[str, Any]]:
    def extend(keys: list[str], values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not keys:
            yield values
            return
        key, *rest = keys
        allowed = allowed_values(space[key], values)
        for value in allowed:
            yield from extend(rest, {**values, key: value})
        if not allowed:
            yield from extend(rest, values)

    return extend(list(space), {})


SEEDS = range(100)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_covering_trial_is_one_that_the_search_can_suggest(seed: int) -> None:
    space = random_space(seed)
    possible = list(every_trial(space))
    for trial in Combinations(space).covering([KEYS[:3]]):
        assert trial in possible


@pytest.mark.parametrize("seed", SEEDS)
def test_covering_trials_break_every_rule_of_two_settings_that_some_trial_breaks(seed: int) -> None:
    """Rules of equality, between choices and absence, and rules of order, between numbers."""
    space = random_space(seed)
    possible, covering = list(every_trial(space)), Combinations(space).covering()
    for pair in combinations(space, 2):
        chosen = [
            key for key in pair if all(one.choices is not None for one in space[key].alternatives())
        ]

        def outcomes(trials: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
            found: set[tuple[Any, ...]] = set()
            for trial in trials:
                first, second = (trial.get(key, ABSENT) for key in pair)  # noqa: B023
                found.add(tuple(trial.get(key, ABSENT) for key in chosen))  # noqa: B023
                found.add((first is ABSENT, second is ABSENT))
            return found

        assert outcomes(covering) == outcomes(possible)
        for sign in (1, -1):
            extremes = [
                max(
                    (
                        trial[pair[0]] + sign * trial[pair[1]]
                        for trial in trials
                        if all(isinstance(trial.get(key), int) for key in pair)
                    ),
                    default=None,
                )
                for trials in (possible, covering)
            ]
            assert extremes[0] == extremes[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_of_ranges_that_conditions_ask_for_occur_with_all_that_they_allow(seed: int) -> None:
    space = random_space(seed)

    def shown(trials: list[dict[str, Any]]) -> set[frozenset[str]]:
        return {frozenset(pair) for trial in trials for pair in combinations(trial, 2)}

    assert shown(Combinations(space).covering()) == shown(list(every_trial(space)))


@pytest.mark.parametrize("seed", SEEDS)
def test_lengths_and_the_longest_run_are_those_of_all_trials(seed: int) -> None:
    space = SearchSpace(task="zdna", search=random_space(seed))
    trials = [space.run_settings(values) for values in every_trial(space.search)][:2_000]
    if len(trials) == 2_000:
        pytest.skip("too many trials to try all")
    assert space.lengths() == tuple(sorted({trial.data.length for trial in trials}))
    assert space.longest_run() == max(
        trial.training.epochs
        + (trial.training.head_stage_epochs if trial.training.stages == "two_stage" else 0)
        for trial in trials
    )


@pytest.mark.parametrize(
    "parameter",
    [
        Parameter(low=0.1, high=0.3, step=0.1),
        Parameter(low=0.1, high=0.75, step=0.1),
        Parameter(low=1, high=9, step=3),
    ],
)
def test_a_range_with_steps_has_the_values_that_optuna_suggests(parameter: Parameter) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested = {parameter.suggest(study.ask(), "x") for _ in range(200)}
    assert suggested == {parameter.value_at(index) for index in range(parameter.count() or 0)}


def test_a_condition_on_an_end_of_a_range_of_real_numbers_leaves_its_neighbour() -> None:
    space = {
        "training.warmup": Parameter(low=0.0, high=0.5),
        "training.epochs": Parameter(choices=(3,), when={"training.warmup": [0.0]}),
    }
    trials = Combinations(space).covering()
    assert not any("training.epochs" in trial for trial in trials)
    assert min(trial["training.warmup"] for trial in trials) > 0
