"""What every job does alike."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """\
import os, signal, sys, time
from hyena_ray.commands import run_job
from hyena_ray.errors import InputError
"""


def job(main: str) -> subprocess.CompletedProcess[str]:
    """Run `run_job(main)` in a process of its own."""
    program = f"{START}def main(arguments):\n    {main}\nrun_job(main)\n"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def test_what_a_user_got_wrong_is_one_line_and_exit_code_2() -> None:
    done = job("raise InputError('a.bed:3', 'x', 'not a number', 'write one')")
    assert (done.returncode, done.stderr) == (2, "error: a.bed:3: x: not a number; write one\n")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_leaves_with_its_own_code(name: str, code: int) -> None:
    done = job(f"os.kill(os.getpid(), signal.{name}); time.sleep(30)")
    assert done.returncode == code
    assert done.stderr == f"stopped by {name}; what was finished is kept\n"


def test_sigterm_keeps_its_code_where_a_library_exits_with_another() -> None:
    # As a wait inside Ray's compiled code does.
    done = job(
        "\n    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
        "\n    except SystemExit: sys.exit(1)"
    )
    assert done.returncode == 143
