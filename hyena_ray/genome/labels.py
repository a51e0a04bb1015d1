"""Per-base labels and coverage of intervals, without a loop over bases.

In: `Spans`.  Out: arrays over bases or tiles.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hyena_ray.genome.intervals import Spans

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


def spans_of(mask: NDArray[np.bool_]) -> Spans:
    """The runs of True in a mask over bases."""
    change = np.flatnonzero(mask[1:] != mask[:-1]) + 1
    if mask.size and mask[0]:
        change = np.concatenate(([0], change))
    if mask.size and mask[-1]:
        change = np.concatenate((change, [mask.size]))
    return Spans(change[0::2], change[1::2])


def gather(
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
