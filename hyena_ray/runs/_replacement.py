"""A run that replaces another one: the old one is moved aside until the new one is complete."""

from __future__ import annotations

import logging
import re

from hyena_ray.errors import InputError
from hyena_ray.files import is_unused, name_aside, read_json, write_json
from hyena_ray.runs.lock import LOCK, only_writer
from hyena_ray.storage import AnyPath, move_folder, remove_folder

logger = logging.getLogger(__name__)

REPLACED = ".replaced"
"""Name of the file, in the folder of a run, that lists the folders which the run replaces."""


def move_aside(folder: AnyPath) -> tuple[str, ...]:
    """Rename the folder of a run that will be replaced, if there is one.

    Args:
        folder: Folder of the run, which was checked to be one that may be replaced.

    Returns:
        Names of the folders that the next run in this place replaces.

    Raises:
        InputError: Another job writes the folder.
    """
    if is_unused(folder, besides=LOCK):
        return ()
    aside = name_aside(folder)
    with only_writer(folder):
        earlier = _listed(folder)
        move_folder(folder, aside, besides=LOCK)
    logger.info("%s is kept as %s until the new run is complete", folder, aside.name)
    return (*earlier, aside.name)


def remember_replaced(folder: AnyPath, names: tuple[str, ...]) -> None:
    """Note which folders a run replaces, so that a resumed run removes them too.

    Args:
        folder: Folder of the new run.
        names: Names of the folders that it replaces, in the same parent folder.
    """
    if names:
        write_json(folder / REPLACED, list(names))


def remove_replaced(folder: AnyPath) -> None:
    """Remove the folders that a run has replaced, now that it is complete.

    Args:
        folder: Folder of the new run.
    """
    for name in _listed(folder):
        remove_folder(folder.with_name(name))
    (folder / REPLACED).unlink(missing_ok=True)


def _listed(folder: AnyPath) -> tuple[str, ...]:
    """Return the folders that a run is to replace; none but those that were named here."""
    path = folder / REPLACED
    if not path.is_file():
        return ()
    names = read_json(path)
    pattern = re.compile(r"[^/]+\.replaced-[0-9a-f]{8}")
    if not isinstance(names, list) or not all(
        isinstance(name, str) and pattern.fullmatch(name) for name in names
    ):
        raise InputError(path, None, "lists no folders that a run replaced", "remove the file")
    return tuple(names)
