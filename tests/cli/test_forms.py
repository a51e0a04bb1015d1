"""`hyena-ray JOB`, `python -m hyena_ray JOB` and `python jobs/JOB.py` are the same."""

from __future__ import annotations

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from hyena_ray.cli.commands import JOBS as COMMANDS
from tests.command_line import JOBS, Done, run_command, run_process, run_program

SCRIPTS = sorted(path.stem for path in JOBS.glob("*.py") if path.stem != "benchmark")
WRONG = "--ouput x"


def words_of(script: str) -> str:
    """Return the command that a script of `jobs/` stands for: tune_zdna for `tune zdna`."""
    return script.replace("_", " ")


def run_script(script: str, words: str, monkeypatch: pytest.MonkeyPatch) -> Done:
    """Run a script of `jobs/` in this process."""
    path = str(JOBS / f"{script}.py")
    monkeypatch.setattr("sys.argv", [path, *words.split()])
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(stdout),
        redirect_stderr(stderr),
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(path, run_name="__main__")
    assert isinstance(end.value.code, int)
    return Done(end.value.code, stdout.getvalue(), stderr.getvalue())


def test_every_job_has_a_script() -> None:
    assert {words_of(script).split()[0] for script in SCRIPTS} == set(COMMANDS)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("words", ["--help", WRONG])
def test_a_script_is_the_command_of_its_name(
    script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_script(script, words, monkeypatch)
    assert done == run_command(f"{words_of(script)} {words}")
    assert done.code == (0 if words == "--help" else 2)
    assert done.stdout or done.stderr


def test_the_module_and_a_script_are_the_same_as_processes(tmp_path: Path) -> None:
    words = f"tune zdna {WRONG}".split()
    module = run_process(*words, folder=tmp_path)
    script = run_program([sys.executable, str(JOBS / "tune_zdna.py"), *words[2:]], folder=tmp_path)
    assert module == script
    assert module.code == 2
    assert module.stderr.startswith("error: --ouput: unknown option, did you mean --out?")
