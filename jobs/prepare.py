"""Prepare windows from a genome and labelled regions: python jobs/prepare.py --help"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from hyena_ray.commands import Parser, run_job
from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.tasks import TASKS, task_named

EXAMPLE = """\
example:
  python jobs/prepare.py zdna --genome hg19.fa.gz --regions zdna.bed --blacklist blacklist.bed \\
      --split "contig:train=chr13,chr14,chrX;val=chr7;test=chr20" --lengths 100,256 --out prepared
"""


def parser() -> Parser:
    """The command line; each option's help is its setting's description."""
    options = Parser(
        prog="prepare.py",
        description="Cut a genome into labelled windows, written as Parquet.",
        epilog=EXAMPLE,
    )
    fields = PrepareSettings.model_fields
    options.add_argument("task", metavar="TASK", help=f"one of {', '.join(TASKS)}")
    for name, metavar in (
        ("genome", "FA"),
        ("regions", "BED"),
        ("blacklist", "BED"),
        ("lengths", "L,L"),
        ("flank", "N"),
        ("negatives", "X"),
        ("split", "SPEC"),
        ("seed", "N"),
    ):
        options.add_argument(
            f"--{name}",
            metavar=metavar,
            required=name in ("genome", "regions"),
            help=fields[name].description,
        )
    options.add_argument("--out", metavar="DIR", required=True, type=Path, help="folder to make")
    options.add_argument(
        "--overwrite", action="store_true", help="replace a prepared folder that is there"
    )
    return options


def settings_of(arguments: argparse.Namespace) -> PrepareSettings:
    """Defaults are the task's; numbers are checked as settings are."""
    task = task_named(arguments.task)
    values: dict[str, object] = {
        "task": task.name,
        "lengths": list(task.lengths),
        "flank": task.flank,
        "negatives": task.negatives,
    }
    for name in ("genome", "regions", "blacklist", "split"):
        if getattr(arguments, name) is not None:
            values[name] = getattr(arguments, name)
    if arguments.lengths is not None:
        values["lengths"] = [_number(part) for part in arguments.lengths.split(",")]
    for name in ("flank", "negatives", "seed"):
        if getattr(arguments, name) is not None:
            values[name] = _number(getattr(arguments, name))
    return PrepareSettings.parse(values, "command line")


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


def main(arguments: Sequence[str]) -> None:
    """Prepare, and print what came out to stderr."""
    given = parser().parse_args(arguments)
    manifest = prepare(settings_of(given), given.out, overwrite=given.overwrite)
    print(manifest.table(), file=sys.stderr)
    print(f"wrote {given.out}", file=sys.stderr)


if __name__ == "__main__":
    run_job(main)
