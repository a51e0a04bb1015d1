"""Run a job as far as its first work, and say when it got where.

    python first_work.py MODULE:FUNCTION JOB ARGUMENT...

FUNCTION begins the work; in its place the times are printed, as JSON, and the job ends.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from hyena_ray.cli import main as run_command_line

marks: dict[str, float] = {}
"""Of this machine's monotonic clock, which its processes share; `ray_s` is a duration."""


def timed(init: Callable[..., object], *given: Any, **named: Any) -> object:
    """In the place of `ray.init`."""
    begun = time.monotonic()
    found = init(*given, **named)
    marks["ray_s"] = time.monotonic() - begun
    return found


def stop(module: str, *given: Any, **named: Any) -> NoReturn:
    """In the place of the function that works, which is of this module."""
    marks["work"] = time.monotonic()
    if "ray_s" in marks:
        ray: Any = sys.modules["ray"]
        # A worker that can do the work has imported its module.
        ray.get(ray.remote(num_cpus=1)(load).remote(module))
        marks["worker"] = time.monotonic()
    print(json.dumps(marks))
    sys.exit(0)


def load(module: str) -> None:
    """In a worker of Ray."""
    importlib.import_module(module)


def main() -> None:
    place, *words = sys.argv[1:]
    module, function = place.split(":")
    # Before the job imports it.
    setattr(importlib.import_module(module), function, functools.partial(stop, module))
    if module.startswith("hyena_ray.cluster"):
        ray: Any = importlib.import_module("ray")
        ray.init = functools.partial(timed, ray.init)
    run_command_line(words)


if __name__ == "__main__":
    main()
