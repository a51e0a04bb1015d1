"""Markov models of DNA: what a language model has to beat.

The model of order k predicts a base from the k before it. Its probabilities are interpolated:
p_k(b | c) = (n(cb) + a p_(k-1)(b | c')) / (n(c) + a), where n counts k-mers in the training bases,
c' is the context c without its first base, and p_-1 = 1/4. A context that never occurred thus
gets the probabilities of the next lower order.

Reference: MacKay and Peto 1995, with a fixed a.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.training.genome_stream import PackedBases
from hyena_ray.training.pretrain_record import ALL

ORDERS = tuple(range(1, 9))
"""Orders that are compared with a language model."""
PRIOR = 16.0
"""a of the formula: the number of bases that the next lower order is worth."""
CHUNK = 1 << 22
"""Bases that are counted at once."""


class Loss(NamedTuple):
    """Loss of some bases.

    Example:
        >>> round(Loss(total=math.log(4), bases=1).perplexity, 6)
        4.0
    """

    total: float
    """Sum in nats."""
    bases: int
    """Number of bases that were predicted."""

    @property
    def perplexity(self) -> float:
        """exp of the mean loss."""
        return math.exp(self.total / self.bases)


def perplexities(losses: Mapping[str, Loss]) -> dict[str, float]:
    """Return the perplexity of every contig, and of all bases together under `ALL`.

    Args:
        losses: Losses by contig.
    """
    total = sum(loss.total for loss in losses.values())
    whole = Loss(total, sum(loss.bases for loss in losses.values()))
    return {name: loss.perplexity for name, loss in {**losses, ALL: whole}.items()}


def count_kmers(bases: PackedBases, order: int, *, both_strands: bool) -> list[NDArray[np.int64]]:
    """Count all k-mers of 1 to order + 1 bases, none of which reaches over a stretch's end.

    Args:
        bases: Stretches without N.
        order: Order of the largest model.
        both_strands: Whether to count the reverse complements as well, as a model has seen them.

    Returns:
        Counts for k = 1, 2, ..., each of shape (4,) * k, int64, in the order of the bases.

    Example:
        >>> bases = PackedBases.of([(0, np.array([0, 1, 0, 1], np.uint8))])
        >>> ones, twos = count_kmers(bases, 1, both_strands=False)
        >>> ones.tolist(), int(twos[0, 1]), int(twos[1, 0])
        ([2, 2, 0, 0], 2, 1)
    """
    longest = order + 1
    counts = [np.zeros(4**k, np.int64) for k in range(1, longest + 1)]
    for number in range(len(bases.lengths)):
        codes = bases.stretch(number)
        for chunk in _chunks(codes, longest):
            _add(counts[-1], _numbers(chunk, longest))
        # Shorter k-mers end where a longest one ends, or within the first bases of a stretch.
        for k in range(1, longest):
            _add(counts[k - 1], _numbers(codes[: longest - 1], k))
    tables = [count.reshape((4,) * k) for k, count in enumerate(counts, start=1)]
    for k in range(longest - 1, 0, -1):
        tables[k - 1] = tables[k - 1] + tables[-1].sum(tuple(range(longest - k)))
    if both_strands:
        tables = [table + table.T[(slice(None, None, -1),) * table.ndim] for table in tables]
    return tables


def _add(counts: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
    if len(numbers) < len(counts):  # a draft genome has many short stretches
        np.add.at(counts, numbers, 1)
    else:
        counts += np.bincount(numbers, minlength=len(counts))


def _chunks(codes: NDArray[np.uint8], longest: int) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(codes) - longest + 1, CHUNK):
        yield codes[first : first + CHUNK + longest - 1]


def _numbers(codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """Number every k-mer along the last axis, (..., L - k + 1); none where L < k."""
    count = max(0, codes.shape[-1] - k + 1)
    numbers = np.zeros((*codes.shape[:-1], count), np.int64)
    for offset in range(k):
        numbers *= 4
        numbers += codes[..., offset : offset + count]
    return numbers


def probabilities(tables: Sequence[NDArray[np.int64]], prior: float) -> list[NDArray[np.float64]]:
    """Return p(last base | bases before it) for orders 0, 1, ...

    Args:
        tables: Value of `count_kmers`.
        prior: a of the formula, above 0.

    Returns:
        Probabilities of each order, shape (4,) * (order + 1).
    """
    models: list[NDArray[np.float64]] = []
    lower: NDArray[np.float64] = np.full(4, 0.25)
    for table in tables:
        context = table.sum(-1, keepdims=True)
        lower = (table + prior * lower) / (context + prior)
        models.append(lower)
    return models


def markov_perplexities(
    bases: PackedBases,
    windows: Mapping[str, NDArray[np.uint8]],
    *,
    orders: Sequence[int] = ORDERS,
    both_strands: bool = True,
    prior: float = PRIOR,
) -> dict[int, dict[str, float]]:
    """Return the perplexity of every order by contig, on the bases that a model is scored on.

    Those are all bases of a window but the first, as for the next-base objective. Near a window's
    start, where there are fewer than k bases before one, the model of that lower order predicts it.

    Args:
        bases: Bases whose k-mers are counted.
        windows: Base codes of the scored windows by contig, shape (W, L).
        orders: Orders of the models, each at least 0.
        both_strands: Whether to count the reverse complements as well.
        prior: a of the formula.

    Returns:
        Perplexity by order and contig.

    Raises:
        InputError: The prior is not above 0.
    """
    if prior <= 0:
        raise InputError("prior", prior, "not above 0", "give one above 0")
    if not windows:
        return {}
    tables = count_kmers(bases, max(orders), both_strands=both_strands)
    logs = [np.log(table).reshape(-1) for table in probabilities(tables, prior)]
    by_order = {}
    for order in orders:
        losses = {name: _loss(codes, logs, order) for name, codes in windows.items()}
        by_order[order] = perplexities(losses)
    return by_order


def _loss(codes: NDArray[np.uint8], logs: Sequence[NDArray[np.float64]], order: int) -> Loss:
    total = 0.0
    for position in range(1, min(order, codes.shape[1])):
        numbers = _numbers(codes[:, : position + 1], position + 1)
        total -= float(logs[position][numbers].sum())
    # The first base is not scored, of order 0 neither.
    numbers = _numbers(codes[:, 1 if order == 0 else 0 :], order + 1)
    total -= float(logs[order][numbers].sum())
    return Loss(total, codes.shape[0] * (codes.shape[1] - 1))
