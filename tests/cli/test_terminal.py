"""What every job does alike."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib import import_module

import pytest

from hyena_ray.cli.commands import JOBS, RESUMABLE
from hyena_ray.workflows.workflow import Resumable

START = """\
import os, signal, sys, time
from hyena_ray.cli.terminal import run_in_terminal
from hyena_ray.errors import InputError
"""


def job(main: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a job in a process of its own."""
    as_json = "--json" in arguments
    program = f"{START}def main():\n    {main}\nrun_in_terminal('job', main, as_json={as_json})\n"
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


def test_what_a_user_may_not_read_is_named_with_exit_code_2() -> None:
    done = job("raise PermissionError(13, 'Permission denied', 'model/readout.json')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: model/readout.json: permission denied; ")
    assert done.stderr.count("\n") == 1
    assert "kept" not in done.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_leaves_with_its_own_code(name: str, code: int) -> None:
    done = job(f"os.kill(os.getpid(), signal.{name}); time.sleep(30)")
    assert done.returncode == code
    assert done.stderr == f"stopped by {name}; what was finished is kept, run it again\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_not_lost_in_the_callback_of_a_weak_reference(name: str, code: int) -> None:
    done = job(
        "\n    import weakref"
        "\n    class Freed: pass"
        "\n    freed = Freed()"
        f"\n    seen = weakref.ref(freed, lambda _: os.kill(os.getpid(), signal.{name}))"
        "\n    del freed"
        "\n    time.sleep(30)"
    )
    assert done.returncode == code
    assert done.stderr == f"stopped by {name}; what was finished is kept, run it again\n"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_lets_a_stopped_job_save(name: str, code: int) -> None:
    send = f"os.kill(os.getpid(), signal.{name})"
    done = job(
        f"\n    try: {send}; time.sleep(30)\n    finally: {send}; print('saved', file=sys.stderr)"
    )
    assert done.returncode == code
    said, saved, last = done.stderr.splitlines()
    assert "saving" in said
    assert saved == "saved"
    assert last == f"stopped by {name}; what was finished is kept, run it again"


def test_a_third_signal_ends_a_job_whose_saving_hangs_with_the_last_line_all_the_same() -> None:
    send = "os.kill(os.getpid(), signal.SIGINT)"
    done = job(f"\n    try: {send}; time.sleep(30)\n    finally: {send}; {send}; time.sleep(30)")
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("stopped by SIGINT; what was finished is kept")


def test_a_signal_after_the_last_line_changes_neither_code_nor_line() -> None:
    # As while Ray's own exit handlers run.
    done = job(
        "\n    import atexit"
        "\n    atexit.register(os.kill, os.getpid(), signal.SIGINT)"
        "\n    os.kill(os.getpid(), signal.SIGINT); time.sleep(30)"
    )
    assert done.returncode == 130
    assert done.stderr == "stopped by SIGINT; what was finished is kept, run it again\n"


def test_ctrl_c_that_a_library_handles_itself_ends_a_job_in_the_same_way() -> None:
    done = job("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert done.stderr == "stopped by SIGINT; what was finished is kept, run it again\n"


def test_the_last_line_names_resume_for_the_jobs_that_have_it() -> None:
    resumable = {
        name
        for name, module in JOBS.items()
        for workflow in [import_module(module).WORKFLOW]
        if issubclass(workflow.settings((*workflow.tasks, "")[0]), Resumable)
    }
    assert resumable == RESUMABLE
    program = (
        f"{START}def main(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
        "run_in_terminal('job', main, resumable=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == "stopped by SIGTERM; what was finished is kept, continue with --resume\n"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("no more", "no more; what was finished is kept, continue with --resume"),
        ("no more: give --resume", "no more: give --resume"),
    ],
)
def test_an_error_that_stops_such_a_job_names_resume_once(said: str, line: str) -> None:
    program = (
        f"{START}from hyena_ray.errors import JobError\n"
        f"def main(): raise JobError({said!r})\nrun_in_terminal('job', main, resumable=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, f"error: {line}\n")


def test_an_exit_of_a_librarys_own_in_such_a_callback_stops_no_job() -> None:
    done = job(
        "\n    import weakref"
        "\n    class Freed: pass"
        "\n    freed = Freed()"
        "\n    seen = weakref.ref(freed, lambda _: sys.exit(3))"
        "\n    del freed"
        "\n    time.sleep(1)"
    )
    assert done.returncode == 0
    assert "stopped by" not in done.stderr


def test_sigterm_keeps_its_code_where_a_library_exits_with_another() -> None:
    # As a wait inside Ray's compiled code does.
    done = job(
        "\n    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
        "\n    except SystemExit: sys.exit(1)"
    )
    assert done.returncode == 143


def test_json_has_the_screen_to_itself_for_an_error_too() -> None:
    found = (
        "print('library'); from hyena_ray.outcomes import Outcome; return Outcome('t', {'a': 1})"
    )
    done = job(found, "--json")
    assert done.returncode == 0, done.stderr
    assert (json.loads(done.stdout)["found"], done.stderr) == ({"a": 1}, "library\n")
    done = job("print('library'); raise InputError('a', None, 'no', 'do')", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {"job": "job", "errors": ["a: no; do"]}
    assert done.stderr == "library\nerror: a: no; do\n"


def test_every_problem_of_a_command_is_a_line_of_its_own() -> None:
    done = job(
        "from hyena_ray.errors import Problems"
        "\n    with Problems() as problems:"
        "\n        for name in 'ab': problems.collect(refuse, name)"
        "\ndef refuse(name): raise InputError(name, None, 'no', 'do')\nif True:\n    pass"
    )
    assert (done.returncode, done.stderr) == (2, "error: a: no; do\nerror: b: no; do\n")


def test_a_reader_that_has_seen_enough_ends_the_job_without_a_word() -> None:
    program = (
        f"{START}from hyena_ray.outcomes import Outcome\n"
        "run_in_terminal('job', lambda: Outcome('x' * 1_000_000, {}))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 128 + signal.SIGPIPE
