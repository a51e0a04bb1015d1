"""How tests run a command: in this process, and in one of its own where that is the point."""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from hyena_ray.cli import main, run
from hyena_ray.outcomes import Outcome

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "jobs"


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


def run_job(*words: object) -> Outcome:
    """Run `hyena-ray WORDS`, and return what it found.

    Args:
        words: Words of the command line, after the name of the program.

    Raises:
        InputError: The job refuses its input.
        JobError: The job cannot continue.
    """
    outcome = run([str(word) for word in words])
    assert outcome is not None, "only help or versions were asked for"
    return outcome


def run_command(command: str, *more: object) -> Done:
    """Run `hyena-ray COMMAND` as a terminal sees it, but in this process.

    Args:
        command: Command line without the name of the program, as a shell reads it.
        more: Further words, which a shell would have to quote.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    stdout, stderr = io.StringIO(), io.StringIO()
    try:
        with (
            redirect_stdout(stdout),
            redirect_stderr(stderr),
            pytest.raises(SystemExit) as end,
        ):
            main([*shlex.split(command), *map(str, more)])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    code = end.value.code
    assert isinstance(code, int)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def process_of(*words: object) -> list[str]:
    """Return the command that runs `hyena-ray WORDS` as a process of its own."""
    return [sys.executable, "-m", "hyena_ray", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that finds this package and its tests."""
    path = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


def run_process(*words: object, folder: Path | None = None) -> Done:
    """Run `hyena-ray WORDS` as a process of its own.

    Args:
        words: Words of the command line, after the name of the program.
        folder: Where it is run.
    """
    return run_program(process_of(*words), folder=folder)


def run_program(command: list[str], folder: Path | None = None) -> Done:
    """Run a program that finds this package.

    Args:
        command: Its path and its arguments.
        folder: Where it is run.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)
