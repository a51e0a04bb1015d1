"""The log of a job: dated lines on stderr and, where it is asked for, in a file."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

from hyena_ray.errors import InputError
from hyena_ray.progress import is_on_stderr
from hyena_ray.storage import location

OPTION = "--log-file"
_FORMAT = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S")
_DATED = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


class _LogFile(logging.FileHandler):
    """The file of a job's log, to which a resumed job appends."""


def start_log() -> None:
    """Send the log of this process to stderr, with warnings of libraries."""
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(_FORMAT)
    logging.basicConfig(level=logging.INFO, handlers=[console])
    logging.captureWarnings(True)
    # Of a line that cannot be written, as on a full disk, no traceback is either.
    logging.raiseExceptions = False
    # It says once to every user that it has made a list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)


def adjust_log(*, quiet: bool = False, verbose: bool = False, file: Path | None = None) -> None:
    """Choose how much of the log is shown, and where else it is written.

    Args:
        quiet: Whether stderr has errors alone. A log file has every line all the same.
        verbose: Whether the log has the details that help to find a fault.
        file: File to which the log is appended, until the process or another job ends; see
            `log_file`.

    Raises:
        InputError: The file cannot be opened.
    """
    root = logging.getLogger()
    logging.getLogger("hyena_ray").setLevel(logging.DEBUG if verbose else logging.NOTSET)
    for handler in root.handlers[:]:
        if is_on_stderr(handler):
            handler.setLevel(logging.ERROR if quiet else logging.NOTSET)
        if isinstance(handler, _LogFile):
            root.removeHandler(handler)
            handler.close()
    if file is not None:
        try:
            opened = _LogFile(file, encoding="utf-8")
        except OSError as error:
            raise _unusable(file, error) from None
        opened.setFormatter(_FORMAT)
        root.addHandler(opened)


def log_file(text: str) -> Path:
    """Read the path of a log file. Writes nothing.

    Args:
        text: The path as it was given.

    Returns:
        The path of a file on this machine that is new, empty or such a log.

    Raises:
        InputError: It is no such path, or holds something else than a log.
    """
    path = location(text)
    if not isinstance(path, Path):
        raise InputError(OPTION, text, "not on a disk of this machine", "give a path of one")
    if path.is_dir():
        raise InputError(OPTION, path, "is a folder, not a file", f"give {path / 'log.txt'}")
    if not path.parent.is_dir():
        remedy = "make it, or give another file"
        raise InputError(OPTION, path, f"there is no folder {path.parent}", remedy)
    try:
        if path.is_file():
            with path.open("rb") as stream:
                first = stream.readline(80)
            if first and not _DATED.match(first):
                problem = "holds something else than a log, and the log would be appended to it"
                raise InputError(OPTION, path, problem, "give a new file")
    except OSError as error:
        raise _unusable(path, error) from None
    return path


def _unusable(path: Path, error: OSError) -> InputError:
    reason = (error.strerror or str(error)).lower()
    return InputError(OPTION, path, f"cannot be used: {reason}", "give another file")
