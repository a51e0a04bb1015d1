"""The log of a job: dated, as loud as it is asked to be, and in a file where one is named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.cli.commands import JOBS
from hyena_ray.cli.log import log_file
from hyena_ray.errors import InputError
from tests.cli.test_commands import COMMANDS
from tests.command_line import Done, environment, run_command

DATED = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
PROGRAM = """\
import logging, sys, warnings
from hyena_ray.cli.commands import command_of, run
from hyena_ray.cli.terminal import run_in_terminal
from hyena_ray.errors import InputError, JobError
from hyena_ray.outcomes import Outcome
from hyena_ray.workflows.workflow import Job, Workflow

def execute(settings):
    log = logging.getLogger("hyena_ray.some")
    log.debug("a detail")
    log.info("a step")
    log.warning("a warning")
    warnings.warn("of a library")
    {fault}

workflow = Workflow(
    name="some", about="Do some work.", settings=lambda task: Job, validate=lambda job: job,
    execute=execute, present=lambda job, result: Outcome("the result"), found="", examples=(),
)
words = sys.argv[1:]
run_in_terminal("some", lambda: run(words, command_of(workflow)), resumable=True)
"""


def some(*words: str, fault: str = "pass", folder: Path | None = None) -> Done:
    """Run a job that logs, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{fault}", fault), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
    )
    return Done(done.returncode, done.stdout, done.stderr)


def messages(log: str) -> list[str]:
    """The lines of a log without their dates, which all but those of a warning's code have."""
    return [re.sub(f"^{DATED}", "", line) for line in log.splitlines() if re.match(DATED, line)]


def test_every_job_has_the_same_options_of_the_log() -> None:
    assert {command.workflow.name for command in COMMANDS} == set(JOBS)
    for command in COMMANDS:
        own = {name for parameter in command.params for name in parameter.opts}
        assert own >= {"--quiet", "-q", "--verbose", "-v", "--log-file"}, command.workflow.name


def test_lines_of_the_log_have_a_date_and_results_have_none() -> None:
    done = some()
    assert (done.code, done.stdout) == (0, "the result\n")
    step, warning, library = messages(done.stderr)
    assert (step, warning) == ("a step", "a warning")
    assert "of a library" in library


def test_a_quiet_job_prints_its_result_and_errors_only(tmp_path: Path) -> None:
    done = some("-q", "--log-file", "log.txt", folder=tmp_path)
    assert done == Done(0, "the result\n", "")
    log = (tmp_path / "log.txt").read_text()
    assert messages(log)[:2] == ["a step", "a warning"]
    failed = some("--quiet", fault="raise InputError('a', None, 'no', 'do')")
    assert failed == Done(2, "", "error: a: no; do\n")


def test_a_verbose_job_names_settings_versions_and_where_an_error_comes_from() -> None:
    done = some("-v", fault="raise InputError('a', None, 'no', 'do')")
    assert done.code == 2
    first, *others = messages(done.stderr)
    assert re.match(r"some: ; hyena-ray \S+ torch \S+ ray \S+, python 3", first)
    assert others[:2] == ["a detail", "a step"]
    assert "in execute\n" in done.stderr
    assert done.stderr.endswith("\nerror: a: no; do\n")


def test_a_log_file_has_errors_and_stops_and_is_appended_to(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    some("--log-file", str(log), fault="raise JobError('no more')")
    stop = "import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    done = some("--log-file", str(log), fault=stop)
    assert done.code == 143
    lines = [line for line in messages(log.read_text()) if "library" not in line]
    assert lines == [
        "a step",
        "a warning",
        "error: no more; what was finished is kept, continue with --resume",
        "a step",
        "a warning",
        "stopped by SIGTERM; what was finished is kept, continue with --resume",
    ]


def test_a_fault_of_the_program_ends_with_its_traceback_and_how_to_continue() -> None:
    done = some(fault="raise ZeroDivisionError('planted')")
    assert done.code == 1
    assert "Traceback" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ZeroDivisionError: planted; this is a fault of hyena-ray")
    assert last.endswith("continue with --resume")


def test_a_log_is_written_neither_over_an_input_nor_where_it_cannot_be(tmp_path: Path) -> None:
    genome = tmp_path / "genome.fa"
    genome.write_text(">chr1\nACGT\n")
    (tmp_path / "log.txt").write_text("2026-12-01 10:00:00 a step\n")
    (tmp_path / "empty.txt").touch()
    for name in ("log.txt", "empty.txt", "new.txt"):
        assert log_file(str(tmp_path / name)) == tmp_path / name
    for bad in (genome, tmp_path, tmp_path / "no" / "log.txt", "s3://bucket/log.txt"):
        with pytest.raises(InputError, match="--log-file: "):
            log_file(str(bad))
    done = run_command(f"simulate zdna --out {tmp_path / 'out'} --log-file {genome} -q -v --sed 1")
    assert (done.code, done.stderr.count("error: ")) == (2, 3)
    assert "something else than a log" in done.stderr
    assert "--quiet: contradicts --verbose" in done.stderr
    assert genome.read_text() == ">chr1\nACGT\n"
    assert not (tmp_path / "out").exists()
