"""Only one writer of a folder on S3, which has no locks.

The writer renews an object; one that was not renewed for `SECONDS` belonged to a job that died. No
clock of another machine is read: whoever wants the lease watches whether the object changes.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath, S3Path

logger = logging.getLogger(__name__)

SECONDS = 20.0
"""Without renewal until a lease has run out: as long a resumed job waits for the one that died."""
RENEWALS = 4
"""In that time."""


@contextmanager
def lease(path: S3Path, place: AnyPath) -> Iterator[None]:
    """Hold the lease at `path` inside the block.

    Args:
        path: the object that stands for it.
        place: what is written, for the message.

    Raises:
        InputError: another job holds it.
    """
    mine = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    _wait(path, place)
    path.write_text(f"{mine} 0")
    # Of two that saw none at once, the one that wrote last has it.
    time.sleep(SECONDS / RENEWALS / 4)
    if not _content(path).startswith(mine):
        raise taken(place)
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, mine, done), daemon=True, name="lease")
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()
        path.unlink(missing_ok=True)


def _wait(path: S3Path, place: AnyPath) -> None:
    """Return once nobody holds the lease."""
    first, began = _content(path), time.monotonic()
    while first and time.monotonic() - began < SECONDS:
        time.sleep(SECONDS / RENEWALS / 4)
        if (now := _content(path)) != first:
            if not now:
                return
            raise taken(place)


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


def taken(place: AnyPath) -> InputError:
    """The refusal of a folder that has a writer."""
    return InputError(
        "--out", place, "another job is writing here", "wait for it or give another folder"
    )
