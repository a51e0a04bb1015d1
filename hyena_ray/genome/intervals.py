"""Intervals."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


class Spans(NamedTuple):
    """Intervals of one contig: sorted, and neither overlapping nor touching."""

    start: NDArray[np.int64]
    """(n,) first base, 0-based."""
    end: NDArray[np.int64]
    """(n,) one past the last base."""

    @classmethod
    def none(cls) -> Spans:
        """No interval."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))


def merge(start: NDArray[np.int64], end: NDArray[np.int64]) -> Spans:
    """Sort intervals and join those that overlap or touch."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Spans(start[first], reach[last])


Value = TypeVar("Value", bound=np.generic)


def base_labels(spans: Spans, length: int) -> NDArray[np.int8]:
    """(length,) 1 inside a span and 0 elsewhere."""
    labels = np.zeros(length, np.int8)
    sizes = spans.end - spans.start
    before = np.cumsum(sizes) - sizes
    labels[np.repeat(spans.start - before, sizes) + np.arange(sizes.sum())] = 1
    return labels


def covered_per_tile(spans: Spans, tiles: int, length: int, stride: int) -> NDArray[np.int64]:
    """Count the bases inside spans in each of `tiles` tiles of `length` bases.

    Args:
        stride: from one tile's first base to the next one's; divides the length.

    Returns:
        (tiles,) counts; work grows with tiles and spans, not with bases.
    """
    if not tiles or not len(spans.start):
        return np.zeros(tiles, np.int64)
    steps = length // stride
    edges = np.arange(tiles + steps) * stride
    total = np.concatenate(([0], np.cumsum(spans.end - spans.start)))
    begun = np.searchsorted(spans.start, edges)
    overhang = np.maximum(spans.end[begun - 1] - edges, 0)
    before: NDArray[np.int64] = total[begun] - np.where(begun > 0, overhang, 0)
    return before[steps:] - before[:-steps]


def true_runs(mask: NDArray[np.bool_]) -> Spans:
    """The runs of True in a mask over bases."""
    change = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if mask.size and mask[0]:
        change = np.concatenate(([0], change))
    if mask.size and mask[-1]:
        change = np.concatenate((change, [mask.size]))
    return Spans(change[0::2], change[1::2])


def gather_windows(
    values: NDArray[Value], start: NDArray[np.int64], width: int, fill: int
) -> NDArray[Value]:
    """Cut windows out of an array over bases.

    Args:
        values: (length,) one value per base.
        start: (n,) first base of each window; may lie before 0.
        width: bases per window, which may end past the last base.
        fill: stands where there is no base.

    Returns:
        (n, width), of the dtype of `values`.
    """
    windows = np.full((len(start), width), fill, values.dtype)
    inside = (start >= 0) & (start + width <= len(values))
    if inside.any():
        windows[inside] = sliding_window_view(values, width)[start[inside]]
    for row in np.flatnonzero(~inside):
        first, last = max(int(start[row]), 0), min(int(start[row]) + width, len(values))
        if first < last:
            offset = first - int(start[row])
            windows[row, offset : offset + last - first] = values[first:last]
    return windows
