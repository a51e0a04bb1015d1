"""Time ours, a peer and the limit side by side: python jobs/benchmark.py NAME [--json]

They run in turn, round after round, so that a machine that is busy for a while is busy for all of
them; what is printed is the median rate and the median of the ratios within a round. Costs, in
seconds and megabytes, are printed as medians too.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from benchmarks.attribution import benchmark_attribution
from benchmarks.comparison import Comparison, measured
from benchmarks.figures import Figures
from benchmarks.memory import benchmark_memory
from benchmarks.model import benchmark_convolution, benchmark_training
from benchmarks.prepare import benchmark_prepare
from benchmarks.pretraining import benchmark_pretraining
from benchmarks.shards import benchmark_shards
from benchmarks.startup import benchmark_startup
from benchmarks.tune import benchmark_tune

from hyena_ray.commands import Parser, run_job

ROUNDS = 5

BENCHMARKS: dict[str, Callable[[Path], Sequence[Comparison | Figures]]] = {
    "prepare": benchmark_prepare,
    "convolution": benchmark_convolution,
    "training": benchmark_training,
    "pretraining": benchmark_pretraining,
    "attribution": benchmark_attribution,
    "shards": benchmark_shards,
    "tune": benchmark_tune,
    "startup": benchmark_startup,
    "memory": benchmark_memory,
}


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="benchmark.py", description=__doc__)
    parser.add_argument("name", choices=list(BENCHMARKS), help="what to time")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that each is run")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    print(f"{os.cpu_count()} CPUs, torch on {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        for timed in BENCHMARKS[given.name](Path(folder)):
            print(timed.title)
            show = _show_costs if isinstance(timed, Figures) else _show_rates
            show(timed, given.rounds, given.json)


def _show_rates(comparison: Comparison, rounds: int, as_json: bool) -> None:
    for line in measured(comparison, rounds):
        if as_json:
            print(json.dumps(line._asdict()))
        else:
            print(f"  {line.who:45} {line.rate:10.3g} {line.unit:16}", end="")
            print(f" ours is {line.ours_over_it:.2f} times as fast")


def _show_costs(figures: Figures, rounds: int, as_json: bool) -> None:
    rows = figures.median(rounds)
    if not as_json:
        columns = next(iter(rows.values()))
        print(" " * 32, *(f"{name:>14}" for name in columns))
    for who, cells in rows.items():
        if as_json:
            print(json.dumps({"title": figures.title, "who": who, **cells}))
        else:
            print(f"  {who:30}", *(f"{value:14.2f}" for value in cells.values()))


if __name__ == "__main__":
    run_job(main)
