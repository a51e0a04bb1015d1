"""What every job does alike: errors as one line, exit codes, signals."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

from hyena_ray.errors import InputError


class Parser(argparse.ArgumentParser):
    """A command line whose errors are `InputError`s and whose help keeps its line breaks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        raise InputError("command line", None, message, f"see python jobs/{self.prog} --help")


def run_job(main: Callable[[Sequence[str]], None]) -> None:
    """Run `main(sys.argv[1:])` as a job and leave with its exit code.

    Messages go to stderr. Exit 0: everything asked for is complete; 2: an `InputError`, printed
    as one line; 130 and 143: SIGINT and SIGTERM, after `finally` blocks have saved.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    signal.signal(signal.SIGTERM, _raise_exit)
    # A shell's background job begins with SIGINT ignored, and would neither stop nor save.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(_refusal(error))
    except KeyboardInterrupt:
        print("stopped by SIGINT; what was finished is kept", file=sys.stderr)
        sys.exit(130)


def _raise_exit(signum: int, frame: FrameType | None) -> None:
    print("stopped by SIGTERM; what was finished is kept", file=sys.stderr)
    sys.exit(128 + signum)


def _refusal(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
