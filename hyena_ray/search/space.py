"""What a search tries: a space read strictly from YAML, from which Optuna suggests trials.

Imports neither Ray, Optuna nor torch, so that a mistake in a space is found at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.errors import InputError, Problems, unknown_name
from hyena_ray.search._combinations import Combinations
from hyena_ray.settings import Settings, load_yaml
from hyena_ray.tasks import task_named
from hyena_ray.training.settings import RunSettings

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Scalar = str | int | float | bool | None
Values = dict[str, Any]
"""Dotted keys of `RunSettings` and their values."""
METRIC = "training.metric"
"""Setting that names the metric of a search."""
EPOCHS = ("training.stages", "training.epochs", "training.head_stage_epochs")
"""Settings that decide the number of epochs."""
CONSTRAINED = (
    (
        *("data.length", "readout.flank", "readout.special_tokens"),
        *("model.max_seq_len", "model.architecture", "model.backbone"),
    ),
    ("training.permute_labels", "training.batch_size", "training.accumulation"),
)
"""Settings that a rule joins, where it joins more than two."""


class SchedulerSettings(Settings):
    """Asynchronous successive halving (ASHA): weak trials stop early."""

    grace_period: int = Field(default=2, gt=1)
    """Epochs before a trial may be stopped; above 1, since a first epoch says little."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """At each cut, one trial in this many continues."""


class Parameter(Settings):
    """The values that one setting may take: `choices`, or numbers from `low` to `high`.

    Example:
        >>> depth = Parameter(low=2, high=8, step=3, when={"model.architecture": "hyenadna"})
        >>> [depth.value_at(index) for index in range(depth.count())]
        [2, 5, 8]
        >>> depth.applies({"model.architecture": "bilstm"})
        False
    """

    choices: tuple[Any, ...] | None = None
    """Values to choose from."""
    low: float | int | None = None
    """Smallest value. With two whole numbers the value is whole."""
    high: float | int | None = None
    """Largest value, included."""
    log: bool = False
    """Sample evenly on a logarithmic scale."""
    step: float | int | None = None
    """Distance between neighbouring values."""
    when: dict[str, Any] = Field(default_factory=dict)
    """Search this setting only where each of these has the value given, or one of those given."""

    def check(self, place: str) -> None:
        """Refuse what cannot be sampled.

        Args:
            place: Where the parameter is written, for the message.

        Raises:
            InputError: There are no values, or choices and a range exclude each other.
        """
        if (self.choices is None) == (self.low is None and self.high is None):
            raise InputError(
                place, None, "needs either choices or a range", "give choices, or low and high"
            )
        if self.choices is not None:
            self._check_choices(place)
        elif self.low is None or self.high is None:
            raise InputError(place, None, "low or high is missing", "give both")
        else:
            self._check_range(place)

    def _check_choices(self, place: str) -> None:
        if not self.choices:
            raise InputError(f"{place}: choices", None, "is empty", "give at least one value")
        if self.log or self.step is not None:
            raise InputError(place, None, "choices with log or step", "remove log and step")
        labels = [_label(choice) for choice in self.choices]
        if len(set(map(repr, labels))) < len(labels):
            raise InputError(f"{place}: choices", list(labels), "has a value twice", "remove it")

    def _check_range(self, place: str) -> None:
        low, high = self.bounds()
        shown = f"{low:g} to {high:g}"
        if not low < high:
            raise InputError(place, shown, "low is not below high", "exchange or widen them")
        if self.log and low <= 0:
            raise InputError(place, shown, "log needs low above 0", "raise low or remove log")
        if self.step is not None and (self.log or self.step <= 0):
            raise InputError(
                f"{place}: step", self.step, "must be above 0 and without log", "correct it"
            )
        if self._is_whole() and self.step is not None and not isinstance(self.step, int):
            raise InputError(
                f"{place}: step", self.step, "not whole, but low and high are", "give a whole step"
            )

    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def bounds(self) -> tuple[float, float]:
        """Return `low` and `high` of a range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def count(self) -> int | None:
        """Return the number of values, or None of a range of real numbers without a step."""
        if self.choices is not None:
            return len(self.choices)
        last = self._last_step()
        return None if last is None else last + 1

    def value_at(self, index: int) -> Any:
        """Return a choice, or a value of a range in ascending order.

        Args:
            index: Below `count()`.
        """
        if self.choices is not None:
            return self.choices[index]
        return min(self.bounds()[0] + index * (self.step or 1), self._highest())

    def _last_step(self) -> int | None:
        """Steps from the lowest to the highest value."""
        low, high = self.bounds()
        step = self.step or (1 if self._is_whole() else None)
        if step is None:
            return None
        # As Optuna does: 0.1 to 0.3 by 0.1 are three values, which binary fractions would miss.
        return int((Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step)))

    def _highest(self) -> float:
        """The last value at or below `high`."""
        low, high = self.bounds()
        last = self._last_step()
        if last is None or self.step is None:
            return high
        if self._is_whole():
            return low + last * self.step
        return float(Decimal(str(low)) + last * Decimal(str(self.step)))

    def nearest(self, value: Any) -> Any:
        """Return the value of a range with steps that is nearest to another number.

        Args:
            value: Any value; what is no number has no nearest one.

        Returns:
            One of the range's values, or None.
        """
        size = self.count()
        if size is None or not isinstance(value, int | float):
            return None
        index = round((value - self.bounds()[0]) / (self.step or 1))
        return self.value_at(min(max(index, 0), size - 1))

    def suggest(self, trial: BaseTrial, key: str) -> Any:
        """Ask Optuna for a value.

        Args:
            trial: Trial of an Optuna study.
            key: Name of the setting in the Optuna study.

        Returns:
            The suggested value, as it is written in the space.
        """
        if self.choices is not None:
            by_label = {_label(choice): choice for choice in self.choices}
            return by_label[trial.suggest_categorical(key, list(by_label))]
        low, high = self.bounds()[0], self._highest()
        if self._is_whole():
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(key, int(low), int(high), step=step, log=self.log)
        return trial.suggest_float(key, low, high, step=self.step, log=self.log)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Return whether `when` holds.

        Args:
            values: Searched settings chosen so far, by dotted key.
        """
        return all(
            key in values and values[key] in required
            for key, required in self.required_values().items()
        )

    def required_values(self) -> dict[str, tuple[Any, ...]]:
        """Return, by setting, the values that `when` asks for."""
        return {
            key: tuple(values) if isinstance(values, list | tuple) else (values,)
            for key, values in self.when.items()
        }


class SearchSpace(Settings):
    """Settings that a search tries, its task, and its length.

    Example:
        >>> space = SearchSpace(
        ...     task="zdna",
        ...     settings={"data.length": 100},
        ...     search={
        ...         "training.epochs": Parameter(low=1, high=200),
        ...         "lora.enabled": Parameter(choices=(False, True)),
        ...         "lora.rank": Parameter(choices=(4, 8), when={"lora.enabled": True}),
        ...     },
        ... )
        >>> space.lengths(), space.longest_run()
        ((100,), 200)
        >>> sorted({(s.lora.enabled, s.lora.rank) for s in space.covering_settings()})
        [(False, 8), (True, 4), (True, 8)]
    """

    task: str
    """Task of the data."""
    trials: int = Field(default=24, ge=1)
    """Number of settings to try."""
    concurrent: int | None = Field(default=None, ge=1)
    """Number of trials at once; left out: as many as the cluster holds."""
    resources: TrialResources = TrialResources()
    """CPUs, GPUs and workers of one trial."""
    scheduler: SchedulerSettings = SchedulerSettings()
    """When weak trials are stopped."""
    seed: int = Field(default=0, ge=0)
    """Seed of the suggestions."""
    stall_minutes: float = Field(default=60.0, gt=0)
    """Stop when no trial has reported for this long; more than the longest epoch."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings that all trials share, by dotted key."""
    search: dict[str, Parameter] = Field(default_factory=dict)
    """Settings that are searched, by dotted key; a `when` names settings above its own."""
    attribution: dict[str, Any] = Field(default_factory=dict)
    """Settings of the best model's attribution that differ from the default ones."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a YAML file, and validate every choice and bound in it.

        Args:
            path: The file.

        Returns:
            A space whose trials all have valid settings, as far as `covering_settings` shows.

        Raises:
            InputError: Names the file and the key; all problems of the file at once.
        """
        space = cls.parse(load_yaml(path), path)
        space._check(path)
        return space

    def _check(self, path: Path) -> None:
        task_named(self.task, f"{path}: task")
        if not self.search:
            raise InputError(f"{path}: search", None, "is empty", "give at least one setting")
        with Problems() as problems:
            for key in self.search:
                problems.collect(self._check_parameter, key, f"{path}: search.{key}")
            problems.collect(self.attribution_settings, path)
        with Problems() as problems:
            for key in self.search:
                problems.collect(self._check_applies, key, f"{path}: search.{key}")
        for settings in self.covering_settings(path):
            if settings.readout.lookahead > settings.readout.flank:
                raise InputError(
                    f"{path}: readout.lookahead",
                    settings.readout.lookahead,
                    f"reaches past a flank of {settings.readout.flank} that the space allows",
                    "lower it, raise readout.flank, or tie them with `when`",
                )

    def _check_parameter(self, key: str, place: str) -> None:
        if key == METRIC:
            raise InputError(
                place, None, "trials with other metrics cannot be compared", "set it under settings"
            )
        if key in self.settings:
            raise InputError(place, None, "is under settings too", "remove one of them")
        self.search[key].check(place)
        keys = list(self.search)
        above = keys[: keys.index(key)]
        for other in self.search[key].when:
            if other not in above:
                raise unknown_name(f"{place}.when", other, "earlier setting of the search", above)

    def _check_applies(self, key: str, place: str) -> None:
        if not any(key in values for values in self._combinations().of([key])):
            raise InputError(
                f"{place}.when",
                json.dumps(self.search[key].when),
                "no trial has these values",
                "give values that the settings above can take",
            )

    def _combinations(self) -> Combinations:
        return Combinations(self.search)

    @property
    def metric(self) -> str:
        """Name of the metric on the validation data that the search maximises."""
        return self.run_settings({}).metric

    def suggest(self, trial: BaseTrial) -> Values:
        """Ask Optuna for a trial's searched settings.

        Args:
            trial: Trial of an Optuna study.

        Returns:
            Values by dotted key, without settings whose `when` does not hold.
        """
        values: Values = {}
        for key, parameter in self.search.items():
            if parameter.applies(values):
                values[key] = parameter.suggest(trial, key)
        return values

    def run_settings(
        self, values: Mapping[str, Any], place: str | PurePath = "search"
    ) -> RunSettings:
        """Complete a trial's settings.

        Args:
            values: Its searched settings, by dotted key.
            place: Where they come from, for the message.

        Returns:
            The task's defaults, changed by the settings that all trials share and by `values`.

        Raises:
            InputError: Unknown key or a value out of range.
        """
        return RunSettings.for_task(self.task).updated({**self.settings, **values}, place)

    def attribution_settings(self, place: str | PurePath = "search") -> AttributionSettings:
        """Return how the best model is attributed.

        Args:
            place: Where the settings come from, for the message.

        Raises:
            InputError: Unknown key or a value out of range.
        """
        usual = definition("default", task_named(self.task).kind)
        return usual.updated(self.attribution, f"{place}: attribution")

    def covering_settings(self, place: str | PurePath = "search") -> list[RunSettings]:
        """Return a few trials' settings that between them show all that the space allows.

        Every choice of every setting, both ends of every range, and every setting's absence where
        its `when` can fail occur in at least one of them; so does every combination of these for
        any two settings, and for those in `CONSTRAINED`. What is wrong with one setting or with two
        together is therefore found, if the rule is one of equality or of order; what only three
        or more settings break together is found for `CONSTRAINED` alone.

        Args:
            place: Where the space comes from, for the message.

        Returns:
            Settings that a trial may really have, the same ones each time.

        Raises:
            InputError: One of them is not valid.
        """
        with Problems() as problems:
            found = [
                problems.collect(self.run_settings, values, place)
                for values in self._combinations().covering((*CONSTRAINED, EPOCHS))
            ]
        return [settings for settings in found if settings is not None]

    def lengths(self) -> tuple[int, ...]:
        """Return all window lengths that a trial can have, in bases and ascending."""
        parameter = self.search.get("data.length")
        lengths: set[int] = set()
        for values in self._trials_by(["data", "data.length"]):
            trials = [values]
            if parameter is not None and "data.length" in values:
                every_length = map(parameter.value_at, range(parameter.count() or 0))
                trials = [{**values, "data.length": length} for length in every_length]
            lengths.update(self.run_settings(trial).data.length for trial in trials)
        return tuple(sorted(lengths))

    def longest_run(self) -> int:
        """Return the number of epochs of the longest trial."""

        return max(
            self.run_settings(values).total_epochs
            for values in self._trials_by(["training", *EPOCHS])
        )

    def _trials_by(self, keys: Iterable[str]) -> Iterator[Values]:
        """Trials that show every combination of some settings; others have their first value."""
        combinations = self._combinations()
        return map(combinations.completed, combinations.of(keys))


def _label(choice: Any) -> Scalar:
    """What Optuna can store for a choice; lists and mappings become JSON text."""
    if choice is None or isinstance(choice, str | int | float | bool):
        return choice
    return json.dumps(choice, sort_keys=True)
