"""Run presets side by side on the same data, and put what they find into one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyena_ray.commands import DONE, Outcome, Parser, run_job
from hyena_ray.errors import InputError
from hyena_ray.report.job import with_report
from hyena_ray.settings import parse_assignments

EXAMPLES = """\
examples:
  python jobs/compare.py --data prepared --presets zdna/two_stage,zdna/lora_full --out compared
  python jobs/compare.py --data prepared --presets zdna/all --seeds 0 --out compared
  python jobs/compare.py --data prepared --presets zdna/all --out compared --dry-run
"""
PRESETS = Path(__file__).parent.parent / "search_spaces" / "presets"


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="compare.py",
        description=__doc__,
        epilog=EXAMPLES,
        found="presets, a list with the columns of comparison.parquet",
    )
    options.add_data(required=True)
    done = options.group(DONE)
    done.add_argument(
        "--presets",
        metavar="TASK/NAME,..",
        required=True,
        help="from search_spaces/presets/; TASK/all takes all that the data can serve",
    )
    done.add_argument("--seeds", metavar="N,N", default="0,1,2", help="a run with each")
    options.add_settings("one setting of all runs; may be given again")
    options.add_output(
        "new folder; takes comparison.md, .csv and .parquet, and runs/", required=True
    )
    options.add_existing_output()
    options.add_dry_run()
    options.add_resources("a run")
    options.add_address()
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Compare, or say what a comparison would take."""
    given = parser().parse_args(arguments)
    seeds, changes = seeds_of(given.seeds), parse_assignments(given.set, "--set")
    from hyena_ray.cluster.resources import Resources
    from hyena_ray.tuning.compare import CompareOptions, compare
    from hyena_ray.tuning.dry_compare import plan_comparison

    options = CompareOptions(
        data=given.data,
        out=given.out,
        presets=given.presets,
        folder=PRESETS,
        seeds=seeds,
        changes=changes,
        resources=Resources.parse({"cpu": given.cpu, "gpu": given.gpu}, "command line"),
        resume=given.resume,
        overwrite=given.overwrite,
        address=given.address,
    )
    if given.dry_run:
        return plan_comparison(options).outcome()
    done = compare(options)
    found, folder = {"presets": done.rows}, given.out.absolute()
    return Outcome(done.text, found, done.written, done.simulated, folder)


def seeds_of(text: str) -> tuple[int, ...]:
    """Different whole numbers of a list such as 0,1,2."""
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise InputError("--seeds", text, "not a list of different whole numbers", "write 0,1,2")
    return tuple(map(int, parts))


if __name__ == "__main__":
    run_job(with_report(main))
