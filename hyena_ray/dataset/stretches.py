"""Stretches of a genome on which models are scored, each with windows of its own length.

A figure that is computed on windows depends on their length: the share of labelled bases falls as
windows without a label grow. Held-out data are therefore stretches, drawn once. A model reads a
stretch as it would in a scan: with windows side by side, from its first base on, and the flanks
that it needs. The last window ends where the stretch ends; what it shares with the window before
counts there alone. Every base has one score, and the scores of a stretch are the same bases for
every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import Count
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.genome.negatives import KINDS, LABELLED

Value = TypeVar("Value", bound=np.generic)


def window_offsets(stretch: int, length: int) -> NDArray[np.int64]:
    """Return where the windows of a stretch begin.

    Args:
        stretch: Bases of the stretch.
        length: Bases of a window, at most those of the stretch.

    Returns:
        (k,) offsets from the first base of the stretch, ascending.

    Example:
        >>> window_offsets(1024, 256).tolist(), window_offsets(250, 100).tolist()
        ([0, 256, 512, 768], [0, 100, 150])
    """
    count = -(-stretch // length)
    return np.minimum(np.arange(count, dtype=np.int64) * length, stretch - length)


def cut_labels(labels: NDArray[np.int8], length: int) -> NDArray[np.int8]:
    """Cut the labels of stretches into those of their windows.

    Args:
        labels: Labels, shape (m, stretch).
        length: Bases of a window.

    Returns:
        Labels, shape (m * k, length); `IGNORED` for a base that the window before has as well.

    Example:
        >>> cut_labels(np.array([[0, 1, 2]], np.int8), 2).tolist()
        [[0, 1], [-100, 2]]
    """
    stretch = labels.shape[1]
    offsets = window_offsets(stretch, length)
    windows = sliding_window_view(labels, length, axis=1)[:, offsets].copy()
    windows[:, -1, : len(offsets) * length - stretch] = IGNORED
    return windows.reshape(-1, length)


def join_windows(values: NDArray[Value], stretch: int) -> NDArray[Value]:
    """Join values of the bases of windows to values of the bases of stretches.

    Args:
        values: One value for each base of each window, shape (m * k, length).
        stretch: Bases of a stretch.

    Returns:
        Shape (m, stretch), of the dtype of `values`.

    Example:
        >>> join_windows(np.array([[5, 6], [0, 7]]), 3).tolist()
        [[5, 6, 7]]
    """
    length = values.shape[1]
    count = len(window_offsets(stretch, length))
    windows = values.reshape(-1, count, length)
    last = windows[:, -1, count * length - stretch :]
    before = windows[:, :-1].reshape(len(windows), -1)
    return np.concatenate((before, last), axis=1)


def cut_windows(stretches: Windows, length: int) -> Windows:
    """Cut stretches into their windows.

    Args:
        stretches: m stretches with their flanks.
        length: Bases of a window.

    Returns:
        m * k windows with the same flanks, in the order of the genome.
    """
    labels = stretches.labels
    offsets = window_offsets(labels.shape[1], length)
    width = stretches.tokens.shape[1] - labels.shape[1] + length
    # (m, k, width), and where the data have tracks (m, k, width, 1 + tracks).
    tokens = np.moveaxis(sliding_window_view(stretches.tokens, width, axis=1)[:, offsets], -1, 2)
    return Windows(
        window_id=(stretches.window_id[:, None] + offsets).ravel(),
        contig=np.repeat(stretches.contig, len(offsets)),
        start=(stretches.start[:, None] + offsets).ravel(),
        tokens=tokens.reshape(-1, *tokens.shape[2:]),
        labels=cut_labels(labels, length),
        kind=np.repeat(stretches.kind, len(offsets)),
    )


def genome_weights(stretches: Windows, counts: Sequence[Count]) -> NDArray[np.float64]:
    """Return how many stretches of the genome each stretch represents.

    A stretch with a label represents itself, since all of them were taken, and one without
    represents candidates / drawn of its contig and stratum. Candidates of contigs of which none was
    drawn are spread over the stretches of their stratum on the others, or, if that has none, over
    all stretches without a label.

    Args:
        stretches: m stretches of one split.
        counts: Counts of that split by contig.

    Returns:
        Weights, shape (m,).
    """
    weight = np.ones(len(stretches.start))
    negative = stretches.kind != KINDS[LABELLED]
    unseen = 0
    for kind in dict.fromkeys(kind for count in counts for kind in count.kinds):
        of_kind = {count.contig: count.kinds[kind] for count in counts if kind in count.kinds}
        drawn = {name: number for name, number in of_kind.items() if number.drawn}
        total = sum(number.candidates for number in of_kind.values())
        if not drawn:
            unseen += total
            continue
        spread = total / sum(number.candidates for number in drawn.values())
        rows = np.flatnonzero(stretches.kind == KINDS[kind])
        rate = {name: spread * number.candidates / number.drawn for name, number in drawn.items()}
        names, index = np.unique(stretches.contig[rows], return_inverse=True)
        weight[rows] = np.array([rate.get(name, 1.0) for name in names.tolist()])[index]
    if unseen and negative.any():
        weight[negative] *= 1 + unseen / weight[negative].sum()
    return weight
