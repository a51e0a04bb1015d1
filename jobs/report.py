"""Write one page about a run, report.html in its folder: to open in a browser, print or send."""

from __future__ import annotations

from collections.abc import Sequence

from hyena_ray.commands import READ, Outcome, Parser, place, run_job

EXAMPLES = """\
examples:
  python jobs/report.py run
  python jobs/report.py one_run --attributed kmers --sanity checked --compared compared
"""


def parser() -> Parser:
    """The command line."""
    options = Parser(prog="report.py", description=__doc__, epilog=EXAMPLES, found="bytes")
    read = options.group(READ)
    read.add_argument(
        "run",
        metavar="RUN_DIR",
        type=place,
        help="folder that a job wrote: any but benchmark, report and simulate; required",
    )
    for name, text in (
        ("attributed", "folder of attribute.py for the same page; default: none"),
        ("compared", "folder of compare.py: baselines beside it; default: none"),
        ("sanity", "folder of sanity.py; default: sanity/ in RUN_DIR, if there is one"),
    ):
        read.add_argument(f"--{name}", metavar="DIR", type=place, help=text)
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Write the page."""
    given = parser().parse_args(arguments)
    from hyena_ray.report.write import write_report

    report = write_report(
        given.run, attributed=given.attributed, compared=given.compared, sanity=given.sanity
    )
    size = len(report.read_bytes())
    return Outcome(
        f"a page of {size / 1000:,.0f} kB", {"bytes": size}, {"report": report.absolute()}
    )


if __name__ == "__main__":
    run_job(main)
