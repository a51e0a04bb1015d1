"""The benchmark prints ours first and everything as a ratio to it."""

from __future__ import annotations

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

JOB = Path(__file__).parents[2] / "jobs" / "benchmark.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *arguments], check=False, capture_output=True, text=True
    )


@pytest.mark.slow
def test_every_line_has_a_rate_and_its_ratio_to_ours() -> None:
    done = run("convolution", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
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
    assert tuple(table) == runpy.run_path(str(JOB))["NAMES"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    done = run("nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'prepare', 'convolution', 'training', 'pretraining', 'attribution'," in done.stderr
