"""How every case of a bad input is tried: the command as a user types it, the line that answers,
and that no file came, went or changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hyena_ray.cli.commands import JOBS
from hyena_ray.errors import JobError
from hyena_ray.runs.plan import SEAL, sealed
from hyena_ray.runs.run import start
from tests.command_line import Done, run_command

SPLIT = "contig:train=chr1;val=chr2;test=chr3"
CUT = "--lengths 20 --stretch 40 --flank 4 --out out"
PREPARE = f"prepare zdna --genome genome.fa --regions regions.bed --split '{SPLIT}' {CUT}"
SEQUENCES = "prepare promoter --train train.csv --val val.csv --test test.csv --out out"
SIZES = "--set model.d_model=8 --set model.n_layer=1"
SHORT = (
    "--set data.length=20 --set readout.flank=4 --set readout.lookahead=4 --set training.epochs=1"
)
SMALL = f"{SHORT} {SIZES}"
TRAIN = f"train --data data --out out {SMALL}"
TRAIN_FROM = f"train --data data --out out {SHORT} --backbone"
"""A backbone, whose sizes are its own, follows."""
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
SEARCHED_SIZES = SPACE.replace("  model.d_model: 8\n", "") + "  model.d_model: {choices: [8, 16]}\n"
BACKBONE_SPACE = SPACE.replace("  model.d_model: 8\n  model.n_layer: 1\n", "")
"""What goes with a backbone, whose sizes are its own."""
TUNE = "tune zdna --data data --out out --space space.yaml"
ATTRIBUTE = "attribute --model model --data data --out out"
SANITY = "sanity --model model --data data --out out"
COMBINE = "combine --attributions first,second --out out"
STEPS = (
    "pretrain --genome genome.fa --out out --set training.steps=2 "
    "--set 'training.lengths=[16, 32]' --set training.tokens_per_step=64"
)
PRETRAIN = f"{STEPS} {SIZES}"
PRETRAIN_FROM = f"{STEPS} --backbone"
"""A backbone, whose sizes are its own, follows."""
COMPARE = "compare --data data --out out --presets zdna/two_stage --set data.length=20"

Change = Callable[[Path], object]
"""What is done to the folder of good inputs."""


class Line(NamedTuple):
    """What a refusal says, whatever its wording."""

    place: str
    """File with line number, setting or option, which the line begins with."""
    names: tuple[str, ...]
    """What it names besides: the value, the nearest right name, what is allowed."""


def at(place: str, *names: str) -> Line:
    """The line that a refusal has: `error: PLACE: ...`, naming every one of `names`."""
    return Line(place, names)


class Case(NamedTuple):
    """One bad input."""

    change: Change
    command: str
    line: Line


class User:
    """Runs commands in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def starts(self, command: str) -> None:
        """Run a command no further than to where it has written what its run is made of."""
        workflow = import_module(JOBS[command.split()[0]])

        @contextmanager
        def stopped(*given: Any, **named: Any) -> Iterator[None]:
            with start(*given, **named):
                raise JobError("stopped")
            yield

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workflow, "start", stopped)
            done = self.runs(command)
        assert done.stderr.splitlines()[-1].startswith("error: stopped"), done.stderr

    def runs(self, command: str) -> Done:
        """Run a command line, which begins with the name of the job."""
        return run_command(command)

    def is_refused(self, case: Case) -> None:
        """Try a case: one line, exit code 2, and nothing written."""
        case.change(self.folder)
        before = contents(self.folder)
        done = self.runs(case.command)
        check_line(done.stderr, case.line, self.folder)
        assert (done.code, done.stdout) == (2, "")
        assert contents(self.folder) == before


def check_line(stderr: str, line: Line, folder: Path) -> None:
    """Hold what was printed to the line of a case: every problem is one line that says where it is,
    and one of them is this one. Paths are written as from `folder`."""
    lines = stderr.replace(f"{folder}/", "").splitlines()
    assert lines
    for text in lines:
        assert re.match(r"error: [^:]+.*: .", text), text
        assert text.isprintable(), text
    begin = f"error: {line.place}: "
    said = [text.removeprefix(begin) for text in lines if text.startswith(begin)]
    assert said, f"{line.place} is not the place: {lines}"
    missing = [name for name in line.names if not any(names(text, name) for text in said)]
    assert not missing, f"{missing} not named: {said}"


def names(text: str, name: str) -> bool:
    """Whether a text has a name as a whole word: 1 is not in 10."""
    left = r"(?<!\w)" if name[0].isalnum() else ""
    right = r"(?!\w)" if name[-1].isalnum() else ""
    return re.search(f"{left}{re.escape(name)}{right}", text) is not None


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
    """What a JSON file holds is edited in place, and its seal, if it has one, is that of this."""

    def change(content: bytes) -> bytes:
        stored = json.loads(content)
        has_seal = isinstance(stored, dict) and stored.pop(SEAL, None) is not None
        edit(stored)
        return json.dumps(sealed(stored) if has_seal else stored).encode()

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
