"""Implementations of the same work, timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

Run = Callable[[], object]


class Comparison(NamedTuple):
    """Implementations of the same work, the first of them ours."""

    title: str
    unit: str
    amount: float
    """Units of work of one run."""
    runs: dict[str, Run]


class Line(NamedTuple):
    """One row of the printed table."""

    title: str
    who: str
    rate: float
    unit: str
    ours_over_it: float


def measured(comparison: Comparison, rounds: int) -> list[Line]:
    """Run everything once to warm up, then in turn."""
    seconds: dict[str, list[float]] = {who: [] for who in comparison.runs}
    for round_number in range(rounds + 1):
        for who, run in comparison.runs.items():
            start = time.perf_counter()
            run()
            if round_number:
                seconds[who].append(time.perf_counter() - start)
    ours = next(iter(seconds.values()))
    return [
        Line(
            comparison.title,
            who,
            comparison.amount / statistics.median(times),
            comparison.unit,
            statistics.median(other / own for own, other in zip(ours, times, strict=True)),
        )
        for who, times in seconds.items()
    ]
