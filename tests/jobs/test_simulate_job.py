"""jobs/simulate.py: inputs to try the other jobs on, which nothing takes for real ones."""

from __future__ import annotations

import json
import runpy
import shlex
from pathlib import Path

import pytest

from hyena_ray.errors import InputError
from hyena_ray.tasks import TASKS

JOBS = Path(__file__).parents[2] / "jobs"
simulate = runpy.run_path(str(JOBS / "simulate.py"))["main"]
prepare = runpy.run_path(str(JOBS / "prepare.py"))["main"]


@pytest.mark.parametrize("task", TASKS)
def test_the_command_that_it_names_prepares_what_it_wrote(task: str, tmp_path: Path) -> None:
    outcome = simulate([task, "--out", str(tmp_path / "made")])
    assert all(path.is_file() for path in outcome.written.values())
    _, line = outcome.text.split("go on with python ")
    job, *arguments = shlex.split(line.replace("DIR", str(tmp_path / "data")))
    assert job == "jobs/prepare.py"
    prepare(arguments)
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert (manifest["task"], manifest["simulated"]) == (task, True)


def test_the_seed_fixes_every_byte(tmp_path: Path) -> None:
    made = {}
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        simulate(["zdna", "--out", str(tmp_path / name), "--seed", seed])
        made[name] = [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
    assert made["a"] == made["b"] != made["c"]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [("zdnaa --out x", "TASK"), ("zdna --out x --seed -1", "--seed"), ("zdna --out .", "--out")],
)
def test_what_cannot_be_simulated_is_refused_and_nothing_written(
    arguments: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=place):
        simulate(arguments.split())
    assert not list(tmp_path.iterdir())
