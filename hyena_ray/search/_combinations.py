"""Which values of searched settings can occur together in one trial, by exact enumeration.

A searched setting is absent from a trial that its conditions rule out, and the trial then has its
default. Absence counts as a value here. A range is represented by the values that others
ask for in a `when` and by the smallest and largest of the rest: enough to find every set of
settings that apply together, and every violation of a rule of order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyena_ray.search.parameter import Parameter

_Target = frozenset[tuple[str, int]]
"""Settings and the index of each one's value among its representatives, or `_ABSENT`."""
_ABSENT = -1


class Combinations:
    """The combinations of values that a search can suggest.

    Args:
        parameters: Searched settings by dotted key; a condition names keys that come before.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        asked: dict[str, list[Any]] = {key: [] for key in parameters}
        for parameter in parameters.values():
            for key, values in parameter.required_values().items():
                asked[key] += values
        self._values = {
            key: [_representatives(one, asked[key]) for one in parameter.alternatives()]
            for key, parameter in parameters.items()
        }
        """Values to try, by setting and alternative."""
        # Of a setting that only decides whether others apply, one value per outcome is enough.
        self._outcomes = {
            key: [
                list({tuple(v == a for a in asked[key]): v for v in reversed(values)}.values())
                for values in alternatives
            ]
            for key, alternatives in self._values.items()
        }
        self._numbers = {
            key: [value for values in alternatives for value in values]
            for key, alternatives in self._values.items()
        }
        """All values of a setting, whose first position here is a value's number in a target."""

    def of(self, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Enumerate every combination of the values of some settings.

        Args:
            keys: Searched settings; others are ignored.

        Yields:
            Values of these settings, and of those on which their conditions depend, in the order of
            the search; without those that do not apply. Each can be completed to a trial.
        """
        chosen = set(keys) & set(self._parameters)
        order = self._with_ancestors(chosen)

        def extend(index: int, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
            if index == len(order):
                yield values
                return
            key = order[index]
            alternative = self._parameters[key].alternative(values)
            if alternative is None:
                yield from extend(index + 1, values)
                return
            for value in (self._values if key in chosen else self._outcomes)[key][alternative]:
                yield from extend(index + 1, {**values, key: value})

        return extend(0, {})

    def covering(self, groups: Iterable[Sequence[str]] = ()) -> list[dict[str, Any]]:
        """Choose few trials that show every combination of any two settings.

        Args:
            groups: Settings of which every combination is shown as well.

        Returns:
            Values of whole trials.
        """
        keys = list(self._parameters)
        uncovered: dict[_Target, dict[str, Any]] = {}
        for group in [*groups, *combinations(keys, 2), *((key,) for key in keys)]:
            for values in self.of(group):
                uncovered.setdefault(self._target(group, values), values)
        trials = []
        while uncovered:
            trial = self.completed(next(iter(uncovered.values())), uncovered)
            trials.append(trial)
            shown = self._target(keys, trial)
            uncovered = {
                target: values for target, values in uncovered.items() if not target <= shown
            }
        return trials

    def completed(
        self, values: Mapping[str, Any], uncovered: Mapping[_Target, Any] | None = None
    ) -> dict[str, Any]:
        """Give a trial's other settings a value.

        Args:
            values: One of the combinations that `of` yields.
            uncovered: Combinations that the other values should show as many of as possible.

        Returns:
            Values of a whole trial, in the order of the search.
        """
        trial: dict[str, Any] = {}
        known = self._target(values, values)
        for key, parameter in self._parameters.items():
            alternative = parameter.alternative(trial)
            if alternative is None:
                continue
            if key in values:
                trial[key] = values[key]
                continue
            numbered = {
                _index(self._numbers[key], value): value for value in self._values[key][alternative]
            }
            gains = {
                number: sum(frozenset((pair, (key, number))) in (uncovered or ()) for pair in known)
                for number in numbered
            }
            number = max(gains, key=lambda number: gains[number])
            trial[key] = numbered[number]
            known |= {(key, number)}
        return trial

    def _with_ancestors(self, keys: Iterable[str]) -> list[str]:
        needed = set(keys)
        for key in reversed(list(self._parameters)):
            if key in needed:
                needed |= set(self._parameters[key].required_values())
        return [key for key in self._parameters if key in needed]

    def _target(self, keys: Iterable[str], values: Mapping[str, Any]) -> _Target:
        return frozenset(
            (key, _index(self._numbers[key], values[key]) if key in values else _ABSENT)
            for key in keys
            if key in self._parameters
        )


def _representatives(parameter: Parameter, asked: Sequence[Any]) -> list[Any]:
    if parameter.choices is not None:
        return list(parameter.choices)
    size = parameter.count()
    if size is None:
        low, high = parameter.bounds()
        return [
            math.nextafter(bound, other) if bound in asked else bound
            for bound, other in ((low, high), (high, low))
        ]
    single = [value for value in map(parameter.nearest, dict.fromkeys(asked)) if value in asked]
    edges = [
        next((value for value in values if value not in single), None)
        for values in (
            map(parameter.value_at, range(size)),
            map(parameter.value_at, reversed(range(size))),
        )
    ]
    return list(dict.fromkeys(value for value in (*edges, *single) if value is not None))


def _index(values: Sequence[Any], value: Any) -> int:
    """Position by type too: among choices, 1 and true are two."""
    return next(
        index for index, other in enumerate(values) if (type(other), other) == (type(value), value)
    )
