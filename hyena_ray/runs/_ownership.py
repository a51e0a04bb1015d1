"""Refuse to continue a run that holds a link, somebody else's file, or one that all may write."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from hyena_ray.errors import InputError


def check_ownership(folder: Path) -> None:
    """Refuse to continue a run that somebody else has made or could have changed.

    A resumed job takes what is in the folder for its own work and writes over it, so everything in
    it must be a plain file or folder of this user that not all may write. A group may write: with
    the usual umask of 002 it can write into whatever a user makes.

    Args:
        folder: Folder of the run; nothing is checked where there is none.

    Raises:
        InputError: Names the first file or folder that is otherwise.
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
    """Yield the folder and everything in it; links are not followed."""
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
    """Open a file to lock. It is made where there is none, and keeps its content.

    Args:
        path: File of the lock.

    Raises:
        InputError: The file is a link.
    """
    try:
        # Path.open follows a link, and would make or empty a file anywhere.
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644), "w")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(path, None, "is a link, and may lead anywhere", "remove it") from None
