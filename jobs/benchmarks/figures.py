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
    """Draws a conclusion from the medians, such as a constant and the value that it should have."""
    seconds: float = math.inf
    """Time limit of the rounds: no round starts later."""

    def median(self, rounds: int) -> Rows:
        """Measure the table several times in sequence, and return the median of every cell.

        Args:
            rounds: Rounds to measure. The first one is measured however long it takes.
        """
        started, tables = time.perf_counter(), [self.measure()]
        while len(tables) < rounds and time.perf_counter() - started < self.seconds:
            tables.append(self.measure())
        return {
            who: {name: statistics.median(rows[who][name] for rows in tables) for name in cells}
            for who, cells in tables[0].items()
        }
