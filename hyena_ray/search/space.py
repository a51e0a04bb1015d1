"""What a search tries: a space read strictly from YAML, from which Optuna suggests trials.

A setting is searched, or the same in all trials. Those that a command fixes leave the search, and
with them all that has no effect beside them by its own conditions. A space in which a trial could
have a setting without effect (`Settings.unused`) is refused.

Imports neither Ray, Optuna nor torch, so that a mistake in a space is found at once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.cluster.resources import TrialResources
from hyena_ray.errors import InputError, Problems, unknown_name
from hyena_ray.search._combinations import Combinations
from hyena_ray.search.parameter import Parameter, name_in_study, study_value
from hyena_ray.settings import (
    Settings,
    dotted,
    load_yaml,
    no_effect,
    setting_keys,
    used_where,
)
from hyena_ray.tasks import task_named
from hyena_ray.training.settings import RunSettings

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

logger = logging.getLogger(__name__)

Values = dict[str, Any]
"""Dotted keys of `RunSettings` and their values."""
METRIC = "training.metric"
"""Setting that names the metric of a search."""
EPOCHS = ("training.stages", "training.epochs", "training.head_stage_epochs")
"""Settings that decide the number of epochs."""
CONSTRAINED = (
    (
        *("data.length", "readout.flank", "readout.lookahead", "readout.special_tokens"),
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
    """Settings that are searched, by dotted key. A `when` or `unless` names settings above its own,
    or some that all trials share."""
    points_to_evaluate: tuple[str | dict[str, Any], ...] = ()
    """Settings that are tried first: presets of the task by name, as far as the space has their
    values, or searched settings by dotted key."""
    attribution: dict[str, Any] = Field(default_factory=dict)
    """Settings of the best model's attribution that differ from the default ones."""

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        preset: Mapping[str, Any] | None = None,
        given: Mapping[str, Any] | None = None,
        label: Callable[[str], str] = str,
        adapt: bool = False,
    ) -> Self:
        """Read a YAML file, fix some settings, and validate every choice and bound of the rest.

        Args:
            path: The file.
            preset: Settings of a preset by dotted key, which all trials share.
            given: Settings that a command gives, which override those of the preset and the file.
            label: Turns a dotted key of `given` into the place that a message names.
            adapt: Whether searched settings are left out which have no effect with what is fixed,
                as in a file that nobody wrote for this command; otherwise they are refused.

        Returns:
            A space whose trials all have valid settings, as far as `covering_settings` shows, and
            none without effect. It searches only what is not fixed.

        Raises:
            InputError: Names the file and the key; all problems of the file at once.
        """
        space = cls.parse(load_yaml(path), path)
        space._check_written(path)
        places = {key: f"{path}: settings.{key}" for key in space.settings}
        places |= {key: label(key) for key in given or {}}
        space = space._fixed({**(preset or {}), **(given or {})}, path, adapt=adapt)
        space._check_trials(path, places)
        return space

    def _check_written(self, path: Path) -> None:
        task_named(self.task, f"{path}: task")
        if not self.search:
            raise InputError(f"{path}: search", None, "is empty", "give at least one setting")
        with Problems() as problems:
            for key in self.search:
                problems.collect(self._check_parameter, key, f"{path}: search.{key}")
            problems.collect(self.attribution_settings, path)

    def _check_parameter(self, key: str, place: str) -> None:
        if key == METRIC:
            raise InputError(
                place, None, "trials with other metrics cannot be compared", "set it under settings"
            )
        if key in self.settings:
            raise InputError(place, None, "is under settings too", "remove one of them")
        self.search[key].check(place)
        keys = list(self.search)
        later = keys[keys.index(key) :]
        known = [name for name in setting_keys(RunSettings) if name not in later]
        for other in self.search[key].required_values():
            if other in later:
                problem = f"depends on {other}, which is searched after it"
                raise InputError(place, None, problem, f"move {other} above it")
            if other not in known:
                raise unknown_name(f"{place}.when", other, "setting", known)

    def _fixed(self, changes: Mapping[str, Any], path: Path, *, adapt: bool) -> Self:
        """Take settings out of the search, with all that depends on others that are not in it."""
        settings = {**self.settings, **changes}
        constants = dotted(
            RunSettings.for_task(self.task).updated(settings, path).model_dump(mode="json")
        )
        search: dict[str, Parameter] = {}
        left_out = []
        for key, parameter in self.search.items():
            known = {name: value for name, value in constants.items() if name not in search}
            gone = key in changes or (adapt and _is_ruled_out(key, known, changes))
            kept = None if gone else parameter.resolved(known)
            if kept is not None:
                search[key] = kept
            elif key not in changes:
                left_out.append(key)
        if left_out:
            logger.info("not searched, as they have no effect here: %s", ", ".join(left_out))
        if not search:
            problem = f"nothing is left of it: {', '.join(self.search)} are fixed or have no effect"
            remedy = "fix less, or run `hyena-ray train`"
            raise InputError(f"{path}: search", None, problem, remedy)
        return self.model_copy(update={"settings": settings, "search": search})

    def _check_trials(self, path: Path, places: Mapping[str, str]) -> None:
        with Problems() as problems:
            for key in self.search:
                problems.collect(self._check_applies, key, f"{path}: search.{key}")
        with Problems() as problems:
            for key in self.search:
                problems.collect(self._check_has_effect, key, f"{path}: search.{key}")
            for key, place in places.items():
                problems.collect(self._check_shared, key, place)
        for settings in self.covering_settings(path):
            settings.check_lookahead(path)

    def _check_applies(self, key: str, place: str) -> None:
        parameter = self.search[key]
        reached = {parameter.alternative(values) for values in self._trials_by([key])}
        for number, one in enumerate(parameter.alternatives()):
            if number not in reached:
                raise InputError(
                    f"{place}{'.otherwise' * number}.when",
                    json.dumps(one.when | one.unless),
                    "no trial has these values",
                    "give values that the settings above can take",
                )

    def _check_has_effect(self, key: str, place: str) -> None:
        """Refuse a searched setting that a trial would have without effect."""
        for values, settings in self._trials_that_decide(key, place):
            obstacle = settings.unused().get(key) if key in values else None
            if obstacle is not None:
                value = dotted(settings.model_dump(mode="json"))[obstacle]
                remedy = f"search it where it has one, by `when` or `unless` with {obstacle}"
                raise no_effect(place, None, obstacle, value, remedy)

    def _check_shared(self, key: str, place: str) -> None:
        """Refuse a setting that was asked for and that no trial would use."""
        trials = [settings for _, settings in self._trials_that_decide(key, place)]
        if all(key in settings.unused() for settings in trials):
            trials[0].check_used([key], lambda key: place)

    def _trials_that_decide(self, key: str, place: str) -> Iterator[tuple[Values, RunSettings]]:
        """Trials with every combination of a setting and those that its effect depends on."""
        conditions = used_where(RunSettings).get(key, ())
        deciding = [other for one in conditions for other in (*one.when, *one.unless)]
        for values in self._trials_by([key, *deciding]):
            yield values, self.run_settings(values, place)

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
            Values by dotted key, without settings that their conditions rule out.
        """
        values: Values = {}
        for key, parameter in self.search.items():
            number = parameter.alternative(values)
            if number is not None:
                name = name_in_study(key, number)
                values[key] = parameter.alternatives()[number].suggest(trial, name)
        return values

    def points(self) -> tuple[Values, ...]:
        """Return the searched settings that are tried first, by dotted key; names were resolved."""
        return tuple(point for point in self.points_to_evaluate if isinstance(point, dict))

    def with_points(
        self, presets: Mapping[str, RunSettings], place: str | PurePath = "search"
    ) -> Self:
        """Replace the points to evaluate by the searched settings of a trial each.

        Args:
            presets: Settings of every preset that a point may name.
            place: Where the space comes from, for messages.

        Returns:
            The space, with different points that its trials can have. A preset that they cannot
            have is left out, and the log says why.

        Raises:
            InputError: A name is no preset, or a point that is written out is no trial's.
        """
        points: list[Values] = []
        for number, point in enumerate(self.points_to_evaluate):
            where = f"{place}: points_to_evaluate.{number}"
            if isinstance(point, dict):
                points.append(self.point(self.run_settings(point, where), where))
                continue
            if point not in presets:
                raise unknown_name(where, point, "preset", presets)
            try:
                points.append(self.point(presets[point], f"preset {point}"))
            except InputError as error:
                logger.info("not tried first: %s", error)
        distinct = {json.dumps(point, sort_keys=True): point for point in points}
        return self.model_copy(update={"points_to_evaluate": tuple(distinct.values())})

    def point(self, settings: RunSettings, place: str) -> Values:
        """Return the searched settings with which a trial is a run that is known.

        What all trials share by a command is as the command says.

        Args:
            settings: Settings of the run.
            place: Where they come from, for the message.

        Raises:
            InputError: No trial is that run; names the first setting that differs.
        """
        wanted = dotted(settings.model_dump(mode="json"))
        values: Values = {}
        for key, parameter in self.search.items():
            number = parameter.alternative(values)
            if number is None:
                continue
            if not parameter.alternatives()[number].contains(wanted[key]):
                problem = f"has {key} {json.dumps(wanted[key])}, which is not searched there"
                raise InputError(place, None, problem, "search that value to try this first")
            values[key] = wanted[key]
        trial = self.run_settings(values, place)
        unused, shared = trial.unused(), dotted(trial.model_dump(mode="json"))
        for key, value in shared.items():
            if key not in unused and value != wanted[key]:
                raise InputError(
                    place,
                    None,
                    f"has {key} {json.dumps(wanted[key])}, and trials have {json.dumps(value)}",
                    f"search {key} to try this first",
                )
        return values

    def parameters_in_study(self, values: Values) -> dict[str, Any]:
        """Return searched settings as Optuna knows them.

        Args:
            values: Searched settings of a trial, by dotted key.
        """
        return {
            name_in_study(key, self.search[key].alternative(values) or 0): study_value(value)
            for key, value in values.items()
        }

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
        its conditions can fail occur in at least one of them; so does every combination of these
        for any two settings, and for those in `CONSTRAINED`. What is wrong with one setting or with
        two together is therefore found, if the rule is one of equality or of order; what only three
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
            number = None if parameter is None else parameter.alternative(values)
            if parameter is not None and number is not None:
                one = parameter.alternatives()[number]
                every_length = map(one.value_at, range(one.count() or 0))
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


def _is_ruled_out(key: str, known: Mapping[str, Any], fixed: Collection[str]) -> bool:
    """Tell whether what a command fixes leaves a searched setting without effect.

    Args:
        key: Dotted key of the searched setting.
        known: Settings that are the same in all trials, by dotted key.
        fixed: Those of them that the command fixes.
    """
    obstacles = [condition.obstacle(known) for condition in used_where(RunSettings).get(key, ())]
    return bool(obstacles) and all(obstacle in fixed for obstacle in obstacles)
