"""Time ours, a peer and the limit side by side.

They run in turn, round after round, so that a machine that is busy for a while is busy for all of
them; what is printed is the median rate and the median of the ratios within a round. Costs, in
seconds and megabytes, are printed as medians too.

`gpu` measures every figure of a GPU in at most 8 minutes, and the fraction of the card's own limits
(matrix products in float32, TF32 and bfloat16, and memory bandwidth) that it reaches. If an
implementation fails, the reason is printed and the others continue. `constants` measures the
constants that depend on the device, such as the length up to which a Toeplitz product is faster
than an FFT, and prints them next to their values in the code.
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
from hyena_ray.errors import InputError
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
    "feeds",
    "pretraining",
    "attribution",
    "shards",
    "tune",
    "startup",
    "memory",
    "contigs",
    "backbones",
    "variants",
    "constants",
    "gpu",
]
Shown: TypeAlias = tuple[list[str], list[dict[str, Any]]]
"""Lines for people, and values for machines."""


class BenchmarkSettings(Job):
    """Settings of a benchmark."""

    name: Annotated[Name, Option("NAME", positional=True)]
    """Benchmark to run."""
    rounds: Annotated[int, Field(ge=1)] = 5
    """Rounds of measurement."""


def validate(settings: BenchmarkSettings) -> BenchmarkSettings:
    """Refuse the benchmark of a GPU on a machine without one.

    Args:
        settings: Settings of the benchmark.

    Raises:
        InputError: There is no GPU.
    """
    if settings.name == "gpu":
        from hyena_ray.model.devices import default_device

        if default_device().type != "cuda":
            raise InputError(
                "NAME",
                settings.name,
                "needs a GPU, and torch sees none on this machine",
                "run it on a machine with a GPU, or run another benchmark, such as training",
            )
    return settings


def execute(settings: BenchmarkSettings) -> Outcome:
    """Run a benchmark.

    Args:
        settings: Settings of the benchmark.
    """
    import torch

    from benchmarks.figures import Figures
    from benchmarks.table import BENCHMARKS
    from hyena_ray.model.devices import default_device, device_name

    cpus, threads, device = os.cpu_count(), torch.get_num_threads(), device_name(default_device())
    text, lines = [f"{cpus} CPUs, torch on {threads} threads, {device}"], []
    with tempfile.TemporaryDirectory() as folder:
        for timed in BENCHMARKS[settings.name](Path(folder)):
            logging.info("%s", timed.title)
            if isinstance(timed, Figures):
                shown, values = _costs(timed, settings.rounds)
            else:
                shown, values = _rates(timed, settings.rounds)
            for line in shown:  # logged at once, so that they are kept if the job is stopped
                logging.info("%s", line)
            text += [timed.title, *shown]
            lines += values
            del timed  # frees its memory before the next one is prepared
    values_by_name = {"cpus": cpus, "threads": threads, "device": device, "lines": lines}
    return Outcome("\n".join(text), values_by_name)


def _rates(comparison: Comparison, rounds: int) -> Shown:
    from benchmarks.comparison import measured

    lines = measured(comparison, rounds)
    return [f"  {line.who:48} {line.text}" for line in lines], [line._asdict() for line in lines]


def _costs(figures: Figures, rounds: int) -> Shown:
    from benchmarks.comparison import failure_of

    try:
        rows = figures.median(rounds)
    except Exception as error:
        failure = failure_of(error)
        return [f"  failed: {failure}"], [{"title": figures.title, "failure": failure}]
    columns = next(iter(rows.values()))
    text = [" ".join([" " * 32, *(f"{name:>14}" for name in columns)])]
    for who, cells in rows.items():
        text.append(" ".join([f"  {who:30}", *(f"{value:14.2f}" for value in cells.values())]))
    lines = [{"title": figures.title, "who": who, **cells} for who, cells in rows.items()]
    conclusion = figures.conclude(rows)
    if conclusion:
        text.append("  " + ", ".join(f"{name} {value:g}" for name, value in conclusion.items()))
        lines.append({"title": figures.title, "who": "conclusion", **conclusion})
    return text, lines


WORKFLOW = Workflow(
    name="jobs/benchmark.py",
    about=__doc__,
    settings=lambda task: BenchmarkSettings,
    validate=validate,
    execute=execute,
    present=lambda settings, outcome: outcome,
    found="cpus, threads, device, lines",
    examples=(
        "jobs/benchmark.py convolution",
        "jobs/benchmark.py startup --rounds 1 --json",
        "jobs/benchmark.py gpu",
    ),
)

if __name__ == "__main__":
    words = sys.argv[1:]
    run_in_terminal(
        "benchmark", lambda: run(words, command_of(WORKFLOW, "python")), as_json="--json" in words
    )
