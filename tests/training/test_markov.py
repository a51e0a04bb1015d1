"""Markov baselines: counts and perplexities as a plain loop finds them."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.errors import InputError
from hyena_ray.training import markov
from hyena_ray.training.genome_stream import PackedBases
from hyena_ray.training.markov import count_kmers, markov_perplexities, probabilities
from hyena_ray.training.pretrain_record import ALL

STRETCH = st.lists(st.integers(0, 3), min_size=1, max_size=30)


def packed(stretches: list[list[int]]) -> PackedBases:
    return PackedBases.of((n, np.array(codes, np.uint8)) for n, codes in enumerate(stretches))


def kmers(stretches: list[list[int]], k: int, *, both_strands: bool) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for codes in stretches:
        for first in range(len(codes) - k + 1):
            kmer = tuple(codes[first : first + k])
            counts[kmer] += 1
            if both_strands:
                counts[tuple(3 - base for base in reversed(kmer))] += 1
    return counts


def probability(
    counts: list[Counter[tuple[int, ...]]], context: tuple[int, ...], base: int, prior: float
) -> float:
    """By the formula, from the highest order down."""
    lower = 0.25 if not context else probability(counts, context[1:], base, prior)
    kmers_of_order = counts[len(context)]
    whole = sum(kmers_of_order[(*context, other)] for other in range(4))
    return (kmers_of_order[(*context, base)] + prior * lower) / (whole + prior)


@pytest.mark.parametrize("both_strands", [False, True])
@given(st.lists(STRETCH, min_size=1, max_size=4), st.integers(0, 3), st.integers(1, 5))
def test_counts_are_those_of_a_loop_and_no_kmer_reaches_over_an_end(
    both_strands: bool, stretches: list[list[int]], order: int, chunk: int
) -> None:
    before, markov.CHUNK = markov.CHUNK, chunk
    try:
        tables = count_kmers(packed(stretches), order, both_strands=both_strands)
    finally:
        markov.CHUNK = before
    assert len(tables) == order + 1
    for k, table in enumerate(tables, start=1):
        expected = kmers(stretches, k, both_strands=both_strands)
        assert table.shape == (4,) * k
        assert {tuple(map(int, at)): int(table[tuple(at)]) for at in np.argwhere(table)} == dict(
            expected
        )


@given(st.lists(STRETCH, min_size=1, max_size=3), st.integers(0, 3), st.integers(2, 7))
def test_perplexities_are_those_of_a_loop(
    stretches: list[list[int]], order: int, length: int
) -> None:
    prior, rng = 2.5, np.random.default_rng(length)
    windows = {name: rng.integers(0, 4, (3, length), np.uint8) for name in ("a", "b")}
    found = markov_perplexities(
        packed(stretches), windows, orders=(order,), both_strands=True, prior=prior
    )[order]
    counts = [kmers(stretches, k, both_strands=True) for k in range(1, order + 2)]
    every = []
    for name, rows in windows.items():
        losses = []
        for row in rows.tolist():
            for at in range(1, length):
                context = tuple(row[max(0, at - order) : at])
                losses.append(-math.log(probability(counts, context, row[at], prior)))
        every += losses
        assert found[name] == pytest.approx(math.exp(np.mean(losses)))
    assert found[ALL] == pytest.approx(math.exp(np.mean(every)))


def test_probabilities_of_every_context_add_up_to_one() -> None:
    bases = packed([np.random.default_rng(0).integers(0, 4, 50).tolist()])
    for table in probabilities(count_kmers(bases, 5, both_strands=False), 16.0):
        assert table.sum(-1) == pytest.approx(1)
        assert (table > 0).all()


def test_the_order_of_the_source_is_the_best_one() -> None:
    rng = np.random.default_rng(0)
    codes = list(rng.integers(0, 4, 2))
    for draw in rng.random(60_000):  # the base before the last one comes again, mostly
        codes.append(codes[-2] if draw < 0.7 else int(draw * 1e6) % 4)
    train, test = codes[:50_000], np.array(codes[50_000:], np.uint8)[:10_000].reshape(20, 500)
    found = markov_perplexities(packed([train]), {"c": test}, both_strands=False)
    best = min(found, key=lambda order: found[order]["c"])
    assert best == 2
    assert found[1]["c"] > 1.5 * found[2]["c"]
    same, other = 0.7 + 0.3 / 4, 0.3 / 4
    entropy = -(same * math.log(same) + 3 * other * math.log(other))
    assert found[2]["c"] == pytest.approx(math.exp(entropy), rel=0.03)


def test_a_prior_of_nothing_is_refused_and_no_windows_have_no_perplexity() -> None:
    bases = packed([[0, 1, 2, 3]])
    with pytest.raises(InputError, match="prior: 0: not above 0"):
        markov_perplexities(bases, {"c": np.zeros((1, 4), np.uint8)}, prior=0)
    assert markov_perplexities(bases, {}) == {}
