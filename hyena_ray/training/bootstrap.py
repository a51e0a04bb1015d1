"""Intervals by resampling blocks of neighbouring stretches, since neighbours are not independent.

scipy.stats.bootstrap resamples single observations and computes a statistic anew for each draw;
here blocks are drawn, and all draws share one sort and one pass of counting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.metrics import Confusion, Numbers, ratio

REPLICATES = 1000
"""Draws of an interval."""
CONTIGS = 10
"""Least number of contigs that serve as blocks; with fewer, pieces of them do."""
BLOCKS = 100
"""Number of pieces, about."""
_CHUNK = 2048
"""Distinct scores at once, which bounds memory to chunk x (replicates + blocks) numbers."""


Replicates = dict[str, Numbers]
"""Figures of every draw, shape (R,) each, by name; NaN in a draw without any positive."""


class Interval(NamedTuple):
    """Interval that holds 95 % of the replicates."""

    low: float
    """Percentile 2.5."""
    high: float
    """Percentile 97.5."""


class Scored(NamedTuple):
    """Bases, or sequences, with label, score, call, block and weight, shape (N,) each."""

    labels: NDArray[np.integer]
    """Label, 0 or 1."""
    scores: NDArray[np.floating]
    """Probability of class 1."""
    called: NDArray[np.bool_]
    """Whether it is called, at a threshold that was chosen elsewhere."""
    block: NDArray[np.int64]
    """Block that it is resampled with, from 0."""
    weight: NDArray[np.float64]
    """Number of bases, or sequences, that it represents; those of weight 0 do not count."""


def resampling_blocks(contig: NDArray[np.str_], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assign every stretch, or sequence, to a block: its contig, or a run of neighbours on it.

    Args:
        contig: Names of their contigs, shape (n,).
        start: Their first bases, shape (n,), 0-based.

    Returns:
        Blocks from 0, shape (n,).
    """
    names, index = np.unique(contig, return_inverse=True)
    if len(names) >= CONTIGS:
        return index.astype(np.int64)
    size = -(-len(start) // BLOCKS)
    order = np.lexsort((start, index))
    first = np.searchsorted(index[order], np.arange(len(names)))
    rank = np.arange(len(order)) - first[index[order]]
    starts_block = rank % size == 0
    block = np.empty(len(order), np.int64)
    block[order] = np.cumsum(starts_block) - 1
    return block


def bootstrap(scored: Scored, *, seed: int, replicates: int = REPLICATES) -> Replicates:
    """Return F1, MCC, precision, recall and average precision of every replicate.

    A replicate draws as many blocks as there are, with replacement. Labels and weights alone decide
    the draws: those of two models on the same labels are pairs.

    Args:
        scored: Labels, scores and calls by block.
        seed: Seed of the draws.
        replicates: Number of draws.

    Raises:
        ValueError: There is no positive.
    """

    def measure(drawn: Numbers) -> Replicates:
        totals = Confusion._make(drawn @ part for part in _counts(scored, drawn.shape[1]))
        values = {name: getattr(totals, name) for name in ("f1", "mcc", "precision", "recall")}
        return values | {"average_precision": average_precisions(scored, drawn)}

    return measure_draws(measure, scored, seed=seed, replicates=replicates)


def measure_draws(
    measure: Callable[[Numbers], Replicates],
    scored: Scored,
    *,
    seed: int,
    replicates: int = REPLICATES,
) -> Replicates:
    """Return figures of every draw of blocks, NaN where a draw has no positive.

    The draws of two figures are pairs whatever positives each of them needs.

    Args:
        measure: Computes figures of draws with a positive, from the number of times that each block
            was drawn, shape (R, blocks).
        scored: Labels and weights by block.
        seed: Seed of the draws.
        replicates: Number of draws.

    Raises:
        ValueError: There is no positive.
    """
    times, has_positive = _draws(scored, seed, replicates)
    values = {}
    for name, found in measure(times[has_positive]).items():
        values[name] = np.full(replicates, np.nan)
        values[name][has_positive] = found
    return values


def draw_blocks(scored: Scored, *, seed: int, replicates: int = REPLICATES) -> Numbers:
    """Draw as many blocks as there are, with replacement, for each replicate.

    Args:
        scored: Labels and weights by block.
        seed: Seed of the draws.
        replicates: Number of draws.

    Returns:
        Number of times that each block was drawn, shape (R, blocks); replicates without a positive
        are left out.

    Raises:
        ValueError: There is no positive.
    """
    times, has_positive = _draws(scored, seed, replicates)
    drawn: Numbers = times[has_positive]
    return drawn


def _draws(scored: Scored, seed: int, replicates: int) -> tuple[Numbers, NDArray[np.bool_]]:
    """Return the draws, shape (R, blocks), and which of them have a positive."""
    blocks = int(scored.block.max()) + 1
    rng = np.random.default_rng(seed)
    times = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=replicates).astype(np.float64)
    positive = np.bincount(scored.block, scored.weight * (scored.labels == 1), blocks)
    has_positive = times @ positive > 0
    if not has_positive.any():
        raise ValueError("no base is positive")
    return times, has_positive


def interval_of(values: Numbers) -> Interval:
    """Return the interval that holds 95 % of the replicates, those that are NaN left out.

    Args:
        values: A figure of every replicate, shape (R,).
    """
    return Interval(*map(float, np.nanpercentile(values, (2.5, 97.5))))


def intervals_by_name(replicates: Replicates) -> dict[str, Interval]:
    """Return the interval of every figure that holds 95 % of its replicates.

    Args:
        replicates: The figures.
    """
    return {name: interval_of(values) for name, values in replicates.items()}


def intervals_of(values: Numbers) -> tuple[Interval, ...]:
    """Return the intervals that hold 95 % of the replicates of several figures.

    Args:
        values: Figures of every replicate, shape (R, n).
    """
    edges = np.percentile(values, (2.5, 97.5), axis=0)
    return tuple(Interval(*pair) for pair in edges.T.tolist())


def _counts(scored: Scored, blocks: int) -> Confusion:
    """Add up the weights of right and wrong calls in every block, shape (blocks,)."""
    kinds = 2 * scored.called + (scored.labels == 1)
    sums = np.bincount(4 * scored.block + kinds, scored.weight, minlength=4 * blocks)
    tn, fn, fp, tp = sums.reshape(blocks, 4).T.astype(np.float64)
    return Confusion(tp=tp, fp=fp, fn=fn, tn=tn)


def average_precisions(scored: Scored, times: Numbers) -> Numbers:
    """Return the average precision of every replicate, with one sort for all.

    The sum has a term at each distinct score of a positive. The number of bases at or above it is,
    for all replicates, the matrix product of their draws with counts by score and block.

    Args:
        scored: Labels, scores and weights by block; calls are not used.
        times: Number of times that each block was drawn, shape (R, blocks); every row draws a
            positive.

    Returns:
        Average precisions, shape (R,).
    """
    levels = np.unique(scored.scores[(scored.labels == 1) & (scored.weight > 0)])[::-1]
    rows = np.flatnonzero(scored.scores >= levels[-1])
    # The highest level that a base's score reaches.
    level = np.searchsorted(-levels, -scored.scores[rows])
    ascending = np.argsort(level, kind="stable")
    level, rows = level[ascending], rows[ascending]
    weight = scored.weight[rows]
    weights = np.stack([weight, weight * (scored.labels[rows] == 1)])
    blocks = times.shape[1]
    above, total = np.zeros((2, 1, blocks)), np.zeros(len(times))
    for first in range(0, len(levels), _CHUNK):
        size = min(_CHUNK, len(levels) - first)
        part = slice(*np.searchsorted(level, (first, first + size)))
        cell = (level[part] - first) * blocks + scored.block[rows[part]]
        here = np.stack([np.bincount(cell, w[part], size * blocks) for w in weights])
        here = here.reshape(2, size, blocks)
        up_to = above + here.cumsum(1)
        called, true = up_to @ times.T
        total += (here[1] @ times.T * ratio(true, called)).sum(0)
        above = up_to[:, -1:]
    result: Numbers = total / (above[1, 0] @ times.T)
    return result
