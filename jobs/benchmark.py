"""Time ours, a peer and the limit side by side: python jobs/benchmark.py NAME [--json]

They run in turn, round after round, so that a machine that is busy for a while is busy for all of
them; what is printed is the median rate and the median of the ratios within a round.
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
from benchmarks.model import benchmark_convolution, benchmark_training
from benchmarks.prepare import benchmark_prepare
from benchmarks.shards import benchmark_shards

from hyena_ray.commands import Parser, run_job

ROUNDS = 5

BENCHMARKS: dict[str, Callable[[Path], list[Comparison]]] = {
    "prepare": benchmark_prepare,
    "convolution": benchmark_convolution,
    "training": benchmark_training,
    "attribution": benchmark_attribution,
    "shards": benchmark_shards,
}


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="benchmark.py", description=__doc__)
    parser.add_argument("name", choices=list(BENCHMARKS), help="what to time")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that each is run")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    print(f"{os.cpu_count()} CPUs, torch on {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        for comparison in BENCHMARKS[given.name](Path(folder)):
            lines = measured(comparison, given.rounds)
            print(comparison.title)
            for line in lines:
                if given.json:
                    print(json.dumps(line._asdict()))
                else:
                    print(f"  {line.who:45} {line.rate:10.3g} {line.unit:16}", end="")
                    print(f" ours is {line.ours_over_it:.2f} times as fast")


if __name__ == "__main__":
    run_job(main)
