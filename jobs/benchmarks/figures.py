"""Costs that are no rates: seconds and bytes, as tables that are measured as a whole."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

Rows = Mapping[str, Mapping[str, float]]
"""Who, and what was measured of them."""


class Figures(NamedTuple):
    """One table."""

    title: str
    measure: Callable[[], Rows]
    """All rows once; the same columns in each."""

    def median(self, rounds: int) -> Rows:
        """Of every cell, over rounds that are run one after the other."""
        found = [self.measure() for _ in range(rounds)]
        return {
            who: {name: statistics.median(rows[who][name] for rows in found) for name in cells}
            for who, cells in found[0].items()
        }
