"""Implementations of the same work, timed in turn."""

from __future__ import annotations

import logging
import math
import statistics
import textwrap
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.limits import Limits
from benchmarks.operations import Work
from hyena_ray.model.devices import finish

logger = logging.getLogger(__name__)

Run = Callable[[], object]
"""Does the work once. It may return the `Work` that it did, else it did the amount of all."""
CPU = torch.device("cpu")


class Comparison(NamedTuple):
    """Implementations of the same work, the first of them ours."""

    title: str
    unit: str
    amount: float
    """Units of work of a run that does not say how many it did."""
    runs: Mapping[str, Run]
    device: torch.device = CPU
    """Device that is waited for before the clock is read."""
    limits: Limits | None = None
    """Limits of the device, of which runs that return their work say what share they reach."""
    seconds: float = math.inf
    """Time that the rounds may take: no further one starts after it."""


class Line(NamedTuple):
    """One row of the printed table."""

    title: str
    who: str
    rate: float
    """Median over the rounds; NaN of a run that failed."""
    unit: str
    ours_over_it: float
    """Median of the ratios within a round; NaN where ours or it failed."""
    rounds: int
    """Rounds that were measured."""
    shares: dict[str, float]
    """Fraction of each limit of the device that was reached."""
    failure: str | None
    """Why it failed."""

    @property
    def text(self) -> str:
        """The figures for people."""
        if self.failure is not None:
            return f"failed: {self.failure}"
        shares = "".join(f"  {name} {share:.1%}" for name, share in self.shares.items())
        rate, ratio = f"{self.rate:10.3g} {self.unit:16}", f"{self.ours_over_it:.2f}"
        return f"{rate} ours is {ratio} times as fast{shares}"


class Timing(NamedTuple):
    """One run of one implementation."""

    rate: float
    """Units of work in a second."""
    shares: dict[str, float]
    """Fraction of each limit of the device."""


def measured(comparison: Comparison, rounds: int) -> list[Line]:
    """Run everything once to warm up, then in turn. A run that fails is left out from then on.

    Args:
        comparison: What is compared.
        rounds: Rounds to measure. The first is, however long it takes.
    """
    failures: dict[str, str] = {}
    _round(comparison, failures)
    started, found = time.perf_counter(), [_round(comparison, failures)]
    while len(found) < rounds and time.perf_counter() - started < comparison.seconds:
        found.append(_round(comparison, failures))
    return [_line(comparison, who, found, failures) for who in comparison.runs]


def lazily(make: Callable[[], Run]) -> Run:
    """Return a run that is prepared by its first call, so that it fails alone if that fails.

    Args:
        make: Prepares the run.
    """
    made = cache(make)
    return lambda: made()()


def failure_of(error: Exception) -> str:
    """Return an error in one line, with the place in this project that raised it.

    Args:
        error: Error of a run.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {textwrap.shorten(' '.join(lines), 300)}{place}"


def _round(comparison: Comparison, failures: dict[str, str]) -> dict[str, Timing]:
    """Run everything once, except what is among the failures, to which what fails is added."""
    timings = {}
    for who, run in comparison.runs.items():
        if who in failures:
            continue
        try:
            timings[who] = _timed(run, comparison)
        except Exception as error:
            failures[who] = failure_of(error)
            logger.warning("%s: %s failed: %s", comparison.title, who, failures[who])
    return timings


def _timed(run: Run, comparison: Comparison) -> Timing:
    finish(comparison.device)
    start = time.perf_counter()
    done = run()
    finish(comparison.device)
    seconds = time.perf_counter() - start
    if not isinstance(done, Work):
        return Timing(comparison.amount / seconds, {})
    limits = comparison.limits
    return Timing(done.units / seconds, {} if limits is None else limits.shares(done.cost, seconds))


def _line(
    comparison: Comparison,
    who: str,
    found: list[dict[str, Timing]],
    failures: dict[str, str],
) -> Line:
    ours = next(iter(comparison.runs))
    its = [] if who in failures else [timings[who] for timings in found]
    both = not failures.keys() & {who, ours}
    ratios = [timings[ours].rate / timings[who].rate for timings in found] if both else []
    return Line(
        title=comparison.title,
        who=who,
        rate=_median([timing.rate for timing in its]),
        unit=comparison.unit,
        ours_over_it=_median(ratios),
        rounds=len(its),
        shares={
            name: _median([timing.shares[name] for timing in its])
            for name in (its[0].shares if its else ())
        },
        failure=failures.get(who),
    )


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else math.nan
