"""Time ours, a peer and the limit side by side.

They run in turn, round after round, so that a machine that is busy for a while is busy for all of
them; what is printed is the median rate and the median of the ratios within a round. Costs, in
seconds and megabytes, are printed as medians too.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field

from hyena_ray.cli.commands import command_of, run
from hyena_ray.cli.terminal import run_in_terminal
from hyena_ray.outcomes import Outcome
from hyena_ray.settings import Option
from hyena_ray.workflows.workflow import Job, Workflow

if TYPE_CHECKING:
    from benchmarks.comparison import Comparison
    from benchmarks.figures import Figures

Name = Literal[
    "prepare",
    "convolution",
    "training",
    "pretraining",
    "attribution",
    "shards",
    "tune",
    "startup",
    "memory",
]
Shown: TypeAlias = tuple[list[str], list[dict[str, Any]]]
"""Lines for people, and values for machines."""


class BenchmarkSettings(Job):
    """Settings of a benchmark."""

    name: Annotated[Name, Option("NAME", positional=True)]
    """Benchmark to run."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Rounds of measurement."""


def execute(settings: BenchmarkSettings) -> Outcome:
    """Run a benchmark.

    Args:
        settings: Settings of the benchmark.
    """
    import torch

    from benchmarks.figures import Figures
    from benchmarks.table import BENCHMARKS

    cpus, threads = os.cpu_count(), torch.get_num_threads()
    text, lines = [f"{cpus} CPUs, torch on {threads} threads"], []
    with tempfile.TemporaryDirectory() as folder:
        for timed in BENCHMARKS[settings.name](Path(folder)):
            logging.info("%s", timed.title)
            text.append(timed.title)
            if isinstance(timed, Figures):
                shown, values = _costs(timed, settings.rounds)
            else:
                shown, values = _rates(timed, settings.rounds)
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


WORKFLOW = Workflow(
    name="jobs/benchmark.py",
    about=__doc__,
    settings=lambda task: BenchmarkSettings,
    validate=lambda settings: settings,
    execute=execute,
    present=lambda settings, outcome: outcome,
    found="cpus, threads, lines",
    examples=("jobs/benchmark.py convolution", "jobs/benchmark.py startup --rounds 1 --json"),
)

if __name__ == "__main__":
    words = sys.argv[1:]
    run_in_terminal(
        "benchmark", lambda: run(words, command_of(WORKFLOW, "python")), as_json="--json" in words
    )
