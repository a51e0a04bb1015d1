"""Only one writer of a folder: a system lock on a disk, a lease on S3, which has no locks.

The holder of a lease renews an object; one that was not renewed for `SECONDS` belonged to a job
that died. No clock of another machine is read: whoever wants the lease watches whether the object
changes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hyena_ray.errors import InputError
from hyena_ray.runs._ownership import open_lock
from hyena_ray.storage import AnyPath, S3Path

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the lock, in the folder of the run."""
SECONDS = 20.0
"""Seconds without renewal until a lease has run out; a resumed job waits as long for a dead one."""
RENEWALS = 4
"""Renewals in that time."""


@contextmanager
def only_writer(folder: AnyPath) -> Iterator[None]:
    """Make a folder, and hold its lock inside the block.

    Args:
        folder: Folder to write.

    Raises:
        InputError: Another job holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    with lease(lock, folder) if isinstance(lock, S3Path) else _system_lock(lock):
        yield


@contextmanager
def _system_lock(lock: Path) -> Iterator[None]:
    # The system releases it when the process ends, however it does.
    with open_lock(lock) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _is_taken(lock.parent) from None
        yield


@contextmanager
def lease(path: S3Path, folder: AnyPath) -> Iterator[None]:
    """Hold a lease inside the block.

    Args:
        path: Object that stands for the lease.
        folder: Folder that is written, for the message.

    Raises:
        InputError: Another job holds the lease.
    """
    mine = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    _wait(path, folder)
    path.write_text(f"{mine} 0")
    # Of two jobs that saw no lease at once, the one that wrote last has it.
    time.sleep(SECONDS / RENEWALS / 4)
    if not _content(path).startswith(mine):
        raise _is_taken(folder)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, mine, done), daemon=True, name="lease")
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        path.unlink(missing_ok=True)


def _wait(path: S3Path, folder: AnyPath) -> None:
    """Return once nobody holds the lease."""
    first, started = _content(path), time.monotonic()
    while first and time.monotonic() - started < SECONDS:
        time.sleep(SECONDS / RENEWALS / 4)
        if (now := _content(path)) != first:
            if not now:
                return
            raise _is_taken(folder)


def _renew(path: S3Path, mine: str, done: threading.Event) -> None:
    number = 0
    while not done.wait(SECONDS / RENEWALS):
        number += 1
        try:
            path.write_text(f"{mine} {number}")
        except OSError as error:
            # The next one may succeed; a thread that ended here would give the folder away unheard.
            logger.warning("%s could not be renewed: %s", path, error)


def _content(path: S3Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _is_taken(folder: AnyPath) -> InputError:
    return InputError(
        "--out", folder, "another job is writing here", "wait for it or give another folder"
    )
