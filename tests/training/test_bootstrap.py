"""Intervals are those of a plain loop over resampled blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from hyena_ray.training import bootstrap as module
from hyena_ray.training.bootstrap import (
    REPLICATES,
    Scored,
    average_precisions,
    bootstrap,
    draw_blocks,
    interval_of,
    resampling_blocks,
)


def random_bases(count: int, blocks: int, seed: int, *, decimals: int = 2) -> Scored:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.2).astype(np.int8)
    scores = np.round(np.clip(rng.normal(0.3 + 0.2 * labels, 0.2), 0, 1), decimals)
    weight = np.where(labels == 1, 1.0, rng.uniform(1, 50, count))
    return Scored(labels, scores, scores >= 0.5, np.sort(rng.integers(0, blocks, count)), weight)


def test_intervals_agree_with_a_plain_loop() -> None:
    scored = random_bases(600, 12, 0)
    blocks = int(scored.block.max()) + 1
    draws = np.random.default_rng(5).multinomial(blocks, [1 / blocks] * blocks, size=100)
    values: dict[str, list[float]] = {}
    for times in draws:
        rows = np.repeat(np.arange(600), times[scored.block])
        labels, called, weight = scored.labels[rows], scored.called[rows], scored.weight[rows]
        for name, metric, predicted in (
            ("f1", f1_score, called),
            ("mcc", matthews_corrcoef, called),
            ("precision", precision_score, called),
            ("recall", recall_score, called),
            ("average_precision", average_precision_score, scored.scores[rows]),
        ):
            value = metric(labels, predicted, sample_weight=weight)
            values.setdefault(name, []).append(float(value))
    found = bootstrap(scored, seed=5, replicates=100)
    assert set(found) == set(values)
    for name, replicates in values.items():
        assert found[name] == pytest.approx(replicates, abs=1e-9), name


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 6]), st.integers(1, 7))
def test_average_precision_is_scikit_learns_whatever_ties_and_chunks(
    seed: int, decimals: int, chunk: int
) -> None:
    scored = random_bases(60, 5, seed, decimals=decimals)
    scored.labels[0] = 1
    times = np.random.default_rng(seed).integers(1, 4, (3, 5)).astype(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        found = average_precisions(scored, times)
    for row, value in zip(times, found, strict=True):
        weight = row[scored.block] * scored.weight
        expected = average_precision_score(scored.labels, scored.scores, sample_weight=weight)
        assert value == pytest.approx(expected)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Blocks of 20 equal calls: taking the bases as independent would cover far less."""
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        right = np.repeat(rng.random(60) < 0.7, 20)
        labels = np.ones(1200, np.int8)
        scored = Scored(labels, right * 0.8, right, np.repeat(np.arange(60), 20), np.ones(1200))
        low, high = interval_of(bootstrap(scored, seed=seed, replicates=200)["recall"])
        covered.append(low <= 0.7 <= high)
    assert 0.88 < np.mean(covered) < 0.99


def test_the_seed_fixes_the_draws_and_scores_do_not_change_them() -> None:
    scored = random_bases(300, 10, 1)
    first, again, other = (bootstrap(scored, seed=seed) for seed in (3, 3, 4))
    for name, values in first.items():
        assert (values == again[name]).all()
        assert (values != other[name]).any()
    guesses = scored._replace(scores=np.zeros(300), called=np.zeros(300, np.bool_))
    np.testing.assert_array_equal(draw_blocks(guesses, seed=3), draw_blocks(scored, seed=3))


def test_a_draw_without_a_positive_has_no_figures_and_widens_no_interval() -> None:
    labels = np.array([1, 0, 0, 0], np.int8)
    scores = np.array([0.9, 0.1, 0.2, 0.3])
    scored = Scored(labels, scores, scores > 0.5, np.arange(4), np.ones(4))
    found = bootstrap(scored, seed=0)
    with_positive = len(draw_blocks(scored, seed=0))
    assert 0 < with_positive < REPLICATES
    for values in found.values():
        assert len(values) == REPLICATES
        assert np.isfinite(values).sum() == with_positive
    for name in ("recall", "average_precision"):
        assert interval_of(found[name]) == (1, 1)
    with pytest.raises(ValueError, match="positive"):
        bootstrap(Scored(0 * labels, scores, scores > 0.5, np.arange(4), np.ones(4)), seed=0)


def test_ten_contigs_are_blocks_themselves() -> None:
    contig = np.repeat([f"chr{i}" for i in range(10)], 3)
    block = resampling_blocks(contig, np.tile([0, 100, 200], 10))
    assert block.tolist() == np.unique(contig, return_inverse=True)[1].tolist()


def test_of_fewer_contigs_neighbours_form_blocks_that_no_contig_shares() -> None:
    contig = np.repeat(["b", "a"], [450, 150])
    start = np.concatenate([np.arange(450)[::-1] * 100, np.arange(150) * 100])
    block = resampling_blocks(contig, start)
    assert set(block) == set(range(100))
    assert (np.bincount(block) == 6).all()
    for number in range(100):
        rows = block == number
        assert len(set(contig[rows])) == 1
        assert np.ptp(start[rows]) == 500
