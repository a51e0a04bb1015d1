"""Run presets side by side on the same data, and put what they find into one table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from hyena_ray.cluster.resources import Resources
from hyena_ray.commands import Parser, place, run_job
from hyena_ray.errors import InputError
from hyena_ray.settings import parse_assignments
from hyena_ray.tuning.compare import CompareOptions, compare

EXAMPLE = """\
examples:
  python jobs/compare.py --data prepared --presets zdna/two_stage,zdna/lora_full --out compared
  python jobs/compare.py --data prepared --presets zdna/all --seeds 0 --out compared
"""
PRESETS = Path(__file__).parent.parent / "search_spaces" / "presets"


def main(arguments: Sequence[str]) -> None:
    """Compare, and print the table to stdout."""
    given = parser().parse_args(arguments)
    print(compare(options_of(given)), end="")


def options_of(given: argparse.Namespace) -> CompareOptions:
    """Check what can be checked without reading a file."""
    return CompareOptions(
        data=given.data,
        out=given.out,
        presets=given.presets,
        folder=PRESETS,
        seeds=seeds_of(given.seeds),
        changes=parse_assignments(given.set, "--set"),
        each=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )


def seeds_of(text: str) -> tuple[int, ...]:
    """Different whole numbers of a list such as 0,1,2."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise InputError("--seeds", text, "not a list of different whole numbers", "write 0,1,2")
    return tuple(map(int, parts))


def parser() -> Parser:
    """The command line."""
    options = Parser(prog="compare.py", description=__doc__, epilog=EXAMPLE)
    options.add_argument(
        "--data", metavar="DIR", type=place, required=True, help="folder that prepare.py wrote"
    )
    options.add_argument(
        "--presets",
        metavar="TASK/NAME,..",
        required=True,
        help="from search_spaces/presets/; TASK/all takes all that the data can serve",
    )
    options.add_argument(
        "--out",
        metavar="DIR",
        type=place,
        required=True,
        help="new folder; takes comparison.md, .csv and .parquet, and runs/",
    )
    options.add_argument(
        "--seeds", metavar="N,N", default="0,1,2", help="a run with each; default: 0,1,2"
    )
    options.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting of all"
    )
    options.add_resources("a run")
    options.add_existing_output()
    options.add_address()
    return options


if __name__ == "__main__":
    run_job(main)
