"""How every case of a bad input is tried: the command as a user types it, the line that answers,
and that no file came, went or changed."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

JOBS = Path(__file__).parents[2] / "jobs"
SPLIT = "contig:train=chr1;val=chr2;test=chr3"
CUT = "--lengths 20 --flank 4 --out out"
PREPARE = f"prepare zdna --genome genome.fa --regions regions.bed --split '{SPLIT}' {CUT}"
SEQUENCES = "prepare promoter --train train.csv --val val.csv --test test.csv --out out"
SMALL = (
    "--set data.length=20 --set readout.flank=4 --set readout.lookahead=4 --set model.d_model=8 "
    "--set model.n_layer=1 --set training.epochs=1"
)
TRAIN = f"train --data data --out out {SMALL}"
EVALUATE = "evaluate --model model --data data --out out"
SPACE = """\
task: zdna
trials: 1
settings:
  data.length: 20
  model.d_model: 8
  model.n_layer: 1
  readout.flank: 4
  readout.lookahead: 4
search:
  training.learning_rate: {low: 1e-3, high: 1e-2, log: true}
"""
TUNE = "tune_zdna --data data --out out --space space.yaml"
ATTRIBUTE = "attribute --model model --data data --out out"
SANITY = "sanity --model model --data data --out out"
PRETRAIN = (
    "pretrain --genome genome.fa --out out --set training.steps=2 "
    "--set 'training.lengths=[16, 32]' --set training.tokens_per_step=64 "
    "--set model.d_model=8 --set model.n_layer=1"
)
COMPARE = "compare --data data --out out --presets zdna/two_stage --set data.length=20"

Change = Callable[[Path], object]
"""What is done to the folder of good inputs."""


class Case(NamedTuple):
    """One bad input."""

    change: Change
    command: str
    line: str
    """What is said after `error: `, that is PLACE: VALUE: what is wrong; what to do. Three dots
    stand for what another library or the system words, and for long lists."""


class Done(NamedTuple):
    """A job that has ended."""

    code: object
    stdout: str
    stderr: str


class User:
    """Runs jobs in `folder`, in this process: starting one takes longer than all cases."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def runs(self, command: str) -> Done:
        """Run `python jobs/NAME.py ...`, written without python, folder and ending."""
        arguments = arguments_of(command)
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._monkeypatch.setattr("sys.argv", arguments)
        self._capsys.readouterr()
        code: object = 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return Done(code, *self._capsys.readouterr())

    def is_refused(self, case: Case) -> None:
        """Try a case: one line, exit code 2, and nothing written."""
        case.change(self.folder)
        before = contents(self.folder)
        done = self.runs(case.command)
        check_line(done.stderr, case.line, self.folder)
        assert (done.code, done.stdout) == (2, "")
        assert contents(self.folder) == before


def arguments_of(command: str) -> list[str]:
    """The words of a command, with the job's file in front."""
    name, *arguments = shlex.split(command)
    return [str(JOBS / f"{name}.py"), *arguments]


def check_line(stderr: str, line: str, folder: Path) -> None:
    """Hold what was printed to the line of a case; paths are written as from `folder`."""
    said = stderr.replace(f"{folder}/", "")
    wording = ".*".join(map(re.escape, line.split("...")))
    assert re.fullmatch(f"error: {wording}\n", said), said


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with what stands in it; None for what is no file."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def as_it_is(folder: Path) -> None:
    """The inputs are good; the command is not."""


def holds(name: str, content: str | bytes) -> Change:
    """A file holds this instead."""
    stored = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(stored)


def edited(name: str, edit: Callable[[bytes], bytes]) -> Change:
    """A file's content is edited."""
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def with_json(name: str, edit: Callable[[Any], object]) -> Change:
    """What a JSON file holds is edited in place."""

    def change(content: bytes) -> bytes:
        stored = json.loads(content)
        edit(stored)
        return json.dumps(stored).encode()

    return edited(name, change)


def reads(name: str, bases: int) -> Change:
    """The model's readout has another number of bases."""
    return with_json("model/readout.json", lambda stored: stored["readout"].update({name: bases}))


def removed(name: str) -> Change:
    """A file is missing."""
    return lambda folder: (folder / name).unlink()


def is_folder(name: str) -> Change:
    """A folder stands in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return change


def both(*changes: Change) -> Change:
    """One change after the other."""

    def change(folder: Path) -> None:
        for each in changes:
            each(folder)

    return change
