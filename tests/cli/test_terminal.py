"""What every job does alike."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hyena_ray.commands import Parser
from hyena_ray.errors import InputError

START = """\
import os, signal, sys, time
from hyena_ray.commands import run_job
from hyena_ray.errors import InputError
"""


def job(main: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `run_job(main)` in a process of its own."""
    program = f"{START}def main(arguments):\n    {main}\nrun_job(main)\n"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
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


@pytest.fixture
def parser() -> Parser:
    parser = Parser(prog="some.py", found="score")
    parser.add_data(required=True)
    parser.add_output("takes what is written")
    parser.add_dry_run()
    parser.add_resources("a trial")
    return parser


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["--data", "x", "--dryrun"], "--dry-run"),
        (["--dta", "x"], "--data"),
        (["--data", "x", "--output=y"], "--out"),
        (["--data", "x", "--cpus", "2"], "--cpu"),
        (["--data", "x", "--zzz"], None),
        (["--data", "x", "--cpu", "many"], None),
    ],
)
def test_a_typo_is_answered_with_the_option_that_is_near(
    parser: Parser, words: list[str], nearest: str | None
) -> None:
    with pytest.raises(InputError) as refusal:
        parser.parse_args(words)
    assert ("did you mean" in str(refusal.value)) == (nearest is not None)
    assert nearest is None or f"did you mean {nearest}?" in str(refusal.value)
    assert str(refusal.value).endswith("see python jobs/some.py --help")


def test_options_stand_in_groups_and_those_of_every_job_last(parser: Parser) -> None:
    lines = parser.format_help().splitlines()
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["what is read:", "what is written:", "where it runs:", "options:"]
    assert "--cpu X CPUs of a trial; default: 1.0" in [" ".join(line.split()) for line in lines]


def test_json_has_the_screen_to_itself_and_stays_silent_where_the_job_fails() -> None:
    found = (
        "print('library'); from hyena_ray.commands import Outcome; return Outcome('t', {'a': 1})"
    )
    done = job(found, "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["found"], done.stderr) == ({"a": 1}, "library\n")
    done = job("print('library'); raise InputError('a', None, 'no', 'do')", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "library\nerror: a: no; do\n"
