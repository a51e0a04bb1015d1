"""What a job takes for its own work: no link, nobody else's file, no path that leads elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hyena_ray.errors import InputError


def check_state(folder: Path) -> None:
    """Refuse to go on from a run that somebody else has made or could have changed.

    What is found there counts as this user's own work and is written over, so everything in it must
    be a plain file or folder of this user that not all may write. A group may: with the usual
    umask of 002 it can write into whatever a user makes.

    Args:
        folder: of the run; nothing is checked where there is none.

    Raises:
        InputError: names the first file or folder that is otherwise.
    """
    for path, found in _entries(folder):
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "neither file nor folder"
            raise InputError(path, None, f"is {kind}, and may lead anywhere", "remove it")
        if found.st_uid != os.geteuid():
            raise InputError(
                path,
                f"user {found.st_uid}",
                f"belongs to another user than this one ({os.geteuid()})",
                "resume as that user, or give a new folder",
            )
        if found.st_mode & stat.S_IWOTH:
            raise InputError(
                path,
                f"mode {stat.S_IMODE(found.st_mode):o}",
                "writable by all, so that anyone may have changed it",
                f"if you trust it: chmod -R o-w {folder}",
            )


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The folder and everything in it; links are not followed."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            found = path.lstat()
            yield path, found
            if stat.S_ISDIR(found.st_mode):
                waiting += path.iterdir()
        except FileNotFoundError:  # a job is still writing there: its lock is asked for later
            continue


def open_lock(path: Path) -> TextIO:
    """Open a file to lock, made where there is none; what is in it stays.

    Raises:
        InputError: it is a link.
    """
    try:
        # Path.open follows a link, and would make or empty a file anywhere.
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644), "w")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(path, None, "is a link, and may lead anywhere", "remove it") from None
