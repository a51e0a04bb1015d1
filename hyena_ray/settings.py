"""Settings: strict YAML in, validated frozen objects out, errors that name the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath, location


def _location(value: object) -> AnyPath:
    if isinstance(value, AnyPath):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("give a path or a URI")
    return location(value)


Location = Annotated[AnyPath, PlainValidator(_location), PlainSerializer(str)]
"""A field that takes what `hyena_ray.storage.location` reads."""


class Settings(BaseModel):
    """Base of every configuration: frozen, no unknown key, no silent conversion.

    The string under a field is its description and the help that users read.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any], place: str | PurePath) -> Self:
        """Validate plain values, as YAML or a command line give them.

        Raises:
            InputError: unknown key, wrong type or value out of range; names place and key.
        """
        try:
            # JSON mode: lists become tuples and 1 a float, but neither "1" nor True a number.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "settings"
            if first["type"] == "extra_forbidden":
                allowed = _keys_beside(cls, first["loc"])
                raise InputError(
                    f"{place}: {key}", None, "unknown key", f"allowed are {allowed}"
                ) from None
            found = "null" if first["input"] is None else first["input"]
            raise InputError(f"{place}: {key}", found, first["msg"], "correct the value") from None

    def updated(self, changes: Mapping[str, Any], place: str | PurePath) -> Self:
        """A copy with dotted keys changed, such as `{"training.epochs": 3}`."""
        values = self.model_dump(mode="json")
        for key, value in changes.items():
            *folders, name = key.split(".")
            section: Any = values
            for folder in folders:
                section = section.get(folder) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise InputError(f"{place}: {key}", None, "unknown key", "check its spelling")
            section[name] = value
        return self.parse(values, place)


def dotted(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"training.epochs": 3}` of `{"training": {"epochs": 3}}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _keys_beside(cls: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location[:-1]:
        field = cls.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            return "those in the documentation"
        cls = field.annotation
    return ", ".join(sorted(cls.model_fields))


class _PlainValues(SafeConstructor):
    """Dates stay text, as they stand in the file: no setting is one."""


_PlainValues.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def load_yaml(path: AnyPath) -> dict[str, Any]:
    """Read one YAML 1.2 mapping strictly: no duplicate keys, tags, anchors, directives or second
    document.

    Raises:
        InputError: missing file, syntax error or anything of the above, with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, None, f"cannot be read ({error})", "give a YAML file") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, place: str | PurePath) -> dict[str, Any]:
    """As `load_yaml`, for text."""
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = False
    yaml.Constructor = _PlainValues
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            line = f"{place}:{event.start_mark.line + 1}"
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
        # What was being read, where that is known, and what stood there instead.
        parts = [getattr(error, name, None) for name in ("context", "problem")]
        problem = ", ".join(filter(None, parts)) or "not YAML"
        raise InputError(line, None, problem, "correct the line") from None
    if not isinstance(values, dict):
        raise InputError(place, values, "not a mapping of keys to values", "see search_spaces/")
    try:
        json.dumps(values)  # as which settings are read; its keys are words
    except TypeError:
        raise InputError(place, None, "a key is a list", "write keys as single words") from None
    return values


def parse_assignments(pairs: list[str], option: str) -> dict[str, Any]:
    """Turn `["training.epochs=3"]` into `{"training.epochs": 3}`; values are read as YAML."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise InputError(option, pair, "not KEY=VALUE", "write for example training.epochs=3")
        changes[key] = parse_yaml(f"value: {value}", option)["value"]
    return changes
