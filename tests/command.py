"""How every test runs a command: in this process, and in one of its own where that is the point."""

from __future__ import annotations

import io
import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "jobs"


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


def words(command: str, *more: object) -> list[str]:
    """Split a command line, such as `train --data DIR`, and append arguments as they are."""
    return [*shlex.split(command), *map(str, more)]


def main(command: str, *more: object) -> None:
    """Run a command as a process of its own would, its output and its exit included."""
    name, *arguments = words(command, *more)
    sys.argv = [str(JOBS / f"{name}.py"), *arguments]
    runpy.run_path(sys.argv[0], run_name="__main__")


def run(command: str, *more: object) -> Done:
    """Run a command in this process: starting one takes longer than most tests.

    Args:
        command: Command line without the name of the program, as a shell reads it.
        more: Further arguments, which a shell would have to quote.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = sys.argv
    stdout, stderr = io.StringIO(), io.StringIO()
    code: object = 0
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            main(command, *more)
    except SystemExit as end:
        # sys.exit prints what is no number, and leaves with 1.
        code = end.code
        if isinstance(code, str):
            stderr.write(f"{code}\n")
            code = 1
    finally:
        sys.argv = before
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert code is None or isinstance(code, int)
    return Done(code or 0, stdout.getvalue(), stderr.getvalue())


def succeed(command: str, *more: object) -> dict[str, Any]:
    """Run a command that must succeed, with `--json`; return the object that it prints."""
    done = run(command, *more, "--json")
    assert done.code == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def process(command: str, *more: object) -> list[str]:
    """Words that start a command as a process of its own."""
    name, *arguments = words(command, *more)
    return [sys.executable, str(JOBS / f"{name}.py"), *arguments]


def run_process(
    command: str, *more: object, folder: Path | None = None, **environment: str
) -> Done:
    """Run a command as a process of its own.

    Args:
        command: Command line without the name of the program, as a shell reads it.
        more: Further arguments.
        folder: Where it is run.
        environment: Variables besides those of this process.
    """
    done = subprocess.run(
        process(command, *more),
        cwd=folder,
        env={**environ(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def environ() -> dict[str, str]:
    """Return the environment of a process that finds `tests` and this package."""
    path = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
