"""How every job meets the terminal: errors as lines, exit codes, signals, text or JSON."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import NoReturn

from hyena_ray.cli.log import start_log
from hyena_ray.errors import InputError, JobError
from hyena_ray.outcomes import Outcome
from hyena_ray.progress import log_in_files

logger = logging.getLogger(__name__)


class _Stop:
    """What SIGINT and SIGTERM do: the first one stops the job, which then saves undisturbed.

    Args:
        remedy: What a user does after a stop, for the last line.
    """

    def __init__(self, remedy: str) -> None:
        self.by: signal.Signals | None = None
        """The signal that stopped the job."""
        self._remedy = remedy
        self._repeated = self._said = False

    def install(self) -> None:
        """Handle both signals in this process."""
        # A shell's background job starts with SIGINT ignored, and would neither stop nor save.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._arrived)

    def repeat(self, lost: signal.Signals) -> None:
        """Send a signal again whose exception nobody has seen.

        Args:
            lost: The signal.
        """
        self.by = None
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, lost)

    def say(self) -> None:
        """Print the last line of the log, once nothing is being saved any more."""
        if self.by is not None and not self._said:
            self._said = True
            _say(f"stopped by {self.by.name}; what was finished is kept, {self._remedy}")

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.by is None:
            self.by = signal.Signals(number)
            if self.by == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + number)
        if self._repeated or self._said:
            # Files appear whole or not at all, so that nothing is damaged. What would still run
            # may wait for another process for ever.
            self.say()
            os._exit(128 + self.by)
        self._repeated = True
        sys.stderr.write("saving what was finished; once more ends the job at once\n")


def run_in_terminal(
    job: str,
    work: Callable[[], Outcome | None],
    *,
    as_json: bool = False,
    resumable: bool = False,
) -> NoReturn:
    """Run a job, print what it found, and leave with its exit code.

    The result goes to stdout, as text with a table of the outputs or as one JSON object; messages
    go to stderr. A first SIGINT or SIGTERM stops the job. While it saves, a second one says so, and
    a third ends it at once.

    Args:
        job: Name of the job.
        work: The job; None stands for help or versions, which are printed already.
        as_json: Whether one JSON object is printed, for an error too.
        resumable: Whether the job has --resume, which the last line of a stopped one names.

    Raises:
        SystemExit: With 0 where everything that was asked for is complete; 2 for an `InputError`, a
            line for each problem, and for what this user may not read; 1 for what else stops a job,
            with a traceback where it is a fault of the program; 130 and 143 for SIGINT and SIGTERM,
            after `finally` blocks have saved.
    """
    started = time.monotonic()
    start_log()
    remedy = "continue with --resume" if resumable else "run it again"
    stop = _Stop(remedy)
    stop.install()
    try:
        # A library that prints would print into the object.
        with redirect_stdout(sys.stderr if as_json else sys.stdout), _no_stop_is_lost(stop):
            outcome = work()
        if outcome is None:
            sys.exit(0)
        seconds = time.monotonic() - started
        _print(outcome.as_json(job, seconds) if as_json else outcome.as_text(seconds, sys.stdout))
        sys.exit(0)
    except InputError as error:
        _fail(job, list(error.lines), 2, as_json=as_json)
    except JobError as error:
        line = str(error)
        if resumable and "--resume" not in line:
            line += f"; what was finished is kept, {remedy}"
        _fail(job, [line], 1, as_json=as_json)
    except PermissionError as error:
        # Of an input, since the output was tried before.
        where = f"{error.filename}: " if error.filename else ""
        line = f"{where}permission denied; ask its owner for the right, or give another path"
        _fail(job, [line], 2, as_json=as_json)
    except OSError as error:
        # A full disk, a broken connection: nothing that the job could mend.
        where = f"{error.filename}: " if error.filename else ""
        reason = " ".join((error.strerror or str(error)).split())
        line = f"{where}{reason}; what was finished is kept; fix it and {remedy}"
        _fail(job, [line], 1, as_json=as_json)
    except (SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):  # from a library that handles the signal itself
            stop.by = stop.by or signal.SIGINT
        if stop.by is None:
            raise
        stop.say()
        # Inside a wait of Ray's, the exit comes out with code 1.
        sys.exit(128 + stop.by)
    except Exception as error:
        # A fault of the program, whose traceback its authors need.
        traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        line = f"{what}; this is a fault of hyena-ray, please report it with the lines above"
        _fail(job, [f"{line}; what was finished is kept, {remedy}"], 1, as_json=as_json)


def _say(line: str) -> None:
    """Write a line without a date to stderr, and with one to the log file."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    log_in_files(line)


def _print(text: str) -> None:
    """Print a result; where its reader has seen enough, as `head` has, leave as a shell's tools do.

    Raises:
        SystemExit: Nobody reads any more.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would fail once more when it closes what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


@contextmanager
def _no_stop_is_lost(stop: _Stop) -> Iterator[None]:
    """Repeat a signal whose exception was raised where Python only prints exceptions.

    A signal that arrives while a weak reference's callback or a finalizer runs raises there, and
    the job would go on.
    """
    before = sys.unraisablehook

    def repeat(unraisable: sys.UnraisableHookArgs) -> None:
        error, lost = unraisable.exc_value, None
        if isinstance(error, KeyboardInterrupt):
            lost = signal.SIGINT
        elif isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
            lost = signal.SIGTERM
        if lost is None:
            before(unraisable)
        else:
            # Later, and so outside the callback; to the main thread, whose waits it ends.
            threading.Timer(0.05, stop.repeat, [lost]).start()

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = before


def _fail(job: str, lines: list[str], code: int, *, as_json: bool) -> NoReturn:
    logger.debug("where the error comes from", exc_info=True)
    for line in lines:
        _say(f"error: {line}")
    if as_json:
        print(json.dumps({"job": job, "errors": lines}))
    sys.exit(code)
