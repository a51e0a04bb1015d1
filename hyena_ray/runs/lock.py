"""Only one writer of a folder: a system lock on a disk, a lease on S3, which has no locks.

The holder of a lease renews an object; one that was not renewed for `SECONDS` belonged to a job
that died. No clock of another machine is read: whoever wants the lease watches whether the object
changes. The object is made only where there is none, and replaced only while it is as it was read
(conditional writes, `If-None-Match` and `If-Match`), so that two jobs never both get it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyena_ray.errors import InputError, JobError
from hyena_ray.files import remove_temporary_files
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
        JobError: Another job has taken a lease that this one could not renew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / LOCK, folder):
        yield


@contextmanager
def only_maker(folder: AnyPath) -> Iterator[None]:
    """Hold a lock in the parent folder while the block creates a folder as a whole.

    Temporary files that killed jobs left in the parent folder are removed. Missing parent folders
    are created, and removed again if they are empty after the block.

    Args:
        folder: Folder to make.

    Raises:
        InputError: Another job holds the lock.
        JobError: Another job has taken a lease that this one could not renew.
    """
    above = folder.parent if folder.parent.parts else folder  # a whole bucket is in nothing
    lock = above / f".{folder.name}{LOCK}"
    new = [parent for parent in lock.parents if isinstance(lock, Path) and not parent.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _held(lock, folder):
            remove_temporary_files(folder)
            try:
                yield
            finally:
                if isinstance(lock, Path):
                    lock.unlink(missing_ok=True)
    finally:
        for parent in new:
            # Refused by the system, as it should be, once the result is in it.
            with suppress(OSError):
                Path(parent).rmdir()


@contextmanager
def _held(lock: AnyPath, folder: AnyPath) -> Iterator[None]:
    with lease(lock, folder) if isinstance(lock, S3Path) else _system_lock(lock, folder):
        yield


@contextmanager
def _system_lock(lock: Path, folder: AnyPath) -> Iterator[None]:
    # The system releases it when the process ends, however it does.
    with open_lock(lock) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _is_taken(folder) from None
        # A file that its holder has removed in between locks nothing any more.
        if not lock.exists() or not os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
            raise _is_taken(folder)
        yield


@contextmanager
def lease(path: S3Path, folder: AnyPath) -> Iterator[None]:
    """Hold a lease inside the block.

    Args:
        path: Object that stands for the lease.
        folder: Folder that is written, for the message.

    Raises:
        InputError: Another job holds the lease, or the storage has no conditional writes.
        JobError: Another job has taken the lease, since this one could not renew it in time.
    """
    mine = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(8)}"
    version = _write(path, mine, 0, _wait(path, folder))
    if version is None:
        raise _is_taken(folder)
    if path.write_version("", None) is not None:
        path.unlink(missing_ok=True)
        raise InputError(
            "--out",
            folder,
            "the storage ignores If-None-Match, so that two jobs could write here at once",
            "use storage with conditional writes, or a folder of a disk",
        )
    holder = _Renewal(path, mine, version)
    holder.start()
    try:
        yield
    except KeyboardInterrupt:
        if holder.lost:
            raise JobError(
                f"{folder}: this job could not renew its lease for {SECONDS:g} s, and another job "
                "writes here now; what was finished is kept"
            ) from None
        raise
    finally:
        holder.end()


class _Renewal(threading.Thread):
    """Renew a lease until the end, and stop the job where another one has taken it.

    Args:
        path: Object that stands for the lease.
        mine: Beginning of its content.
        version: Its version.
    """

    def __init__(self, path: S3Path, mine: str, version: str) -> None:
        super().__init__(daemon=True, name="lease")
        self._path, self._mine, self._version = path, mine, version
        self._number = 0
        self._done = threading.Event()
        self._job = threading.current_thread()
        self.lost = False
        """Whether another job has the lease."""

    def run(self) -> None:
        while not self.lost and not self._done.wait(SECONDS / RENEWALS):
            try:
                self._renew()
            except OSError as error:
                # The next one may succeed; a thread that ended here would give the folder away
                # unheard.
                logger.warning("%s could not be renewed: %s", self._path, error)
        if self.lost and self._job is threading.main_thread() and self._job.ident is not None:
            signal.pthread_kill(self._job.ident, signal.SIGINT)

    def end(self) -> None:
        """Give the lease back, if it is still this job's."""
        self._done.set()
        self.join()
        if not self.lost:
            self._path.remove_version(self._version)

    def _renew(self) -> None:
        self._number += 1
        version = _write(self._path, self._mine, self._number, self._version)
        self.lost = version is None
        self._version = version or self._version


def _write(path: S3Path, mine: str, number: int, version: str | None) -> str | None:
    """Write the lease where it has this version; return the new version, or None if it has not."""
    if (written := path.write_version(f"{mine} {number}", version)) is not None:
        return written
    # A write whose answer was lost on the way was sent twice, and refused the second time.
    found = path.read_version()
    return found.version if found is not None and found.content.startswith(mine) else None


def _wait(path: S3Path, folder: AnyPath) -> str | None:
    """Return once nobody holds the lease: the version of one that has run out, or None."""
    first, started = path.read_version(), time.monotonic()
    while first is not None and time.monotonic() - started < SECONDS:
        time.sleep(SECONDS / RENEWALS / 4)
        if (now := path.read_version()) != first:
            if now is None:
                return None
            raise _is_taken(folder)
    return None if first is None else first.version


def _is_taken(folder: AnyPath) -> InputError:
    return InputError(
        "--out", folder, "another job is writing here", "wait for it or give another folder"
    )
