"""How every job meets the terminal: errors as lines, exit codes, signals, text or JSON."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from types import FrameType
from typing import NoReturn

from hyena_ray.errors import InputError, JobError
from hyena_ray.outcomes import Outcome


def run_in_terminal(
    job: str, work: Callable[[], Outcome | None], *, as_json: bool = False
) -> NoReturn:
    """Run a job, print what it found, and leave with its exit code.

    The result goes to stdout, as text with a table of the outputs or as one JSON object; messages
    go to stderr.

    Args:
        job: Name of the job.
        work: The job; None stands for help or versions, which are printed already.
        as_json: Whether one JSON object is printed, for an error too.

    Raises:
        SystemExit: With 0 where everything that was asked for is complete; 2 for an `InputError`, a
            line for each problem; 1 for what else stops a job; 130 and 143 for SIGINT and SIGTERM,
            after `finally` blocks have saved.
    """
    started = time.monotonic()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # It says once to every user that it has made a list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    terminated = False

    def terminate(signum: int, frame: FrameType | None) -> NoReturn:
        nonlocal terminated
        terminated = True
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    # A shell's background job starts with SIGINT ignored, and would neither stop nor save.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # A library that prints would print into the object.
        with redirect_stdout(sys.stderr if as_json else sys.stdout), _no_stop_is_lost():
            outcome = work()
        if outcome is None:
            sys.exit(0)
        seconds = time.monotonic() - started
        print(outcome.as_json(job, seconds) if as_json else outcome.as_text(seconds, sys.stdout))
        sys.exit(0)
    except InputError as error:
        _fail(job, list(error.lines), 2, as_json=as_json)
    except JobError as error:
        _fail(job, [str(error)], 1, as_json=as_json)
    except OSError as error:
        # A full disk, a broken connection: nothing that the job could mend.
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        line = f"{where}{reason}; what was finished is kept; fix it and run again"
        _fail(job, [line], 1, as_json=as_json)
    except SystemExit:
        # Inside a wait of Ray's, the exit comes out with code 1.
        if not terminated:
            raise
        _stopped(signal.SIGTERM)
    except KeyboardInterrupt:
        _stopped(signal.SIGINT)


@contextmanager
def _no_stop_is_lost() -> Iterator[None]:
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
            main = threading.main_thread().ident
            threading.Timer(0.05, signal.pthread_kill, [main, lost]).start()

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = before


def _fail(job: str, lines: list[str], code: int, *, as_json: bool) -> NoReturn:
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    if as_json:
        print(json.dumps({"job": job, "errors": lines}))
    sys.exit(code)


def _stopped(by: signal.Signals) -> NoReturn:
    # The last line of the log: nothing is being saved any more.
    print(f"stopped by {by.name}; what was finished is kept", file=sys.stderr)
    sys.exit(128 + by)
