"""The benchmark prints ours first and everything as a ratio to it."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.command_line import JOBS, Done, run_program
from tests.jobs.bad_inputs import Line, at, check_line

JOB = JOBS / "benchmark.py"


def run(*arguments: str) -> Done:
    return run_program([sys.executable, str(JOB), *arguments])


@pytest.mark.slow
def test_every_line_has_a_rate_and_its_ratio_to_ours() -> None:
    done = run("convolution", "--rounds", "1", "--json")
    assert done.code == 0, done.stderr
    lines = json.loads(done.stdout)["found"]["lines"]
    titles = list(dict.fromkeys(line["title"] for line in lines))
    assert len(titles) > 1
    for title in titles:
        first, *others = (line for line in lines if line["title"] == title)
        assert first["ours_over_it"] == 1
        assert others
        for other in others:
            ratio = first["rate"] / other["rate"]
            assert other["ours_over_it"] == pytest.approx(ratio, rel=1e-6)


def test_every_name_of_the_command_line_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(JOB.parent)
    table = importlib.import_module("benchmarks.table").BENCHMARKS
    assert tuple(table) == get_args(runpy.run_path(str(JOB))["Name"])


@pytest.mark.parametrize(
    ("command", "line"),
    {
        "nothing": at(
            "NAME", "nothing", "prepare, convolution, training, pretraining, attribution"
        ),
        "convolutio": at("NAME", "convolutio", "did you mean convolution?"),
        "": at("NAME", "is required"),
        "convolution --rounds 0": at("--rounds", "0"),
        "convolution --round 1": at("--round", "--rounds", "see jobs/benchmark.py --help"),
    }.items(),
)
def test_what_cannot_be_timed_is_refused(command: str, line: Line, tmp_path: Path) -> None:
    done = run(*command.split())
    check_line(done.stderr, line, tmp_path)
    assert (done.code, done.stdout) == (2, "")


def test_the_help_shows_commands_as_they_are_typed() -> None:
    done = run("--help")
    assert done.code == 0, done.stderr
    assert "Usage: jobs/benchmark.py [OPTIONS] NAME" in done.stdout
    assert "  python jobs/benchmark.py convolution\n" in done.stdout
    assert "hyena-ray benchmark" not in done.stdout
    assert re.search(r"^  NAME +Benchmark to run; required\.$", done.stdout, re.MULTILINE)
