"""Write one page about a run, report.html in its folder: to open in a browser, print or send."""

from __future__ import annotations

from collections.abc import Sequence

from hyena_ray.commands import Outcome, Parser, place, run_job
from hyena_ray.report.write import write_report

EXAMPLE = """\
examples:
  python jobs/report.py run
  python jobs/report.py one_run --attributed kmers --sanity checked --compared compared
"""


def main(arguments: Sequence[str]) -> Outcome:
    """Write the page, and say where it lies."""
    parser = Parser(prog="report.py", description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        "run",
        metavar="RUN_DIR",
        type=place,
        help="folder that a tune_*, train, evaluate, attribute, compare or sanity job wrote",
    )
    parser.add_argument(
        "--attributed", metavar="DIR", type=place, help="folder of attribute.py for the same page"
    )
    parser.add_argument(
        "--compared", metavar="DIR", type=place, help="folder of compare.py: baselines beside it"
    )
    parser.add_argument(
        "--sanity",
        metavar="DIR",
        type=place,
        help="folder of sanity.py; default: sanity/ in RUN_DIR, if there is one",
    )
    given = parser.parse_args(arguments)
    report = write_report(
        given.run, attributed=given.attributed, compared=given.compared, sanity=given.sanity
    )
    size = len(report.read_bytes())
    return Outcome(f"{report}  ({size / 1000:,.0f} kB)", {"bytes": size}, {"report": report})


if __name__ == "__main__":
    run_job(main)
