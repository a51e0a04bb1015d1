"""What every job does alike: errors as one line, exit codes, signals."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from hyena_ray.errors import InputError


def run_job(main: Callable[[Sequence[str]], None]) -> None:
    """Run `main(sys.argv[1:])` as a job and leave with its exit code.

    Messages go to stderr. Exit 0: everything asked for is complete; 2: an `InputError`, printed
    as one line; 130 and 143: SIGINT and SIGTERM, after `finally` blocks have saved.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    signal.signal(signal.SIGTERM, _raise_exit)
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
