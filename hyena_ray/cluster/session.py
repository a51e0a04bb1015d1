"""Keep other users of a machine out of the folder in which Ray keeps the files of a session.

Ray 2.60 gives that folder, and the folder above it, mode 777 whatever the umask is: another user
can replace the unpacked code of a job, which then runs as the owner. A folder of mode 700 above
both closes them.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyena_ray.errors import InputError, JobError

logger = logging.getLogger(__name__)

VARIABLES = ("RAY_TMPDIR", "TMPDIR")
"""What names the folder for temporary files; the first that is set counts, as it does for Ray."""
DEFAULT = "/tmp"  # nosec B108: a folder of a random name is made in it
LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket, which the system limits."""
BELOW = "/ray/session_2026-11-30_12-00-00_000000_{process}/sockets/plasma_store"
"""Longest path that Ray makes a socket at, below the folder of `private_session`."""


@contextmanager
def private_session() -> Iterator[Path]:
    """Let Ray, started in the block, keep its files in a new folder that only this user can enter.

    The folder is removed at the end, unless the block raises a `JobError`, which the logs of Ray's
    processes may explain.

    Yields:
        The folder.

    Raises:
        InputError: There can be no such folder where RAY_TMPDIR or TMPDIR says.
    """
    folder = _private_folder()
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = str(folder)
    try:
        yield folder
    except JobError:
        if any(folder.iterdir()):
            logger.info("Ray's logs are kept in %s/ray/session_latest/logs", folder)
        else:
            folder.rmdir()
        raise
    except BaseException:  # a signal as well
        shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before


def _private_folder() -> Path:
    place = next((name for name in VARIABLES if os.environ.get(name)), "TMPDIR")
    given = os.environ.get(place) or DEFAULT
    base = Path(given).absolute()
    remedy = "set RAY_TMPDIR to a short folder on a disk of this machine, such as /tmp"
    below = BELOW.format(process=os.getpid())
    most = LONGEST_SOCKET - len("/ray-01234567") - len(below)
    length = len(os.fsencode(base))
    if length > most:
        raise InputError(
            place,
            given,
            f"{length} bytes long; Ray makes sockets below it, which leaves {most} for it",
            remedy,
        )
    try:
        return Path(tempfile.mkdtemp(prefix="ray-", dir=base))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            place, given, f"Ray cannot keep its files there ({error.strerror})", remedy
        ) from None


def warn_of_open_session(session: Path) -> None:
    """Warn if others can write into the session folder of a cluster that was joined.

    It is no refusal: whoever runs the job can often not restart the cluster, and in a container
    that holds no other user, as on Kubernetes, Ray's mode 777 harms nobody.

    Args:
        session: Folder of Ray's session on this machine.
    """
    # Where the first process is this user's, and not root's, this is such a container.
    if 0 != os.geteuid() == Path("/proc/1").stat().st_uid:
        return
    if (path := writable_by_others(session)) is not None:
        logger.warning(
            "%s: other users of this machine can write into this folder of Ray's session, and so "
            "have their code run by its owner; restart the cluster with "
            '--temp-dir "$(mktemp --directory)/ray"',
            path,
        )


def writable_by_others(session: Path) -> Path | None:
    """Return a folder on the way to a session, or in it, that other users can reach and write into.

    A group may write, as with the usual umask of 002; a sticky folder such as /tmp only lets others
    add to it.

    Args:
        session: Absolute path of the folder of Ray's session.

    Returns:
        The first such folder, or None.

    Example:
        >>> with tempfile.TemporaryDirectory() as private:
        ...     session = Path(private) / "session"
        ...     session.mkdir()
        ...     session.chmod(0o777)
        ...     writable_by_others(session)  # nobody else reaches it
    """
    with suppress(FileNotFoundError, PermissionError):
        for path in _way_to(session):
            mode = path.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return path
            if not mode & stat.S_IXOTH:
                return None
        for path in session.iterdir():
            if path.is_dir() and path.lstat().st_mode & stat.S_IWOTH:
                return path
    return None


def _way_to(path: Path) -> list[Path]:
    return [*reversed(path.parents), path]
