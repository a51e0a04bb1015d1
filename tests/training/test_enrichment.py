"""Enrichment is what a loop over bases and shifts finds, and chance is told from a signal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyena_ray.genome.intervals import true_runs
from hyena_ray.training.enrichment import (
    Calls,
    ScoredGenome,
    TopScores,
    join_runs,
    measure_enrichment,
    shifted_overlaps,
)

STRETCH = 8


def genome_of(region: np.ndarray, sizes: list[int], blocks: int = 1) -> ScoredGenome:
    """A genome whose contigs have some stretches each, in blocks of neighbours."""
    stretches = sum(sizes)
    return ScoredGenome(
        STRETCH,
        np.concatenate(([0], np.cumsum(sizes))),
        np.arange(stretches) * blocks // stretches,
        true_runs(region),
        region.reshape(-1, STRETCH).sum(1),
    )


def calls_of(called: np.ndarray, region: np.ndarray) -> Calls:
    by_stretch = called.reshape(-1, STRETCH)
    inside = (called & region).reshape(-1, STRETCH)
    return Calls(0.5, true_runs(called), by_stretch.sum(1), inside.sum(1))


class GivenShifts:
    """Stands for a random source, and draws given distances."""

    def __init__(self, shifts: int) -> None:
        self._shifts = shifts

    def integers(self, low: int, high: int, count: int) -> np.ndarray:
        return np.arange(count) % high


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_shifted_regions_hold_what_rolled_masks_hold(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    bases = STRETCH * sum(sizes)
    region, called = rng.random(bases) < 0.3, rng.random(bases) < 0.4
    region[rng.integers(bases)] = True
    shifts = STRETCH * max(sizes) + 3
    genome = genome_of(region, sizes)
    found = shifted_overlaps(genome, true_runs(called), GivenShifts(shifts), shifts)  # type: ignore[arg-type]
    expected = np.zeros(shifts)
    edges = (genome.edges * STRETCH).tolist()
    for first, last in pairwise(edges):
        for shift in range(shifts):
            moved = np.roll(region[first:last], shift % (last - first))
            expected[shift] += (moved & called[first:last]).sum()
    np.testing.assert_array_equal(found, expected)


def test_the_fold_is_the_share_of_the_regions_over_that_of_the_genome() -> None:
    rng = np.random.default_rng(0)
    region, called = rng.random(800) < 0.2, rng.random(800) < 0.3
    found = measure_enrichment(genome_of(region, [60, 40], 20), calls_of(called, region), seed=0)
    assert found.called == called.mean()
    assert found.inside == called[region].mean()
    assert found.fold == pytest.approx(called[region].mean() / called.mean())
    assert found.interval.low < found.fold < found.interval.high
    assert found.shifted.low < 1 < found.shifted.high


def test_calls_in_regions_are_told_from_calls_anywhere() -> None:
    rng = np.random.default_rng(1)
    region = np.repeat(rng.random(500) < 0.1, 16)
    genome = genome_of(region, [600, 400], 50)
    anywhere = np.repeat(rng.random(500) < 0.1, 16)
    there = anywhere | (region & np.repeat(rng.random(500) < 0.5, 16))
    planted = measure_enrichment(genome, calls_of(there, region), seed=0)
    chance = measure_enrichment(genome, calls_of(anywhere, region), seed=0)
    assert planted.p_value == 0.001
    assert planted.interval.low > 1
    assert planted.fold > planted.shifted.high
    assert chance.p_value > 0.01
    assert chance.interval.low < 1 < chance.interval.high


def test_p_values_of_clustered_calls_without_a_signal_are_uniform() -> None:
    rng = np.random.default_rng(2)
    values = []
    for _ in range(100):
        region, called = (np.repeat(rng.random(100) < 0.2, 16) for _ in range(2))
        if region.any() and called.any():
            genome = genome_of(region, [200])
            values.append(measure_enrichment(genome, calls_of(called, region), seed=0).p_value)
    assert 0.4 < np.mean(values) < 0.65
    assert np.mean(np.array(values) <= 0.05) < 0.12


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.integers(1, 30), st.integers(2, 12))
def test_the_highest_scores_are_those_of_a_sort(seed: int, most: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, 90) / levels).astype(np.float32)
    labelled = rng.random(90) < 0.3
    top = TopScores(most)
    for first in range(0, 90, 20):
        part = slice(first, min(first + 20, 90))
        top.add(np.arange(90)[part], scores[part], labelled[part])
    allowed = [level for level in np.unique(scores) if (scores >= level).sum() <= most]
    expected = np.flatnonzero(scores >= min(allowed)) if allowed else np.empty(0, int)
    np.testing.assert_array_equal(top.bases, expected)
    np.testing.assert_array_equal(top.labelled, labelled[expected])
    assert top.threshold == (min(allowed) if allowed else np.inf)
    calls = top.highest(most // 2).calls(9, 10)
    fewer = [level for level in np.unique(scores) if (scores >= level).sum() <= most // 2]
    kept = scores >= min(fewer) if fewer else np.zeros(90, bool)
    np.testing.assert_array_equal(calls.called, kept.reshape(9, 10).sum(1))
    np.testing.assert_array_equal(calls.inside, (kept & labelled).reshape(9, 10).sum(1))
    np.testing.assert_array_equal(calls.runs, true_runs(kept))


def test_runs_of_parts_that_touch_are_one() -> None:
    mask = np.array([0, 1, 1, 1, 0, 1, 0, 0, 1], bool)
    first, second = true_runs(mask[:3]), true_runs(mask[3:])
    moved = second._replace(start=second.start + 3, end=second.end + 3)
    np.testing.assert_array_equal(join_runs([first, moved]), true_runs(mask))
    assert not len(join_runs([]).start)
