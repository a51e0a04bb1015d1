"""Intervals of a contig as arrays: merged, turned into labels per base, counted in tiles.

Nothing here loops over bases. Coordinates are 0-based and half-open.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)


class Intervals(NamedTuple):
    """Intervals of one contig: sorted, neither overlapping nor touching."""

    start: NDArray[np.int64]
    """(n,) first base of each interval, 0-based."""
    end: NDArray[np.int64]
    """(n,) one past the last base of each interval."""

    @classmethod
    def empty(cls) -> Intervals:
        """Return no intervals."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


def merge_intervals(start: NDArray[np.int64], end: NDArray[np.int64]) -> Intervals:
    """Sort intervals and join those that overlap or touch.

    Args:
        start: (n,) first base of each interval, 0-based, in any order; n is at least 1.
        end: (n,) one past the last base of each interval.

    Returns:
        Intervals that cover the same bases.

    Example:
        >>> merged = merge_intervals(np.array([8, 0, 3]), np.array([9, 3, 5]))
        >>> merged.start.tolist(), merged.end.tolist()
        ([0, 8], [5, 9])
    """
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Intervals(start[first], reach[last])


def true_runs(mask: NDArray[np.bool_]) -> Intervals:
    """Find the runs of True in a mask over bases.

    Args:
        mask: (length,) bool.

    Returns:
        One interval for each run.

    Example:
        >>> runs = true_runs(np.array([True, True, False, True]))
        >>> runs.start.tolist(), runs.end.tolist()
        ([0, 3], [2, 4])
    """
    change = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if mask.size and mask[0]:
        change = np.concatenate(([0], change))
    if mask.size and mask[-1]:
        change = np.concatenate((change, [mask.size]))
    return Intervals(change[0::2], change[1::2])


def label_bases(intervals: Intervals, length: int) -> NDArray[np.int8]:
    """Label the bases of a contig that are inside an interval.

    Args:
        intervals: Intervals that end within the contig.
        length: Bases of the contig.

    Returns:
        (length,) int8, 1 inside an interval and 0 elsewhere.
    """
    labels = np.zeros(length, np.int8)
    sizes = intervals.end - intervals.start
    before = np.cumsum(sizes) - sizes
    labels[np.repeat(intervals.start - before, sizes) + np.arange(sizes.sum())] = 1
    return labels


def count_covered_bases(
    intervals: Intervals, start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the bases inside intervals between two positions, many times over.

    The work grows with the positions and intervals, not with bases.

    Args:
        intervals: The intervals.
        start: (n,) first positions.
        end: (n,) one past the last positions.

    Returns:
        (n,) counts.

    Example:
        >>> intervals = Intervals(np.array([2, 8]), np.array([5, 9]))
        >>> count_covered_bases(intervals, np.array([0, 4]), np.array([4, 20])).tolist()
        [2, 2]
    """
    if not len(intervals.start):
        return np.zeros(len(start), np.int64)
    total = np.concatenate(([0], np.cumsum(intervals.end - intervals.start)))

    def before(position: NDArray[np.int64]) -> NDArray[np.int64]:
        started = np.searchsorted(intervals.start, position)
        overhang = np.maximum(intervals.end[started - 1] - position, 0)
        covered: NDArray[np.int64] = total[started] - np.where(started > 0, overhang, 0)
        return covered

    return before(end) - before(start)


def gather_windows(
    values: NDArray[Value], start: NDArray[np.int64], width: int, fill: int
) -> NDArray[Value]:
    """Cut windows out of an array over bases.

    Args:
        values: (length,) one value per base, or (length, k) several.
        start: (n,) first base of each window, 0-based; may be before 0.
        width: Bases of a window, which may end past the last base.
        fill: Value where there is no base.

    Returns:
        (n, width) windows, or (n, width, k), of the dtype of `values`.

    Example:
        >>> gather_windows(np.array([5, 6, 7]), np.array([-1, 1]), 3, fill=0).tolist()
        [[0, 5, 6], [6, 7, 0]]
    """
    windows = np.full((len(start), width, *values.shape[1:]), fill, values.dtype)
    inside = (start >= 0) & (start + width <= len(values))
    if inside.any():
        every = np.moveaxis(sliding_window_view(values, width, axis=0), -1, 1)
        windows[inside] = every[start[inside]]
    for row in np.flatnonzero(~inside):
        first, last = max(int(start[row]), 0), min(int(start[row]) + width, len(values))
        if first < last:
            offset = first - int(start[row])
            windows[row, offset : offset + last - first] = values[first:last]
    return windows
