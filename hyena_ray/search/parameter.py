"""The values that one searched setting may take, and under which conditions.

Imports neither Ray, Optuna nor torch; see `space`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.settings import Settings

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Scalar = str | int | float | bool | None


class Parameter(Settings):
    """The values that one setting may take: `choices`, or numbers from `low` to `high`.

    Example:
        >>> depth = Parameter(low=2, high=8, step=3, when={"model.architecture": "hyenadna"})
        >>> [depth.value_at(index) for index in range(depth.count())]
        [2, 5, 8]
        >>> depth.applies({"model.architecture": "bilstm"})
        False
    """

    # What `otherwise` holds is a parameter as well: the methods below, except for those that say
    # so, are about one of them alone.

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
    unless: dict[str, Any] = Field(default_factory=dict)
    """Do not search it where one of these has the value given, or one of those given."""
    otherwise: Parameter | None = None
    """The values to search where `when` or `unless` rules these out."""

    def check(self, place: str) -> None:
        """Refuse what cannot be sampled, here and under `otherwise`.

        Args:
            place: Where the parameter is written, for the message.

        Raises:
            InputError: There are no values, or choices and a range exclude each other, or the
                values under `otherwise` could never be searched.
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
        if self.otherwise is not None:
            if not self.conditions():
                raise InputError(
                    f"{place}.otherwise",
                    None,
                    "never holds, since there is no condition above it",
                    "give when or unless, or remove it",
                )
            self.otherwise.check(f"{place}.otherwise")

    def _check_choices(self, place: str) -> None:
        if not self.choices:
            raise InputError(f"{place}: choices", None, "is empty", "give at least one value")
        if self.log or self.step is not None:
            raise InputError(place, None, "choices with log or step", "remove log and step")
        labels = [study_value(choice) for choice in self.choices]
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
            key: Name in the Optuna study; see `name_in_study`.

        Returns:
            The suggested value, as it is written in the space.
        """
        if self.choices is not None:
            by_label = {study_value(choice): choice for choice in self.choices}
            return by_label[trial.suggest_categorical(key, list(by_label))]
        low, high = self.bounds()[0], self._highest()
        if self._is_whole():
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(key, int(low), int(high), step=step, log=self.log)
        return trial.suggest_float(key, low, high, step=self.step, log=self.log)

    def conditions(self) -> list[tuple[str, tuple[Any, ...], bool]]:
        """Return the settings of `when` and `unless`, the values, and whether it must have one."""
        return [
            (key, tuple(values) if isinstance(values, list | tuple) else (values,), required)
            for conditions, required in ((self.when, True), (self.unless, False))
            for key, values in conditions.items()
        ]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return whether `when` and `unless` allow these values; what is under `otherwise` aside.

        Args:
            values: Searched settings chosen so far, by dotted key.
        """
        return all(
            (key in values and values[key] in asked) == required
            for key, asked, required in self.conditions()
        )

    def alternatives(self) -> tuple[Parameter, ...]:
        """Return this parameter and those under `otherwise`, in order."""
        others = () if self.otherwise is None else self.otherwise.alternatives()
        return (self, *others)

    def alternative(self, values: Mapping[str, Any]) -> int | None:
        """Return the number of the first alternative that holds, or None where none does.

        Args:
            values: Searched settings chosen so far, by dotted key.
        """
        numbered = enumerate(self.alternatives())
        return next((number for number, one in numbered if one.holds(values)), None)

    def applies(self, values: Mapping[str, Any]) -> bool:
        """Return whether one of the alternatives holds.

        Args:
            values: Searched settings chosen so far, by dotted key.
        """
        return self.alternative(values) is not None

    def required_values(self) -> dict[str, tuple[Any, ...]]:
        """Return, by setting, the values that conditions of any alternative ask for."""
        asked: dict[str, tuple[Any, ...]] = {}
        for one in self.alternatives():
            for key, values, _ in one.conditions():
                asked[key] = (*asked.get(key, ()), *values)
        return asked

    def resolved(self, constants: Mapping[str, Any]) -> Parameter | None:
        """Return the parameter without the conditions that are settled already.

        Args:
            constants: Settings that all trials share, by dotted key.

        Returns:
            What is left to search; None where no alternative can hold.
        """
        otherwise = None if self.otherwise is None else self.otherwise.resolved(constants)
        kept: dict[bool, dict[str, Any]] = {True: {}, False: {}}
        for key, values, required in self.conditions():
            if key not in constants:
                kept[required][key] = (self.when if required else self.unless)[key]
            elif (constants[key] in values) != required:
                return otherwise
        if not any(kept.values()):
            otherwise = None
        changes = {"when": kept[True], "unless": kept[False], "otherwise": otherwise}
        return self.model_copy(update=changes)

    def contains(self, value: Any) -> bool:
        """Return whether the value is one of the choices, or one that the range can take.

        Args:
            value: Any value.
        """
        if self.choices is not None:  # of which 1 and true are two
            is_bool = isinstance(value, bool)
            return any(isinstance(one, bool) == is_bool and one == value for one in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.bounds()
        return low <= value <= high and (self.count() is None or self.nearest(value) == value)


def name_in_study(key: str, alternative: int) -> str:
    """Return the name of a setting's alternative in Optuna, where a name has one set of values.

    Args:
        key: Dotted key of the setting.
        alternative: Number of the alternative, from 0.

    Example:
        >>> name_in_study("readout.flank", 0), name_in_study("readout.flank", 1)
        ('readout.flank', 'readout.flank (2)')
    """
    return key if alternative == 0 else f"{key} ({alternative + 1})"


def study_value(choice: Any) -> Scalar:
    """Return what Optuna can store for a value; lists and mappings become JSON text.

    Args:
        choice: A value as YAML has it.
    """
    if choice is None or isinstance(choice, str | int | float | bool):
        return choice
    return json.dumps(choice, sort_keys=True)
