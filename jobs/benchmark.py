"""Time ours, a peer and the limit side by side.

They run in turn, round after round, so that a machine that is busy for a while is busy for all of
them; what is printed is the median rate and the median of the ratios within a round. Costs, in
seconds and megabytes, are printed as medians too.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hyena_ray.commands import DONE, Outcome, Parser, run_job

if TYPE_CHECKING:
    from benchmarks.comparison import Comparison
    from benchmarks.figures import Figures

EXAMPLES = """\
examples:
  python jobs/benchmark.py convolution
  python jobs/benchmark.py startup --rounds 1 --json
"""
NAMES = (
    *("prepare", "convolution", "training", "pretraining", "attribution"),
    *("shards", "tune", "startup", "memory"),
)
Shown: TypeAlias = tuple[list[str], list[dict[str, Any]]]
"""Lines for people, and for machines."""


def parser() -> Parser:
    """The command line."""
    options = Parser(
        prog="benchmark.py", description=__doc__, epilog=EXAMPLES, found="cpus, threads, lines"
    )
    options.group(DONE).add_argument(
        "name", metavar="NAME", choices=NAMES, help=f"what to time: {', '.join(NAMES)}; required"
    )
    options.group(DONE).add_argument(
        "--rounds", metavar="N", type=int, default=5, help="times that each is run"
    )
    return options


def main(arguments: Sequence[str]) -> Outcome:
    """Time."""
    given = parser().parse_args(arguments)
    import torch

    from benchmarks.figures import Figures
    from benchmarks.table import BENCHMARKS

    cpus, threads = os.cpu_count(), torch.get_num_threads()
    text, lines = [f"{cpus} CPUs, torch on {threads} threads"], []
    with tempfile.TemporaryDirectory() as folder:
        for timed in BENCHMARKS[given.name](Path(folder)):
            logging.info("%s", timed.title)
            text.append(timed.title)
            if isinstance(timed, Figures):
                shown, values = _costs(timed, given.rounds)
            else:
                shown, values = _rates(timed, given.rounds)
            text += shown
            lines += values
    found = {"cpus": cpus, "threads": threads, "lines": lines}
    return Outcome("\n".join(text), found)


def _rates(comparison: Comparison, rounds: int) -> Shown:
    from benchmarks.comparison import measured

    found = measured(comparison, rounds)
    text = [
        f"  {line.who:45} {line.rate:10.3g} {line.unit:16} "
        f"ours is {line.ours_over_it:.2f} times as fast"
        for line in found
    ]
    return text, [line._asdict() for line in found]


def _costs(figures: Figures, rounds: int) -> Shown:
    rows = figures.median(rounds)
    columns = next(iter(rows.values()))
    text = [" ".join([" " * 32, *(f"{name:>14}" for name in columns)])]
    for who, cells in rows.items():
        text.append(" ".join([f"  {who:30}", *(f"{value:14.2f}" for value in cells.values())]))
    return text, [{"title": figures.title, "who": who, **cells} for who, cells in rows.items()]


if __name__ == "__main__":
    run_job(main)
