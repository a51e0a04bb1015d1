"""MkDocs hook: write the pages of settings, the command line and the reference from the code.

MkDocs calls `on_config` and then `on_files`. No generated page is committed.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hyena_ray.cli.commands import hyena_ray_command
from hyena_ray.settings import UsedWhere

SETTINGS = (
    ("One run", "hyena_ray.training.settings", "RunSettings", "`train`, presets, `--set`"),
    ("Search space", "hyena_ray.search.space", "SearchSpace", "the YAML file of `tune`"),
    (
        "Searched setting",
        "hyena_ray.search.parameter",
        "Parameter",
        "`search` in a search space, under the key of the setting",
    ),
    (
        "Attribution",
        "hyena_ray.attribution.settings",
        "AttributionSettings",
        "`attribute --set`, and `attribution` in a search space",
    ),
    ("Pretraining", "hyena_ray.training.settings", "PretrainSettings", "`pretrain --set`"),
    (
        "Windows of a genome",
        "hyena_ray.dataset.genome_windows",
        "PrepareSettings",
        "`prepare zdna`, `g4`",
    ),
    ("Sequences", "hyena_ray.dataset.sequences", "SequenceSettings", "`prepare promoter`"),
    ("Regions", "hyena_ray.genome.called_regions", "RegionSettings", "`predict`"),
)
"""Title, module, class and users of every table of settings."""

PACKAGE = Path(__file__).parents[1] / "hyena_ray"
ROOMS = (
    *("runs", "genome", "dataset", "model", "training", "attribution", "prediction"),
    *("cluster", "search", "workflows", "report", "cli"),
)
"""Rooms in their order; a room that is missing here comes last."""

PLAIN = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", Any: "any"}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def values(annotation: Any) -> str:
    """Return the values that a type allows, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in PLAIN:
        return PLAIN[annotation]
    if annotation is types.NoneType:
        return "`null`"
    if origin is Annotated:
        limits = [text for part in parts[1:] for text in bounds(getattr(part, "metadata", [part]))]
        return " ".join([values(parts[0]), ", ".join(limits)]).strip()
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(values(part) for part in parts)
    if origin in (tuple, list, frozenset):
        return f"list of: {values(parts[0])}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return "path or URI"
    return "mapping" if is_settings(annotation) else "path or URI"


def bounds(metadata: list[Any]) -> Iterator[str]:
    """Yield the limits of a number, such as "at least 1"."""
    for entry in metadata:
        for name, word in BOUNDS.items():
            limit = getattr(entry, name, None)
            if limit is not None:
                yield f"{word} {limit}"


def effect(metadata: list[Any]) -> str:
    """Return in words where a setting has an effect; empty where it always has one."""
    ways = []
    for condition in metadata:
        if isinstance(condition, UsedWhere):
            parts = [f"{key} is {one_of(found)}" for key, found in code(condition.when)]
            parts += [f"{key} is not {one_of(found)}" for key, found in code(condition.unless)]
            ways.append(" and ".join(parts))
    return f"Has an effect only where {'; or '.join(ways)}." if ways else ""


def code(conditions: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, list[str]]]:
    """Yield keys and their values as Markdown shows YAML."""
    for key, found in conditions.items():
        shown = (one if isinstance(one, str) else json.dumps(one) for one in found)
        yield f"`{key}`", [f"`{one}`" for one in shown]


def one_of(words: list[str]) -> str:
    """Join words, the last one by "or"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def is_settings(annotation: Any) -> bool:
    """Return whether a type is a class of settings, whose fields have rows of their own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def default(field: FieldInfo) -> str:
    """Return the default of a field as YAML would write it."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`", None: "`null`"}[value]
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != {} else "`{}`"


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, values, default and description of every field, with dotted keys."""
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if is_settings(annotation):
            yield from rows(annotation, f"{prefix}{name}.")
            continue
        optional = types.NoneType in get_args(annotation)
        kept = [part for part in get_args(annotation) if part is not types.NoneType]
        kind = " or ".join(map(values, kept)) if optional else values(annotation)
        allowed = " ".join([kind, ", ".join(bounds(field.metadata))]).strip()
        allowed += " or `null`" * optional
        description = " ".join(f"{field.description or ''} {effect(field.metadata)}".split())
        yield f"`{prefix}{name}`", allowed, default(field), description


def table(header: tuple[str, ...], body: Iterator[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *body]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def settings_page() -> str:
    """Return the page that lists every setting."""
    sections = [
        "# Settings",
        "Generated from the code. On a command line, `--set KEY=VALUE` changes a setting, and the "
        "value is read as YAML; search spaces and presets have the same keys. In a "
        "description, None is `null` of YAML.",
    ]
    for title, module, name, users in SETTINGS:
        model: type[BaseModel] = getattr(import_module(module), name)
        sections += [
            f"## {title}",
            f"{(model.__doc__ or '').strip().splitlines()[0]} Used by {users}.",
            table(("key", "values", "default", "meaning"), rows(model)),
        ]
    return "\n\n".join(sections) + "\n"


def walk(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[click.Context, click.Command]]:
    """Yield every command that is no group, with the context that its help needs."""
    context = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            subcommand = command.get_command(context, child)
            if subcommand is not None and not subcommand.hidden:
                yield from walk(subcommand, child, context)
    else:
        yield context, command


def options(context: click.Context, command: click.Command) -> Iterator[tuple[str, str]]:
    """Yield the names and the help of every argument and option of a command."""
    for parameter in command.get_params(context):
        if {"--help", "--version"} & set(parameter.opts):
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            yield f"`{names}`", " ".join(text.split())
        elif isinstance(parameter, click.Argument):
            yield f"`{parameter.make_metavar(context)}`", ""


def command_line_page(program: click.Command) -> str:
    """Return the page that lists every command with its options.

    Args:
        program: The whole command line.
    """
    sections = [
        "# Command line",
        "Generated from the code. `hyena-ray JOB ...`, `python -m hyena_ray JOB ...` and "
        "`python jobs/JOB.py ...` are the same. Every command also has `--help` and `--version`.",
    ]
    for context, command in walk(program, "hyena-ray"):
        usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
        sections += [
            f"## {context.command_path}",
            inspect.cleandoc(command.help or ""),
            f"```\n{usage}\n```",
            table(("option", "meaning"), options(context, command)),
        ]
        if command.epilog:
            examples = inspect.cleandoc(command.epilog.replace("\b", "")).strip()
            sections.append(f"```\n{examples}\n```")
    return "\n\n".join(sections) + "\n"


def rooms() -> list[str]:
    """Return the names of the package's rooms, in the order in which they import each other."""
    names = [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    return sorted(names, key=lambda name: (ROOMS.index(name) if name in ROOMS else 99, name))


def foundation_page() -> str:
    """Return the reference of the modules that belong to no room."""
    modules = [path.stem for path in sorted(PACKAGE.glob("*.py")) if not path.stem.startswith("_")]
    parts = [
        f"## {name}\n\n::: hyena_ray.{name}\n    options: {{heading_level: 3}}" for name in modules
    ]
    return "\n\n".join(["# Foundation", *parts]) + "\n"


def pages() -> dict[str, str]:
    """Return the text of every generated page, by its path in the documentation."""
    reference = {f"api/{room}.md": f"# {room}\n\n::: hyena_ray.{room}\n" for room in rooms()}
    return {
        "settings.md": settings_page(),
        "command_line.md": command_line_page(hyena_ray_command()),
        "api/foundation.md": foundation_page(),
        **reference,
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rooms into the menu, below the public names; MkDocs calls this first."""
    assert config.nav is not None
    (reference,) = [entry["Reference"] for entry in config.nav if "Reference" in entry]
    reference += [{name: f"api/{name}.md"} for name in ("foundation", *rooms())]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in the folder."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
