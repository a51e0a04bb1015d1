"""The rooms' order: data flows down the list, Ray stays in the rooms made for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hyena_ray

PACKAGE = Path(hyena_ray.__file__).parent
ROOMS = (
    "runs",
    "genome",
    "dataset",
    "model",
    "training",
    "attribution",
    "prediction",
    "cluster",
    "search",
    "workflows",
    "report",
    "cli",
)
FOUNDATION = (
    *("errors", "files", "settings", "storage", "summaries", "tasks", "outcomes", "progress"),
)
RAY_ROOMS = ("cluster", "search")
ENTRIES = ("__init__.py", "__main__.py")
"""Files of the package itself, which lead into its rooms."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield "." * node.level
            elif node.module == "hyena_ray":
                yield from (f"hyena_ray.{alias.name}" for alias in node.names)
            elif node.module:
                yield node.module


def violations(place: Path, source: str) -> list[str]:
    """Imports of a file at `place` (relative to the package) that the rule forbids."""
    room = place.parts[0] if len(place.parts) > 1 else None
    found = []
    for module in imported_modules(source):
        parts = module.split(".")
        if module.startswith("."):
            found.append("relative import")
        if parts[0] == "ray" and room not in RAY_ROOMS:
            found.append(module)
        if parts[0] != "hyena_ray" or len(parts) < 2 or (place.name in ENTRIES and not room):
            continue
        other = parts[1]
        if other in ROOMS:
            if room is None or ROOMS.index(other) > ROOMS.index(room):
                found.append(module)
        elif other not in FOUNDATION:
            found.append(module)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    assert violations(path.relative_to(PACKAGE), path.read_text()) == []


def test_every_folder_of_the_package_is_a_known_room() -> None:
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)


def test_no_two_files_of_the_package_share_a_name() -> None:
    names = [path.name for path in FILES if path.name not in ("__init__.py", "settings.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("genome/x.py", "from hyena_ray.dataset import tokens"),
        ("training/x.py", "import ray.data"),
        ("errors.py", "import hyena_ray.genome.contigs"),
        ("model/x.py", "from . import heads"),
        ("model/x.py", "def f():\n    from hyena_ray.training import loop"),
    ],
)
def test_the_rule_catches_a_violation(place: str, source: str) -> None:
    assert violations(Path(place), source)
