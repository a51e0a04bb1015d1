"""Settings: strict YAML in, validated frozen objects out, errors that name the key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, NamedTuple, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from hyena_ray.errors import InputError, raise_together, unknown_key, unknown_name
from hyena_ray.storage import AnyPath, location, reopenable


def _location(value: object) -> AnyPath:
    try:
        return location(value)  # type: ignore[arg-type]
    except InputError:  # names no option
        raise ValueError("give a path, file:///folder or s3://bucket/folder") from None


Location = Annotated[AnyPath, PlainValidator(_location), PlainSerializer(str)]
"""A field that takes what `hyena_ray.storage.location` reads."""


READ, DO, WRITE, WHERE = "what is read", "what is done", "what is written", "where it runs"
"""Groups of options in the help, in this order."""


class Option(NamedTuple):
    """How a setting of a job appears on the command line."""

    metavar: str = ""
    """Placeholder of the value in the help, where the type of the setting says too little."""
    group: str = DO
    """Group of options in the help."""
    flag: str = ""
    """Name of the option, where it is not that of the setting."""
    positional: bool = False
    """Whether the value is given by its position, without a name."""
    repeated: bool = False
    """Whether the option may be given again, each time with one value."""
    default: str = ""
    """What the help says of the default, where the value itself says too little."""


@dataclass(frozen=True, slots=True)
class UsedWhere:
    """Where a setting has an effect: metadata of its field, in the terms of a search space.

    A field with several of them has an effect where one holds; a field with none, always.

    Example:
        >>> only_focal = UsedWhere({"training.loss": ("focal",)})
        >>> only_focal.obstacle({"training.loss": "cross_entropy"})
        'training.loss'
    """

    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings by dotted key, from the outermost class, and the values that they must have."""
    unless: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings, and the values that they must not have."""

    def obstacle(self, values: Mapping[str, Any]) -> str | None:
        """Return the first setting that leaves the field without effect, or None.

        Args:
            values: Values of settings by dotted key; one that is not among them is no obstacle.
        """
        when = {key: required for key, required in self.when.items() if key in values}
        unless = {key: refused for key, refused in self.unless.items() if key in values}
        missing = (key for key, required in when.items() if values[key] not in required)
        excluded = (key for key, refused in unless.items() if values[key] in refused)
        return next(missing, None) or next(excluded, None)


class Settings(BaseModel):
    """Base of every configuration: frozen, no unknown key, no silent conversion.

    The string under a field is its description and the help that users read.

    Example:
        >>> class Recipe(Settings):
        ...     epochs: int = 8
        >>> Recipe.parse({"epochs": 3}, "recipe.yaml").epochs
        3
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def parse(
        cls,
        values: Mapping[str, Any],
        place: str | PurePath,
        *,
        label: Callable[[str], str] | None = None,
    ) -> Self:
        """Validate plain values, as YAML or a command line give them.

        Args:
            values: Values by key.
            place: Where the values come from, for the message.
            label: Turns a dotted key into the place that the message names; by default
                `PLACE: KEY`.

        Raises:
            InputError: Unknown keys, wrong types or values out of range; names all of them.
        """
        named = label or (lambda key: f"{place}: {key}")
        try:
            # JSON mode: lists become tuples and 1 a float, but neither "1" nor True a number.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            raise_together([_problem(cls, detail, named) for detail in _findings(error)])
            raise

    @classmethod
    def check_each(cls, changes: Mapping[str, Any], label: Callable[[str], str]) -> None:
        """Check settings by themselves, where the values of the others are not known yet.

        Args:
            changes: Values by dotted key.
            label: Turns a dotted key into the place that the message names.

        Raises:
            InputError: Unknown keys, wrong types or values out of range; names all of them.
        """
        problems = []
        for key, value in changes.items():
            path = tuple(key.split("."))
            for part in reversed(path):
                value = {part: value}
            try:
                cls.model_validate_json(json.dumps(value))
            except ValidationError as error:
                about = [detail for detail in _findings(error) if _is_about(detail, path)]
                if any(detail["type"] == "extra_forbidden" for detail in about):
                    problems.append(_unknown_setting(label(key), key, list(setting_keys(cls))))
                else:
                    problems += [_problem(cls, detail, label) for detail in about]
        raise_together(problems)

    def updated(self, changes: Mapping[str, Any], place: str | PurePath) -> Self:
        """Return a copy with dotted keys changed, such as `{"training.epochs": 3}`.

        Args:
            changes: New values by dotted key.
            place: Where the changes come from, for the message.

        Raises:
            InputError: Unknown keys, wrong types or values out of range; names all of them.
        """
        values = self.model_dump(mode="json")
        unknown = []
        for key, value in changes.items():
            *sections, name = key.split(".")
            section: Any = values
            for part in sections:
                section = section.get(part) if isinstance(section, dict) else None
            if not isinstance(section, dict) or (sections and name not in section):
                known = list(dict.fromkeys((*setting_keys(type(self)), *dotted(values))))
                unknown.append(_unknown_setting(f"{place}: {key}", key, known))
            else:
                section[name] = value
        raise_together(unknown)
        return self.parse(values, place)

    def unused(self) -> dict[str, str]:
        """Return the settings that have no effect given the others, each with one that it lacks.

        Whether a value was given or is a default makes no difference.

        Example:
            >>> class Loss(Settings):
            ...     name: str = "cross_entropy"
            ...     gamma: Annotated[float, UsedWhere({"name": ("focal",)})] = 2.0
            >>> Loss().unused()
            {'gamma': 'name'}
        """
        values, found = dotted(self.model_dump(mode="json")), {}
        for key, conditions in used_where(type(self)).items():
            obstacles = [condition.obstacle(values) for condition in conditions]
            if obstacles and all(obstacles):
                found[key] = str(obstacles[0])
        return found

    def used(self) -> dict[str, Any]:
        """Return the settings that have an effect given the others, as plain values by dotted key.

        They are all but those that `unused` returns.
        """
        unused = self.unused()
        values = dotted(self.model_dump(mode="json"))
        return {key: value for key, value in values.items() if key not in unused}

    def check_used(self, given: Iterable[str], label: Callable[[str], str]) -> None:
        """Refuse settings that were asked for and have no effect.

        Args:
            given: Dotted keys of the settings that someone asked for, rather than defaults.
            label: Turns a dotted key into the place that the message names.

        Raises:
            InputError: Names all of them, each with the setting that leaves it without effect.
        """
        unused, values = self.unused(), dotted(self.model_dump(mode="json"))
        raise_together(
            [
                no_effect(label(key), values[key], unused[key], values[unused[key]])
                for key in given
                if key in unused
            ]
        )


def no_effect(
    place: str, value: object, obstacle: str, obstacle_value: object, remedy: str = ""
) -> InputError:
    """Make the refusal of a setting that would be ignored.

    Args:
        place: Where the setting is, with its key.
        value: Its value; None where the place says it all.
        obstacle: Dotted key of the setting that leaves it without effect.
        obstacle_value: The value of that one.
        remedy: What to do about it, where it is not to leave the setting out.

    Example:
        >>> str(no_effect("--set: lora.rank", 4, "lora.enabled", False, "leave it out"))
        '--set: lora.rank: 4: has no effect with lora.enabled false; leave it out'
    """
    shown = obstacle_value if isinstance(obstacle_value, str) else json.dumps(obstacle_value)
    return InputError(
        place,
        value,
        f"has no effect with {obstacle} {shown}",
        remedy or f"leave it out, or change {obstacle}",
    )


@cache
def used_where(settings: type[BaseModel]) -> Mapping[str, tuple[UsedWhere, ...]]:
    """Return where each setting of a class has an effect, by dotted key.

    Args:
        settings: The class.
    """
    table: dict[str, tuple[UsedWhere, ...]] = {}
    for name, info in settings.model_fields.items():
        section = _section(info.annotation)
        if section is None:
            table[name] = tuple(part for part in info.metadata if isinstance(part, UsedWhere))
        else:
            table |= {f"{name}.{key}": found for key, found in used_where(section).items()}
    return table


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys.

    Args:
        values: Mappings in mappings.
        prefix: Beginning of every key.

    Example:
        >>> dotted({"training": {"epochs": 3}})
        {'training.epochs': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def setting_keys(settings: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all settings of a class.

    Args:
        settings: The class.
        prefix: Beginning of every key.
    """
    for name, info in settings.model_fields.items():
        section = _section(info.annotation)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from setting_keys(section, f"{prefix}{name}.")


def _unknown_setting(place: str, key: str, known: Sequence[str]) -> InputError:
    """Make the refusal of a dotted key, with the keys that are likely meant.

    These are the keys of that name in other sections, else those of the same section.
    """
    section, _, name = key.rpartition(".")
    alike = [other for other in known if other.rpartition(".")[2] == name]
    beside = [other for other in known if other.startswith(f"{section.partition('.')[0]}.")]
    return unknown_key(place, key, alike or beside or known)


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the class of a field that holds settings of its own."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(_section, get_args(annotation))), None)
    return None


def _owner(settings: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the class that holds the settings at a place, through sections and mappings."""
    owner: Any = settings
    for part in place:
        section = _section(owner)
        if section is not None:
            info = section.model_fields.get(str(part))
            owner = info.annotation if info else None
        elif get_origin(owner) is dict:
            owner = get_args(owner)[1]
        else:
            return None
    return _section(owner)


def _findings(error: ValidationError) -> list[ErrorDetails]:
    """List what pydantic found, each wrong element of a list and each wrong number once.

    It counts wrong elements as missing, so that a list would be too short as well, and what is
    neither a float nor an int twice.
    """
    details = error.errors(include_url=False)
    for detail in details:
        if detail["loc"][-1:] in (("float",), ("int",)):
            detail["loc"] = detail["loc"][:-1]
    lists = {detail["loc"][:-1] for detail in details} - {()}
    first = {detail["loc"]: detail for detail in reversed(details)}
    return [
        detail
        for detail in details
        if detail["loc"] not in lists and detail is first[detail["loc"]]
    ]


def _is_about(detail: ErrorDetails, path: tuple[str, ...]) -> bool:
    """Tell whether a finding is about one setting: not about others, nor about several together."""
    place = detail["loc"]
    together = detail["type"] == "value_error" and len(place) < len(path)
    return not together and bool(place) and place[: len(path)] == path[: len(place)]


def _problem(
    settings: type[BaseModel], detail: ErrorDetails, label: Callable[[str], str]
) -> InputError:
    """Turn one finding of pydantic into a line for people."""
    *sections, name = detail["loc"] or ("settings",)
    place = label(".".join(map(str, (*sections, name))))
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, InputError):  # a validator knows more than pydantic does
        return cause
    if detail["type"] == "missing":
        return InputError(place, None, "is required", "give it")
    if detail["type"] == "extra_forbidden":
        owner = _owner(settings, sections)
        if owner is None:
            return InputError(place, None, "unknown key", "see the documentation of the settings")
        return unknown_key(place, str(name), owner.model_fields)
    if detail["type"] == "literal_error":
        # pydantic lists them as 'a', 'b' or 'c'.
        allowed = detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return unknown_name(place, str(_shown(detail["input"])), "choice", allowed)
    problem = detail["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return InputError(place, _shown(detail["input"]), problem, "correct the value")


def _shown(value: Any) -> Any:
    """Return a refused value as it is written in YAML or on the command line."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return None  # the problem is that of several keys together, and names them
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "''"
    return "''" if value == "" else value


class _PlainValues(SafeConstructor):
    """Keep dates as the text that is in the file: no setting is a date."""


_PlainValues.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


MOST_YAML, MOST_PARTS, DEEPEST_YAML = 1 << 16, 5_000, 20
"""Most characters and parts of settings in YAML, and most lists and mappings inside each other.
More takes the reader minutes, and nobody writes it."""


def load_yaml(path: AnyPath) -> dict[str, Any]:
    """Read one YAML 1.2 mapping strictly.

    Duplicate keys, tags, anchors, directives, a second document, and what is far larger or deeper
    than settings are, are refused.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, has a syntax error or any of the above; names the line.
    """
    try:
        with reopenable(path).open("rb") as stream:
            text = stream.read(4 * MOST_YAML + 1).decode()
    except FileNotFoundError:
        raise InputError(path, None, "there is no such file", "give a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, None, f"cannot be read ({error})", "give a YAML file") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, place: str | PurePath) -> dict[str, Any]:
    """Read YAML text as `load_yaml` reads a file.

    Args:
        text: The text.
        place: Where the text comes from, for the message.

    Raises:
        InputError: As `load_yaml`.
    """
    if len(text) > MOST_YAML:
        raise InputError(place, None, f"more than {MOST_YAML:,} characters", "shorten it")
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = False
    yaml.Constructor = _PlainValues
    depth = 0
    try:
        for number, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
            line = f"{place}:{event.start_mark.line + 1}"
            if number > MOST_PARTS:
                raise InputError(line, None, f"more than {MOST_PARTS:,} values", "shorten it")
            depth += isinstance(event, CollectionStartEvent)
            depth -= isinstance(event, CollectionEndEvent)
            if depth > DEEPEST_YAML:
                problem = f"more than {DEEPEST_YAML} lists and mappings inside each other"
                raise InputError(line, None, problem, "write it flat")
            if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
                raise InputError(line, None, "anchors and aliases are not allowed", "write it out")
            if getattr(event, "tag", None):
                raise InputError(line, event.tag, "tags are not allowed", "remove the tag")
            if getattr(event, "version", None) or getattr(event, "tags", None):
                # In YAML 1.1 `no` is false and 010 is 8.
                raise InputError(line, None, "directives are not allowed", "remove the % lines")
        values = yaml.load(text)  # ruamel's safe loader, after tags were refused above
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{place}:{mark.line + 1}" if mark else str(place)
        # What was being read, where that is known, and what was there instead.
        parts = [getattr(error, name, None) for name in ("context", "problem")]
        problem = ", ".join(filter(None, parts)) or "not YAML"
        raise InputError(line, None, problem, "correct the line") from None
    except ValueError as error:  # such as an integer of thousands of digits
        if isinstance(error, InputError):
            raise
        raise InputError(place, None, f"a value cannot be read ({error})", "correct it") from None
    if not isinstance(values, dict):
        raise InputError(place, values, "not a mapping of keys to values", "see search_spaces/")
    try:
        json.dumps(values)  # as which settings are read; its keys are words
    except TypeError:
        raise InputError(place, None, "a key is a list", "write keys as single words") from None
    return values


def parse_assignments(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """Read assignments, whose values are YAML.

    Args:
        pairs: Texts such as `training.epochs=3`.
        option: Option that they were given with, for the message.

    Returns:
        Values by dotted key.

    Raises:
        InputError: A text is no assignment, or its value is not YAML.

    Example:
        >>> parse_assignments(["training.epochs=3"], "--set")
        {'training.epochs': 3}
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise InputError(option, pair, "not KEY=VALUE", "write for example training.epochs=3")
        changes[key] = parse_yaml(f"value: {value}", option)["value"]
    return changes
