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
"""Does the work once. It may return the `Work` that it did; otherwise it did the comparison's
`amount`."""
CPU = torch.device("cpu")


class Comparison(NamedTuple):
    """Implementations of the same work, the first of them ours."""

    title: str
    unit: str
    amount: float
    """Units of work of a run that does not return its `Work`."""
    runs: Mapping[str, Run]
    device: torch.device = CPU
    """Device that is synchronised before the clock is read."""
    limits: Limits | None = None
    """Limits of the device, with which the work that runs return is compared."""
    seconds: float = math.inf
    """Time limit of the rounds: no round starts later."""


class Line(NamedTuple):
    """One row of the printed table."""

    title: str
    who: str
    rate: float
    """Median over the rounds; NaN if the run failed."""
    unit: str
    ours_over_it: float
    """Median of the ratios within a round; NaN if ours or this run failed."""
    rounds: int
    """Number of rounds that were measured."""
    shares: dict[str, float]
    """Fraction of each limit of the device that was reached."""
    failure: str | None
    """Reason of the failure; None if the run did not fail."""

    @property
    def text(self) -> str:
        """The figures, formatted for people."""
        if self.failure is not None:
            return f"failed: {self.failure}"
        shares = "".join(f"  {name} {share:.1%}" for name, share in self.shares.items())
        rate, ratio = f"{self.rate:10.3g} {self.unit:16}", f"{self.ours_over_it:.2f}"
        return f"{rate} ours is {ratio} times as fast{shares}"


class Timing(NamedTuple):
    """One run of one implementation."""

    rate: float
    """Units of work per second."""
    shares: dict[str, float]
    """Fraction of each limit of the device that was reached."""


def measured(comparison: Comparison, rounds: int) -> list[Line]:
    """Run everything once to warm up, then in turn. A run that fails is left out from then on.

    Args:
        comparison: What is compared.
        rounds: Rounds to measure. The first one is measured however long it takes.
    """
    failures: dict[str, str] = {}
    _round(comparison, failures)
    started, timings = time.perf_counter(), [_round(comparison, failures)]
    while len(timings) < rounds and time.perf_counter() - started < comparison.seconds:
        timings.append(_round(comparison, failures))
    return [_line(comparison, who, timings, failures) for who in comparison.runs]


def lazily(make: Callable[[], Run]) -> Run:
    """Return a run that is prepared on its first call, so an error in `make` fails only this run.

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
    """Run everything once, except what has failed before, and add new failures to `failures`."""
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
    rounds: list[dict[str, Timing]],
    failures: dict[str, str],
) -> Line:
    ours = next(iter(comparison.runs))
    timings = [] if who in failures else [measurement[who] for measurement in rounds]
    both = not failures.keys() & {who, ours}
    ratios = [each[ours].rate / each[who].rate for each in rounds] if both else []
    return Line(
        title=comparison.title,
        who=who,
        rate=_median([timing.rate for timing in timings]),
        unit=comparison.unit,
        ours_over_it=_median(ratios),
        rounds=len(timings),
        shares={
            name: _median([timing.shares[name] for timing in timings])
            for name in (timings[0].shares if timings else ())
        },
        failure=failures.get(who),
    )


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else math.nan
