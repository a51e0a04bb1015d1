"""A search space in YAML, read strictly and turned into suggestions by Optuna."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Self

from optuna.trial import BaseTrial
from pydantic import Field

from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.errors import InputError
from hyena_ray.settings import Settings, load_yaml
from hyena_ray.tasks import task_named
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.stages import training_stages

Scalar = str | int | float | bool | None
Values = dict[str, Any]
"""Dotted keys of `RunSettings` and their values."""
DRAWS = 256
"""Random settings that are checked before anything starts."""


class SchedulerSettings(Settings):
    """Asynchronous successive halving (ASHA): weak trials stop early."""

    grace_period: int = Field(default=2, gt=1)
    """Epochs before a trial may be stopped; above 1, since a first epoch says little."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """One in so many goes on at each cut."""


class Parameter(Settings):
    """What one setting may be: one of `choices`, or a number from `low` to `high`."""

    choices: tuple[Any, ...] | None = None
    """Values to choose from."""
    low: float | int | None = None
    """Smallest value. With two whole numbers the value is whole."""
    high: float | int | None = None
    """Largest value, included."""
    log: bool = False
    """Sample the logarithm evenly."""
    step: float | int | None = None
    """Distance between values."""
    when: dict[str, Any] = Field(default_factory=dict)
    """Searched only where these other settings have this value, or one of these."""

    def check(self, place: str) -> None:
        """Refuse what cannot be sampled.

        Raises:
            InputError: names `place`.
        """
        if (self.choices is None) == (self.low is None and self.high is None):
            raise InputError(place, None, "has not one range", "give choices, or low and high")
        if self.choices is not None:
            if not self.choices:
                raise InputError(f"{place}: choices", None, "is empty", "give at least one value")
            if self.log or self.step is not None:
                raise InputError(place, None, "log or step beside choices", "remove them")
            labels = [_label(choice) for choice in self.choices]
            if len(set(map(repr, labels))) < len(labels):
                raise InputError(
                    f"{place}: choices", list(labels), "has a value twice", "remove it"
                )
            return
        if self.low is None or self.high is None:
            raise InputError(place, None, "low or high is missing", "give both")
        found = f"{self.low:g} to {self.high:g}"
        if not self.low < self.high:
            raise InputError(place, found, "low is not below high", "exchange or widen them")
        if self.log and self.low <= 0:
            raise InputError(place, found, "log needs low above 0", "raise low or remove log")
        if self.step is not None and (self.log or self.step <= 0):
            raise InputError(
                f"{place}: step", self.step, "must be above 0 and without log", "correct it"
            )
        if self._whole() and self.step is not None and not isinstance(self.step, int):
            raise InputError(
                f"{place}: step", self.step, "not whole, but low and high are", "give a whole step"
            )

    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: BaseTrial, key: str) -> Any:
        """The value that Optuna suggests for `key`."""
        if self.choices is not None:
            by_label = {_label(choice): choice for choice in self.choices}
            return by_label[trial.suggest_categorical(key, list(by_label))]
        assert self.low is not None
        assert self.high is not None
        if self._whole():
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(key, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def draw(self, numbers: random.Random) -> Any:
        """A random value, for checks."""
        if self.choices is not None:
            return numbers.choice(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self._whole():
            return numbers.randint(int(self.low), int(self.high))
        return numbers.uniform(self.low, self.high)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Whether the settings chosen so far are those of `when`."""
        return all(
            key in values
            and values[key] in (wanted if isinstance(wanted, list | tuple) else (wanted,))
            for key, wanted in self.when.items()
        )


class SearchSpace(Settings):
    """What a search tries, on what, and for how long."""

    task: str
    """Task of the data."""
    trials: int = Field(default=24, ge=1)
    """Settings to try."""
    concurrent: int | None = Field(default=None, ge=1)
    """Trials at once; left out: as many as the cluster holds."""
    resources: TrialResources = TrialResources()
    """Of one trial."""
    scheduler: SchedulerSettings = SchedulerSettings()
    seed: int = Field(default=0, ge=0)
    """Of the suggestions."""
    stall_minutes: float = Field(default=60.0, gt=0)
    """Stop when no trial reports for so long; more than the longest epoch."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings that all trials share, by dotted key."""
    search: dict[str, Parameter] = Field(default_factory=dict)
    """Settings that are searched, by dotted key; a `when` names one that stands above."""
    attribution: dict[str, Any] = Field(default_factory=dict)
    """Settings of the best model's attribution, where they are not the default ones."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a YAML file.

        Raises:
            InputError: names file and key.
        """
        space = cls.parse(load_yaml(path), path)
        space._check(path)
        return space

    def _check(self, path: Path) -> None:
        task_named(self.task, f"{path}: task")
        if not self.search:
            raise InputError(f"{path}: search", None, "is empty", "give at least one setting")
        for index, (key, parameter) in enumerate(self.search.items()):
            place = f"{path}: search.{key}"
            if key in self.settings:
                raise InputError(place, None, "stands under settings too", "remove one of them")
            parameter.check(place)
            above = list(self.search)[:index]
            for other in parameter.when:
                if other not in above:
                    raise InputError(
                        f"{place}.when", other, "no searched setting above has this name",
                        f"give one of {', '.join(above) or 'those you place above it'}",
                    )  # fmt: skip
        self.attribution_settings(path)
        for settings in self.draws(path):
            if settings.readout.lookahead > settings.readout.flank:
                raise InputError(
                    f"{path}: readout.lookahead",
                    settings.readout.lookahead,
                    f"reaches past a flank of {settings.readout.flank} that the space allows",
                    "lower it, raise readout.flank, or tie them with `when`",
                )

    def suggest(self, trial: BaseTrial) -> Values:
        """The searched settings of one trial; those whose `when` does not hold are left out."""
        values: Values = {}
        for key, parameter in self.search.items():
            if parameter.applies(values):
                values[key] = parameter.suggest(trial, key)
        return values

    def run_settings(
        self, values: Mapping[str, Any], place: str | PurePath = "search"
    ) -> RunSettings:
        """Complete settings of a trial.

        Raises:
            InputError: unknown key or a value out of range.
        """
        return RunSettings.of_task(self.task).updated({**self.settings, **values}, place)

    def attribution_settings(self, place: str | PurePath = "search") -> AttributionSettings:
        """How the best model is attributed.

        Raises:
            InputError: unknown key or a value out of range.
        """
        usual = definition("default", task_named(self.task).kind)
        return usual.updated(self.attribution, f"{place}: attribution")

    def draws(self, place: str | PurePath = "search") -> list[RunSettings]:
        """Settings drawn at random from everywhere in the space, the same each time.

        Raises:
            InputError: one of them is not valid.
        """
        numbers = random.Random(0)
        found = []
        for _ in range(DRAWS):
            values: Values = {}
            for key, parameter in self.search.items():
                if parameter.applies(values):
                    values[key] = parameter.draw(numbers)
            found.append(self.run_settings(values, place))
        return found

    def lengths(self) -> tuple[int, ...]:
        """Window lengths that trials may ask for."""
        return tuple(sorted({settings.data.length for settings in self.draws()}))

    def longest_run(self) -> int:
        """Epochs of the longest trial."""
        return max(
            sum(stage.epochs for stage in training_stages(settings.training))
            for settings in self.draws()
        )


def _label(choice: Any) -> Scalar:
    """What Optuna can store for a choice; lists and mappings become JSON text."""
    if choice is None or isinstance(choice, str | int | float | bool):
        return choice
    return json.dumps(choice, sort_keys=True)
