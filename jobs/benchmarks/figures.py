"""Tables of seconds and bytes, each measured as a whole."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Rows = Mapping[str, Mapping[str, float]]
"""Measurements by column, by row."""


class Figures(NamedTuple):
    """A table of measurements."""

    title: str
    measure: Callable[[], Rows]
    """Measures all rows once; every row has the same columns."""
    conclude: Callable[[Rows], Mapping[str, float]] = lambda rows: {}
    """What follows from the medians, such as a constant and what it should be."""
    seconds: float = math.inf
    """Time that the rounds may take: no further one starts after it."""

    def median(self, rounds: int) -> Rows:
        """Return the median of every cell over rounds that run one after the other.

        Args:
            rounds: Rounds to measure. The first is, however long it takes.
        """
        started, found = time.perf_counter(), [self.measure()]
        while len(found) < rounds and time.perf_counter() - started < self.seconds:
            found.append(self.measure())
        return {
            who: {name: statistics.median(rows[who][name] for rows in found) for name in cells}
            for who, cells in found[0].items()
        }
