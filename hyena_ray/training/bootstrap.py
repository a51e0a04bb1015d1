"""Intervals by resampling blocks of neighbouring windows, since neighbours are not independent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.metrics import Confusion, Numbers, ratio

REPLICATES = 1000
CONTIGS = 10
"""Contigs are the blocks where there are so many; with fewer, pieces of them are."""
BLOCKS = 100
"""About so many pieces."""
_CHUNK = 2048
"""Distinct scores at once: bounds memory to chunk x (replicates + blocks) numbers."""


class Interval(NamedTuple):
    """Percentiles 2.5 and 97.5 of the replicates."""

    low: float
    high: float


class Scored(NamedTuple):
    """Bases, or sequences, with label, score, call, block and weight, (N,) each."""

    labels: NDArray[np.integer]
    """0 or 1."""
    scores: NDArray[np.floating]
    called: NDArray[np.bool_]
    block: NDArray[np.int64]
    """From 0."""
    weight: NDArray[np.float64] | None = None
    """How many of the genome each stands for; None where that is not known."""


def resampling_blocks(contig: NDArray[np.str_], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) block of every window, from 0: its contig, or a run of neighbours on it.

    Args:
        contig: (n,) names.
        start: (n,) first bases.
    """
    names, index = np.unique(contig, return_inverse=True)
    if len(names) >= CONTIGS:
        return index.astype(np.int64)
    size = -(-len(start) // BLOCKS)
    order = np.lexsort((start, index))
    first = np.searchsorted(index[order], np.arange(len(names)))
    rank = np.arange(len(order)) - first[index[order]]
    begins = rank % size == 0
    block = np.empty(len(order), np.int64)
    block[order] = np.cumsum(begins) - 1
    return block


def bootstrap(scored: Scored, *, seed: int, replicates: int = REPLICATES) -> dict[str, Interval]:
    """95 % intervals of F1, MCC, precision, recall and average precision.

    A replicate draws as many blocks as there are, with replacement; one without any positive says
    nothing and is left out. `average_precision_genome` is the weighted one, where weights are
    known.

    Args:
        scored: called at a threshold that was chosen elsewhere.
        seed: of the draws.
        replicates: number of draws.

    Raises:
        ValueError: there is no positive.
    """
    blocks = int(scored.block.max()) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=replicates).astype(np.float64)
    counts = _counts(scored, blocks)
    drawn = times[times @ (counts.tp + counts.fn) > 0]
    if not len(drawn):
        raise ValueError("no base is positive")
    found = Confusion._make(drawn @ part for part in counts)
    values = {name: getattr(found, name) for name in ("f1", "mcc", "precision", "recall")}
    values["average_precision"] = average_precisions(scored._replace(weight=None), drawn)
    if scored.weight is not None:
        values["average_precision_genome"] = average_precisions(scored, drawn)
    return {
        name: Interval(*map(float, np.percentile(value, (2.5, 97.5))))
        for name, value in values.items()
    }


def _counts(scored: Scored, blocks: int) -> Confusion:
    """(blocks,) counts of each."""
    kinds = 2 * scored.called + (scored.labels == 1)
    counts = np.bincount(4 * scored.block + kinds, minlength=4 * blocks)
    tn, fn, fp, tp = counts.reshape(blocks, 4).T.astype(np.float64)
    return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def average_precisions(scored: Scored, times: Numbers) -> Numbers:
    """(R,) average precision where every block counts as often as drawn; one sort for all.

    The sum has a term at each distinct score of a positive. What stands at or above it is, for
    all replicates, the matrix product of their draws with counts by score and block.

    Args:
        scored: calls are not looked at.
        times: (R, blocks) how often each block was drawn; every row with a positive.
    """
    levels = np.unique(scored.scores[scored.labels == 1])[::-1]
    rows = np.flatnonzero(scored.scores >= levels[-1])
    # The highest level that a base stands at or above.
    level = np.searchsorted(-levels, -scored.scores[rows])
    ascending = np.argsort(level, kind="stable")
    level, rows = level[ascending], rows[ascending]
    weight = np.ones(len(rows)) if scored.weight is None else scored.weight[rows]
    weights = np.stack([weight, weight * (scored.labels[rows] == 1)])
    blocks = times.shape[1]
    above, total = np.zeros((2, 1, blocks)), np.zeros(len(times))
    for first in range(0, len(levels), _CHUNK):
        size = min(_CHUNK, len(levels) - first)
        part = slice(*np.searchsorted(level, (first, first + size)))
        cell = (level[part] - first) * blocks + scored.block[rows[part]]
        here = np.stack([np.bincount(cell, w[part], size * blocks) for w in weights])
        here = here.reshape(2, size, blocks)
        upto = above + here.cumsum(1)
        standing, true = upto @ times.T
        total += (here[1] @ times.T * ratio(true, standing)).sum(0)
        above = upto[:, -1:]
    result: Numbers = total / (above[1, 0] @ times.T)
    return result
