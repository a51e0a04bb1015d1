"""What every job does alike: errors as one line, exit codes, signals."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from hyena_ray.errors import InputError, JobError
from hyena_ray.storage import AnyPath, location


class Outcome(NamedTuple):
    """What a job leaves its user with."""

    text: str
    """For people."""
    found: Mapping[str, Any] = {}
    """For machines: values that JSON has."""
    written: Mapping[str, AnyPath] = {}
    """What was written, to where it lies."""


def place(text: str) -> AnyPath:
    """An argument that is a path or a URI."""
    try:
        return location(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Parser(argparse.ArgumentParser):
    """A command line whose errors are `InputError`s and whose help keeps its line breaks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        raise InputError("command line", None, message, f"see python jobs/{self.prog} --help")

    def add_existing_output(self) -> None:
        """`--resume` and `--overwrite`: what to do with an `--out` that is there."""
        again = self.add_mutually_exclusive_group()
        again.add_argument("--resume", action="store_true", help="go on with what is in --out")
        again.add_argument("--overwrite", action="store_true", help="replace what is in --out")

    def add_resources(self, one: str) -> None:
        """`--cpu` and `--gpu` of one trial or actor, which is called `one` in the help."""
        self.add_argument(
            "--cpu", metavar="X", type=float, default=1.0, help=f"CPUs of {one}; default: 1"
        )
        self.add_argument(
            "--gpu",
            metavar="X",
            type=float,
            default=0.0,
            help=f"GPUs of {one}, or share of one; default: 0",
        )

    def add_address(self) -> None:
        """`--address`: which Ray cluster does the work."""
        self.add_argument(
            "--address",
            metavar="ADDRESS",
            help="Ray cluster to join, such as auto; default: RAY_ADDRESS, else this machine alone",
        )


def run_job(main: Callable[[Sequence[str]], Outcome | None]) -> None:
    """Run `main(sys.argv[1:])` as a job and leave with its exit code.

    What it found goes to stdout, messages go to stderr. Exit 0: everything asked for is complete;
    2: an `InputError`, printed as one line; 1: what else stops a job; 130 and 143: SIGINT and
    SIGTERM, after `finally` blocks have saved.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    terminated = False

    def terminate(signum: int, frame: FrameType | None) -> NoReturn:
        nonlocal terminated
        terminated = True
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    # A shell's background job begins with SIGINT ignored, and would neither stop nor save.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = main(sys.argv[1:])
        if outcome is not None:
            print(outcome.text)
    except InputError as error:
        sys.exit(_refusal(error))
    except JobError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        # A full disk, a broken connection: nothing that the job could mend.
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        sys.exit(f"error: {where}{reason}; what was finished is kept: mend it and run again")
    except SystemExit:
        # Inside a wait of Ray's, the exit comes out with code 1.
        if not terminated:
            raise
        _stopped(signal.SIGTERM)
    except KeyboardInterrupt:
        _stopped(signal.SIGINT)


def _stopped(by: signal.Signals) -> NoReturn:
    """The last line of the log: nothing is being saved any more."""
    print(f"stopped by {by.name}; what was finished is kept", file=sys.stderr)
    sys.exit(128 + by)


def _refusal(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
