"""What every job does alike: its options, errors as one line, exit codes, signals."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import logging
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hyena_ray.errors import InputError, JobError
from hyena_ray.outcomes import Outcome
from hyena_ray.storage import AnyPath, location

__all__ = ["Outcome", "Parser", "place", "run_job"]

READ, DONE, WRITTEN, WHERE = "what is read", "what is done", "what is written", "where it runs"
"""Groups of options, in this order."""


def place(text: str) -> AnyPath:
    """An argument that is a path or a URI."""
    try:
        return location(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _Help(argparse.RawDescriptionHelpFormatter):
    """Says of every option whether it is required, or else its default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if text is None or text == argparse.SUPPRESS or not action.option_strings:
            return text
        if action.required:
            return f"{text.rstrip('.')}; required"
        told = "default" in text.lower()
        if action.nargs == 0 or told or action.default in (None, [], argparse.SUPPRESS):
            return text
        return f"{text.rstrip('.')}; default: %(default)s"


class _Version(argparse.Action):
    """Reads what is installed, and imports none of it: that takes seconds."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        print(f"hyena-ray {importlib.metadata.version('hyena-ray')}")
        print(f"python {platform.python_version()}")
        for name in ("torch", "ray"):
            print(f"{name} {importlib.metadata.version(name)}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A command line whose errors are `InputError`s and whose help keeps its line breaks.

    Args:
        found: what `found` of the object that --json prints holds, for the help.
        options: those of argparse. The examples of `epilog` are read by a test.
    """

    def __init__(self, *, found: str = "", **options: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **options)
        self._titled: dict[str, argparse._ArgumentGroup] = {}
        self._given: list[str] = []
        self.add_argument(
            "--version",
            action=_Version,
            nargs=0,
            default=argparse.SUPPRESS,
            help="print the versions of hyena-ray, Python, torch and Ray",
        )
        holds = f" ({found})" if found else ""
        self.add_argument(
            "--json",
            action="store_true",
            help="print one JSON object, and nothing else, to stdout: job, found"
            f"{holds}, written (what, to its path), simulated (null where no data is read), "
            "seconds",
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        remedy = f"see python jobs/{self.prog} --help"
        meant = self._meant()
        if meant:
            # What is missing may be what was mistyped.
            remedy = f"did you mean {meant}? Else {remedy}"
        raise InputError("command line", None, message, remedy)

    def _meant(self) -> str | None:
        """The option nearest to the first that there is not."""
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in self._given:
            name = word.partition("=")[0]
            if name.startswith("--") and name not in known and len(name) > 2:
                return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), None)
        return None

    def format_help(self) -> str:
        last = (self._titled.get(WRITTEN), self._titled.get(WHERE), self._optionals)
        self._action_groups.sort(key=lambda group: last.index(group) if group in last else -1)
        return super().format_help()

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The group of options of this title."""
        if title not in self._titled:
            self._titled[title] = self.add_argument_group(title)
        return self._titled[title]

    def add_data(self, text: str = "folder that prepare.py wrote", **options: Any) -> None:
        """`--data`: prepared windows."""
        self.group(READ).add_argument("--data", metavar="DIR", type=place, help=text, **options)

    def add_model(self, text: str = "model/ of a run") -> None:
        """`--model`: a trained one."""
        self.group(READ).add_argument(
            "--model", metavar="DIR", type=place, required=True, help=text
        )

    def add_genome(self) -> None:
        """`--genome`: whole, as prepare.py takes it."""
        self.group(READ).add_argument(
            "--genome",
            metavar="FILE|NAME",
            type=place,
            required=True,
            help="FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly, such as hg38, that "
            "is downloaded once, by a dry run too",
        )

    def add_split(self) -> None:
        """`--on`: which windows are looked at."""
        self.group(READ).add_argument("--on", metavar="SPLIT", default="test", help="its windows")

    def add_settings(self, text: str) -> None:
        """`--set`: any setting, as often as there are some."""
        self.group(DONE).add_argument(
            "--set", metavar="KEY=VALUE", action="append", default=[], help=text
        )

    def add_output(self, text: str, **options: Any) -> None:
        """`--out`: the folder that takes what the job writes."""
        self.group(WRITTEN).add_argument("--out", metavar="DIR", type=place, help=text, **options)

    def add_existing_output(self, *, resume: bool = True) -> None:
        """`--resume` and `--overwrite`: what to do with an `--out` that is there."""
        again = self.group(WRITTEN).add_mutually_exclusive_group()
        if resume:
            again.add_argument("--resume", action="store_true", help="go on with what is in --out")
        again.add_argument("--overwrite", action="store_true", help="replace what is in --out")

    def add_dry_run(self) -> None:
        """`--dry-run`: see `hyena_ray.dry_run`."""
        self.group(WRITTEN).add_argument(
            "--dry-run",
            action="store_true",
            help="check all inputs, print the plan with an estimate of its time, write nothing",
        )

    def add_resources(self, one: str) -> None:
        """`--cpu` and `--gpu` of one trial or actor, which is called `one` in the help."""
        group = self.group(WHERE)
        group.add_argument("--cpu", metavar="X", type=float, default=1.0, help=f"CPUs of {one}")
        group.add_argument(
            "--gpu", metavar="X", type=float, default=0.0, help=f"GPUs of {one}, or share of one"
        )

    def add_address(self) -> None:
        """`--address`: which Ray cluster does the work."""
        self.group(WHERE).add_argument(
            "--address",
            metavar="ADDRESS",
            help="Ray cluster to join, such as auto; default: RAY_ADDRESS, else this machine alone",
        )


def run_job(main: Callable[[Sequence[str]], Outcome | None]) -> None:
    """Run `main(sys.argv[1:])` as a job and leave with its exit code.

    What it found goes to stdout, as text and a table of what was written or, with --json, as one
    object; messages go to stderr. Exit 0: everything asked for is complete; 2: an `InputError`,
    printed as one line; 1: what else stops a job; 130 and 143: SIGINT and SIGTERM, after `finally`
    blocks have saved.
    """
    began = time.monotonic()
    as_json = "--json" in sys.argv[1:]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    # It tells every user once that it has made a list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    terminated = False

    def terminate(signum: int, frame: FrameType | None) -> NoReturn:
        nonlocal terminated
        terminated = True
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    # A shell's background job begins with SIGINT ignored, and would neither stop nor save.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # A library that prints would print into the object.
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            outcome = main(sys.argv[1:])
        if outcome is not None:
            seconds = time.monotonic() - began
            if as_json:
                print(outcome.as_json(Path(sys.argv[0]).stem, seconds))
            else:
                print(outcome.as_text(seconds, sys.stdout))
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
