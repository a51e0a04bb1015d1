"""The command line is made from the settings of the jobs, and names what is nearest to a typo."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from hyena_ray.cli import run
from hyena_ray.cli.commands import JOBS, Argument, JobCommand
from hyena_ray.errors import InputError, JobError

COMMANDS = [
    JobCommand(name, workflow, task)
    for name, module in JOBS.items()
    for workflow in [import_module(module).WORKFLOW]
    for task in workflow.tasks or ("",)
]
every = pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.workflow.name} {c.task}")


def arguments() -> Iterator[Argument]:
    for command in COMMANDS:
        yield from command.arguments


def test_every_job_is_called_as_its_workflow() -> None:
    assert {command.workflow.name for command in COMMANDS} == set(JOBS)


@every
def test_every_setting_is_an_option_with_help_and_a_default_or_required(
    command: JobCommand,
) -> None:
    for argument in command.arguments:
        assert argument.field.description, argument.flag
        said = argument.help
        quiet = argument.is_flag or argument.option.repeated
        assert quiet or "default: " in said or said.endswith("; required."), argument.flag
        assert not argument.option.repeated or "again" in said
    names = {argument.name for argument in command.arguments} | {"task"}
    assert names >= set(command.settings.model_fields)


def test_an_option_that_jobs_share_takes_the_same_everywhere() -> None:
    kinds: dict[str, set[str]] = {}
    for argument in arguments():
        if not argument.is_flag:
            kinds.setdefault(argument.flag, set()).add(argument.metavar)
    # `prepare` is told how to split, and all other jobs which split to read.
    assert kinds.pop("--split") == {"RULE", "SPLIT"}
    # What scores takes several models as one; what looks into a model takes one.
    assert kinds.pop("--model") == {"DIR", "DIR[,DIR]"}
    assert {flag: kind for flag, kind in kinds.items() if len(kind) > 1} == {}
    assert {"--data", "--out", "--genome", "--set"} <= set(kinds)


def refused(command: JobCommand, given: dict[str, object]) -> tuple[str, ...]:
    """The problems of a command line."""
    try:
        command.parse(given)
    except InputError as error:
        return error.lines
    return ()


@every
def test_the_examples_of_the_help_are_commands_of_this_very_job(command: JobCommand) -> None:
    assert command.workflow.examples
    for line in command.workflow.examples:
        name, *words = shlex.split(line)
        assert name == command.workflow.name
        if command.task:
            if words[0] != command.task:
                continue
            words = words[1:]
        context = command.make_context(name, list(words))
        assert context.args == []
        own = {argument.name for argument in command.arguments}
        given = {name: value for name, value in context.params.items() if name in own}
        with context:
            problems = refused(command, given)
        # Whoever reads the help has no such files, and nothing else is wrong.
        assert all(": there is no such f" in line for line in problems), problems


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["train", "--dta", "x", "--out", "y"], "--data"),
        (["train", "--data", "x", "--output=y"], "--out"),
        (["attribute", "--modle", "x"], "--model"),
        (["predict", "--dryrun"], "--dry-run"),
        (["predict", "--cpus", "2"], "--cpu"),
        (["tarin"], "train"),
        (["tune", "zdan"], "zdna"),
        (["prepare", "G4s"], "g4"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_right_name(words: list[str], nearest: str) -> None:
    with pytest.raises(InputError, match=f"did you mean {nearest}[?]"):
        run(words)


PROBLEMS = {
    "predict stray --dryrun --threshold 2 --min-length x": (
        *("command line", "--dryrun", "--threshold", "--min-length"),
        *("--model", "--genome", "--out"),
    ),
    "evaluate --model nowhere --data nowhere --split tset --strands bth --fold x": (
        *("--model", "--data", "--split", "--strands", "--fold"),
    ),
    "attribute --model no --data no --out o --methods igg --k 0 --limit 0 --set shufles=3": (
        *("--model", "--data", "--methods", "--k", "--limit", "--set: shufles"),
    ),
    "train --data no --preset zdna/bst --config no.yaml --set epochz=1 --set data.length=0": (
        *("--data", "--preset", "--config", "--set: epochz", "--set: data.length"),
    ),
    "compare --data no --out o --seeds a --presets zdna/bst,zdna/lokahead --set training.epoch=1": (
        *("--data", "--seeds", "--presets: zdna/bst", "--presets: zdna/lokahead", "--set"),
    ),
    "prepare zdna --genome no.fa --regions no.bed --split random --lengths a --out o": (
        *("no.fa", "no.bed", "--split", "--lengths"),
    ),
    "prepare promoter --train no --val no.csv --test none.csv --out o": (
        *("no", "no.csv", "none.csv"),
    ),
    "tune zdna --data no --space no.yaml --trials few --out o --preset zdna/bst --set epochz=1": (
        *("--data", "--space", "--trials", "--preset", "--set: epochz"),
    ),
    "sanity --model no --random-labels no --data no --out o --methods igg --limit 0": (
        *("--model", "--random-labels", "--data", "--methods", "--limit"),
    ),
    "pretrain --genome no.fa --out o --config no.yaml --set training.stps=3 --objective msked": (
        *("no.fa", "--config", "--set: training.stps", "--objective"),
    ),
}
"""Commands, and the places of all that is wrong with them."""


@pytest.mark.parametrize(
    "command",
    [
        "train --data no --out {}",
        "prepare zdna --genome no.fa --regions no.bed --out {}",
        "evaluate --model no --data no --out {}",
        "predict --model no --genome no.fa --out {}",
        "tune zdna --data no --out {}",
    ],
)
def test_a_folder_that_exists_is_named_with_the_other_problems(
    command: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        run(shlex.split(command.format(tmp_path)))
    lines = refusal.value.lines
    assert len(lines) > 1
    assert any(line.startswith("--out: ") and "exists already" in line for line in lines)


@pytest.mark.parametrize("command", PROBLEMS)
def test_all_problems_of_a_command_are_named_at_once(command: str) -> None:
    with pytest.raises(InputError) as refusal:
        run(command.split())
    for place in PROBLEMS[command]:
        assert any(line.startswith(f"{place}: ") for line in refusal.value.lines), place


@pytest.mark.parametrize("error", [KeyboardInterrupt, JobError, ZeroDivisionError])
def test_what_stops_a_job_is_not_hidden_by_the_command_line(error: type[BaseException]) -> None:
    def stopped() -> None:
        raise error

    with pytest.raises(error):
        run([], click.Command("job", callback=stopped))


@pytest.mark.parametrize("words", [[], ["tune"], ["train", "--data"]])
def test_a_command_that_is_cut_off_says_what_is_missing(words: list[str]) -> None:
    with pytest.raises(InputError, match=r"missing|requires an argument"):
        run(words)


def test_help_and_version_are_printed_and_leave_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["tune", "--help"], ["tune", "g4", "--help"], ["--version"]):
        assert run(words) is None
        assert capsys.readouterr().out


def test_a_refusal_needs_neither_torch_nor_ray() -> None:
    words = [["tarin"], ["train", "--dta", "x"], ["tune", "zdna", "--data", "nowhere"]]
    words += [["predict", "--help"], ["train", "--data", "nowhere", "--out", "o", "--preset", "x"]]
    code = (
        "import sys; from hyena_ray.cli import main\n"
        f"for words in {words!r}:\n"
        "    try: main(words)\n"
        "    except SystemExit as end: assert end.code in (0, 2), end.code\n"
        "slow = {'torch', 'ray', 'transformers', 'sklearn', 'optuna', 'peft'} & set(sys.modules)\n"
        "sys.exit(f'imported: {slow}' if slow else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_shell_completes_jobs_tasks_and_options() -> None:
    environment: dict[str, Any] = {"_HYENA_RAY_COMPLETE": "bash_source"}
    program = (
        "import sys; from hyena_ray.cli.commands import main; sys.argv[0] = 'hyena-ray'; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "/usr/bin:/bin", **_python_path(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "_hyena_ray_completion" in done.stdout


def _python_path() -> dict[str, str]:
    import os

    return {key: value for key, value in os.environ.items() if key in ("PYTHONPATH", "HOME")}


def test_commands_are_those_of_click() -> None:
    assert all(isinstance(command, click.Command) for command in COMMANDS)
