"""Prepare windows of a genome, or labelled sequences: python jobs/prepare.py --help"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from pydantic.fields import FieldInfo

from hyena_ray.commands import READ, Outcome, Parser, run_job
from hyena_ray.dataset.prepare import RECIPES, Recipe, plan_preparation, prepare, written_by
from hyena_ray.tasks import TASKS, Task, task_named

EXAMPLE = """\
examples:
  python jobs/prepare.py zdna --genome hg19.fa.gz --regions zdna.bed --blacklist blacklist.bed \\
      --split "contig:train=chr13,chr14,chrX;val=chr7;test=chr20" --lengths 100,256 --out prepared
  python jobs/prepare.py g4 --genome hg38 --regions peaks.narrowPeak.gz --out prepared
  python jobs/prepare.py zdna --genome hg19.fa.gz --regions zdna.bed --out prepared --dry-run
  python jobs/prepare.py promoter --train train.csv --val dev.csv --test test.csv --out promoters
"""


def parser() -> Parser:
    """The command line; each option's help is its setting's description."""
    options = Parser(
        prog="prepare.py",
        description="Cut a genome into labelled windows, or read labelled sequences, and write "
        "them as Parquet.",
        epilog=EXAMPLE,
        found="task, lengths, flank, split, counts by length, split and contig, dropped, sequences",
    )
    options.group(READ).add_argument(
        "task", metavar="TASK", help=f"one of {', '.join(TASKS)}; required"
    )
    for kind, recipe in RECIPES.items():
        tasks = [task for task in TASKS.values() if task.kind == kind]
        group = options.add_argument_group(f"for {', '.join(task.name for task in tasks)}")
        for name, field in recipe.model_fields.items():
            if name in OPTIONS:
                metavar, _ = OPTIONS[name]
                told = _default(name, field, tasks)
                group.add_argument(_flag(name), metavar=metavar, help=f"{field.description} {told}")
    options.add_output("folder to make", required=True)
    options.add_existing_output(resume=False)
    options.add_dry_run()
    return options


def _default(name: str, field: FieldInfo, tasks: Sequence[Task]) -> str:
    """What holds where an option is not given."""
    if field.is_required():
        return "Required."
    values = {getattr(task, name, field.default) for task in tasks}
    shown = [
        ",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values
    ]
    return f"Default: {' or '.join(shown)}.".replace("None", "none")


def recipe_of(arguments: argparse.Namespace, options: Parser) -> Recipe:
    """Defaults are the task's; numbers are checked as settings are."""
    task = task_named(arguments.task)
    fields = RECIPES[task.kind].model_fields
    given = {name: text for name in OPTIONS if (text := getattr(arguments, name)) is not None}
    for name in given:
        if name not in fields:
            allowed = ", ".join(_flag(name) for name in fields if name in OPTIONS)
            options.error(f"{_flag(name)} is no option of {task.name}, which has {allowed}")
    missing = [
        _flag(name)
        for name, field in fields.items()
        if name in OPTIONS and name not in given and field.is_required()
    ]
    if missing:
        options.error(f"the following arguments are required: {', '.join(missing)}")
    values: dict[str, object] = {"task": task.name}
    values |= {
        name: getattr(task, name) for name in ("lengths", "flank", "negatives") if name in fields
    }
    values |= {name: OPTIONS[name][1](text) for name, text in given.items()}
    return RECIPES[task.kind].parse(values, "command line")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _number(text: str) -> object:
    """A number, or the text itself for the settings to refuse by name."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # NaN and infinity stay text, which settings refuse; JSON has no word for them.
        return number if math.isfinite(number) else text
    return text


def _numbers(text: str) -> object:
    return [_number(part) for part in text.split(",")]


OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "genome": ("FILE|NAME", str),
    "regions": ("FILE", str),
    "blacklist": ("FILE", str),
    "lengths": ("L,L", _numbers),
    "flank": ("N", _number),
    "negatives": ("X", _number),
    "train_stride": ("N", _number),
    "split": ("SPEC", str),
    "seed": ("N", _number),
    "train": ("CSV", str),
    "val": ("CSV", str),
    "test": ("CSV", str),
}
"""Setting to what stands for its value in the help, and how that is read."""


def main(arguments: Sequence[str]) -> Outcome:
    """Prepare, or say what would be prepared."""
    options = parser()
    given = options.parse_args(arguments)
    recipe = recipe_of(given, options)
    if given.dry_run:
        return plan_preparation(recipe, given.out, overwrite=given.overwrite).outcome()
    manifest = prepare(recipe, given.out, overwrite=given.overwrite)
    keys = ("task", "lengths", "flank", "split", "counts", "dropped", "sequences")
    values = manifest.model_dump(mode="json")
    found = {key: values[key] for key in keys}
    return Outcome(manifest.table(), found, written_by(given.out.absolute()), manifest.simulated)


if __name__ == "__main__":
    run_job(main)
