"""Markov models of DNA: what a language model has to beat.

The model of order k predicts a base from the k before it. Its probabilities are interpolated:
p_k(b | c) = (n(cb) + a p_(k-1)(b | c')) / (n(c) + a), where n counts k-mers in the training bases,
c' is the context c without its first base, and p_-1 = 1/4. A context that never occurred so gets
the probabilities of the next lower order.
Source: MacKay and Peto 1995, with a fixed a.
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
"""That are compared with a model."""
PRIOR = 16.0
"""a: how many bases the next lower order is worth."""
CHUNK = 1 << 22
"""Bases that are counted at once."""


class Loss(NamedTuple):
    """Of some bases."""

    total: float
    """Nats."""
    bases: int

    @property
    def perplexity(self) -> float:
        """exp of the mean."""
        return math.exp(self.total / self.bases)


def perplexities(losses: Mapping[str, Loss]) -> dict[str, float]:
    """By contig, and of all bases together."""
    whole = Loss(sum(of.total for of in losses.values()), sum(of.bases for of in losses.values()))
    return {name: of.perplexity for name, of in {**losses, ALL: whole}.items()}


def count_kmers(bases: PackedBases, order: int, *, both_strands: bool) -> list[NDArray[np.int64]]:
    """Counts of all k-mers of 1 to order + 1 bases, none of which reaches over a stretch's end.

    Args:
        bases: stretches without N.
        order: of the largest model.
        both_strands: count the reverse complements as well, as a model has seen them.

    Returns:
        For k = 1, 2, ...: (4,) * k int64, in the order of the bases.
    """
    longest = order + 1
    counts = [np.zeros(4**k, np.int64) for k in range(1, longest + 1)]
    for number in range(len(bases.lengths)):
        codes = bases.stretch(number)
        for chunk in _chunks(codes, longest):
            _add(counts[-1], _numbers(chunk, longest))
        # Shorter ones: in front of every base that a longest one ends on, and at the start.
        for k in range(1, longest):
            _add(counts[k - 1], _numbers(codes[: longest - 1], k))
    tables = [of.reshape((4,) * k) for k, of in enumerate(counts, start=1)]
    for k in range(longest - 1, 0, -1):
        # A k-mer ends where a longest one does, or within the first bases of its stretch.
        tables[k - 1] = tables[k - 1] + tables[-1].sum(tuple(range(longest - k)))
    if both_strands:
        tables = [of + of.T[(slice(None, None, -1),) * of.ndim] for of in tables]
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
    """The number of every k-mer along the last axis, (..., L - k + 1); none where L < k."""
    count = max(0, codes.shape[-1] - k + 1)
    numbers = np.zeros((*codes.shape[:-1], count), np.int64)
    for offset in range(k):
        numbers *= 4
        numbers += codes[..., offset : offset + count]
    return numbers


def probabilities(tables: Sequence[NDArray[np.int64]], prior: float) -> list[NDArray[np.float64]]:
    """(4,) * (order + 1) float64 for orders 0, 1, ...: p(last base | those before it)."""
    found: list[NDArray[np.float64]] = []
    lower: NDArray[np.float64] = np.full(4, 0.25)
    for table in tables:
        context = table.sum(-1, keepdims=True)
        lower = (table + prior * lower) / (context + prior)
        found.append(lower)
    return found


def markov_perplexities(
    bases: PackedBases,
    windows: Mapping[str, NDArray[np.uint8]],
    *,
    orders: Sequence[int] = ORDERS,
    both_strands: bool = True,
    prior: float = PRIOR,
) -> dict[int, dict[str, float]]:
    """Perplexity of every order by contig, on the bases that a next-base model is scored on.

    That is every base of a window but the first. Near a window's start, where there are fewer than
    k bases before one, the model of that lower order predicts it.

    Args:
        bases: to count.
        windows: (W, L) codes by contig.
        orders: at least 0.
        both_strands: see `count_kmers`.
        prior: a of the formula above.

    Raises:
        InputError: prior is not above 0.
    """
    if prior <= 0:
        raise InputError("prior", prior, "not above 0", "give one above 0")
    if not windows:
        return {}
    tables = count_kmers(bases, max(orders), both_strands=both_strands)
    logs = [np.log(of).reshape(-1) for of in probabilities(tables, prior)]
    found = {}
    for order in orders:
        losses = {name: _loss(codes, logs, order) for name, codes in windows.items()}
        found[order] = perplexities(losses)
    return found


def _loss(codes: NDArray[np.uint8], logs: Sequence[NDArray[np.float64]], order: int) -> Loss:
    total = 0.0
    for position in range(1, min(order, codes.shape[1])):
        numbers = _numbers(codes[:, : position + 1], position + 1)
        total -= float(logs[position][numbers].sum())
    # The first base is not scored, of order 0 neither.
    numbers = _numbers(codes[:, 1 if order == 0 else 0 :], order + 1)
    total -= float(logs[order][numbers].sum())
    return Loss(total, codes.shape[0] * (codes.shape[1] - 1))
