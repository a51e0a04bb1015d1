"""`hyena-ray simulate`: inputs to try the other jobs on, which nothing takes for real ones."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.tasks import TASKS
from tests.command_line import run_job


@pytest.mark.parametrize("task", TASKS)
def test_the_command_that_it_names_prepares_what_it_wrote(task: str, tmp_path: Path) -> None:
    outcome = run_job("simulate", task, "--out", tmp_path / "made")
    assert all(path.is_file() for path in outcome.written.values())
    _, line = outcome.text.split("continue with ")
    program, *words = shlex.split(line.replace("DIR", str(tmp_path / "data")))
    assert program == "hyena-ray"
    run_job(*words)
    manifest = PreparedData.open(tmp_path / "data").manifest
    assert (manifest.task, manifest.simulated) == (task, True)


def test_the_seed_fixes_every_byte(tmp_path: Path) -> None:
    made = {}
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        run_job("simulate", "zdna", "--out", tmp_path / name, "--seed", seed)
        files = sorted((tmp_path / name).iterdir())
        made[name] = {path.name: path.read_bytes() for path in files if path.suffix != ".json"}
    assert made["a"] == made["b"] != made["c"]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [("zdnaa --out x", "zdna"), ("zdna --out x --seed -1", "--seed"), ("zdna --out .", "--out")],
)
def test_what_cannot_be_simulated_is_refused_and_nothing_written(
    arguments: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=place):
        run_job("simulate", *arguments.split())
    assert not list(tmp_path.iterdir())
