from typing import get_args

import numpy as np
import pytest
from scipy import stats

from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, KmerSums, fold_kmers
from hyena_ray.attribution.tables import (
    Ranking,
    benjamini_hochberg,
    kmer_names,
    kmer_table,
    shrink,
    true_positive_table,
)


def draw(windows, length=40, seed=0, shift=0.0, shared=1.0):
    """Windows whose bases share a random level; G scores `shift` more than the rest."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 4, (windows, length)).astype(np.uint8)
    scores = rng.normal(size=(windows, length)) + shared * rng.normal(size=(windows, 1))
    return bases, (scores + shift * (bases == 2)).astype(np.float32)


def rows_of(table):
    return {row["kmer"]: row for row in table.to_pylist()}


@pytest.mark.parametrize("by", get_args(Ranking))
def test_columns_are_those_of_the_contract_and_rows_are_sorted_by_score_then_kmer(by):
    table = kmer_table(fold_kmers(*draw(20), KmerConfig(k=3)), by=by)
    assert table.column_names == [
        *("kmer", "count", "windows", "score", "shrunken_score", "sd"),
        *("ci_low", "ci_high", "background", "p_value", "q_value"),
    ]
    keys = [
        (-score, kmer)
        for score, kmer in zip(table[by].to_pylist(), table["kmer"].to_pylist(), strict=True)
    ]
    assert keys == sorted(keys)


def test_ties_are_in_the_order_of_the_kmers():
    bases = np.array([[3, 2, 1, 0]], np.uint8)
    table = kmer_table(fold_kmers(bases, np.ones((1, 4), np.float32), KmerConfig(k=1)))
    assert table["kmer"].to_pylist() == ["A", "C", "G", "T"]


def test_score_and_sd_are_those_of_the_occurrences():
    bases, scores = draw(10)
    row = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=1))))["G"]
    values = scores[bases == 2].astype(float)
    assert row["count"] == len(values)
    assert row["score"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))


def test_only_kmers_that_occur_often_enough_are_listed():
    bases = np.array([[0, 0, 0, 1, 1, 2]], np.uint8)
    sums = fold_kmers(bases, np.ones((1, 6), np.float32), KmerConfig(k=1))
    assert set(kmer_table(sums)["kmer"].to_pylist()) == {"A", "C", "G"}
    assert set(kmer_table(sums, min_count=2)["kmer"].to_pylist()) == {"A", "C"}


def test_interval_and_p_are_those_of_the_published_formulas():
    bases, scores = draw(12, shift=0.4)
    table = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=1))))
    values = scores.astype(float)
    mean = values.mean()
    for number, kmer in enumerate("ACGT"):
        own = bases == number
        score = values[own].mean()
        residual = np.where(own, values - score, 0).sum(1) / own.sum()
        error = np.sqrt(12 / 11 * (residual**2).sum())
        assert table[kmer]["ci_high"] - score == pytest.approx(stats.t.ppf(0.975, 11) * error)
        assert score - table[kmer]["ci_low"] == pytest.approx(stats.t.ppf(0.975, 11) * error)
        difference = residual - (values - mean).sum(1) / values.size
        z = (score - mean) / np.sqrt(12 / 11 * (difference**2).sum())
        assert table[kmer]["p_value"] == pytest.approx(2 * stats.t.sf(abs(z), 11))


def halves(windows=60, seed=0, shift=0.0, inside=0.0):
    """Sums of windows as `draw` makes them, true positives in front; `inside` is added to these."""
    bases, scores = draw(windows, seed=seed, shift=shift)
    mask = np.zeros(bases.shape, bool)
    mask[:, :20] = True
    scores[mask] += inside
    return (bases, scores, mask), fold_kmers(bases, scores, KmerConfig(k=1, outside=True), mask)


def test_outside_p_is_that_of_the_difference_of_two_means_from_the_same_windows():
    (bases, scores, mask), sums = halves(12, shift=0.4, inside=0.2)
    table = rows_of(kmer_table(sums, background="outside"))
    values = scores.astype(float)
    for number, kmer in enumerate("ACGT"):
        means, residuals = [], []
        for there in (mask, ~mask):
            own = there & (bases == number)
            means.append(values[own].mean())
            residuals.append(np.where(own, values - means[-1], 0).sum(1) / own.sum())
        error = np.sqrt(12 / 11 * ((residuals[0] - residuals[1]) ** 2).sum())
        assert table[kmer]["score"] == pytest.approx(means[0])
        assert table[kmer]["background"] == pytest.approx(means[1])
        p = 2 * stats.t.sf(abs(means[0] - means[1]) / error, 11)
        assert table[kmer]["p_value"] == pytest.approx(p)


def test_outside_p_values_are_uniform_when_true_positives_are_not_special():
    p = []
    for seed in range(200):
        _, sums = halves(seed=seed, shift=0.5)
        p += kmer_table(sums, background="outside")["p_value"].to_pylist()
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert 0.4 < np.median(p) < 0.6


def test_a_kmer_that_scores_more_inside_true_positives_is_significant():
    _, sums = halves(inside=1.0)
    assert max(kmer_table(sums, background="outside")["q_value"].to_pylist()) < 1e-3


def test_a_kmer_that_is_never_outside_has_no_p_value_against_it():
    bases = np.array([[0, 0, 1, 2], [0, 0, 2, 1], [0, 0, 2, 1]], np.uint8)
    scores = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    mask = np.array([[True, True, True, False]] * 3)
    sums = fold_kmers(bases, scores, KmerConfig(k=1, outside=True), mask)
    table = rows_of(kmer_table(sums, background="outside"))
    assert (table["A"]["background"], table["A"]["p_value"], table["A"]["q_value"]) == (None,) * 3
    assert table["A"]["ci_high"] is not None
    # C is outside in two windows and inside in one, G the other way round.
    assert [table[kmer]["p_value"] for kmer in "CG"] == [None, None]
    assert [table[kmer]["background"] is None for kmer in "CG"] == [False, False]


def test_intervals_hold_the_truth_although_bases_of_a_window_are_alike():
    # A standard error over occurrences would hold it in about half of the draws.
    held = []
    for seed in range(300):
        table = rows_of(kmer_table(fold_kmers(*draw(40, seed=seed), KmerConfig(k=1))))
        held += [row["ci_low"] < 0 < row["ci_high"] for row in table.values()]
    assert 0.92 < np.mean(held) < 0.98


def test_p_values_are_uniform_when_no_kmer_is_special():
    p = []
    for seed in range(200):
        table = kmer_table(fold_kmers(*draw(60, seed=seed), KmerConfig(k=1)))
        p += table["p_value"].to_pylist()
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert 0.4 < np.median(p) < 0.6


def test_a_planted_kmer_is_significant_and_comes_first():
    table = kmer_table(fold_kmers(*draw(60, shift=0.5), KmerConfig(k=1)))
    assert table["kmer"][0].as_py() == "G"
    assert table["q_value"][0].as_py() < 1e-3


def test_a_kmer_of_one_window_has_neither_interval_nor_p():
    bases = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
    scores = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    row = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=2))))
    assert row["CC"]["sd"] is None
    for name in ("ci_low", "ci_high", "p_value", "q_value"):
        assert row["CC"][name] is None
        assert row["AA"][name] is not None


def test_equal_windows_claim_no_certainty():
    bases = np.tile(np.array([[0, 1, 2, 3]], np.uint8), (5, 1))
    scores = np.tile(np.array([[0.1, 0.2, 0.3, 0.7]], np.float32), (5, 1))
    table = kmer_table(fold_kmers(bases, scores, KmerConfig(k=1)))
    assert table["p_value"].null_count == 4


def test_no_kmer_gives_an_empty_table():
    table = kmer_table(KmerSums.zero(KmerConfig(k=3)))
    assert table.num_rows == 0
    assert table.num_columns == 11


def test_what_few_windows_say_is_drawn_towards_the_mean_of_all():
    """True means vary by 1; windows by 3 about them: predictions are nearer than the means."""
    rng = np.random.default_rng(0)
    windows = rng.integers(1, 60, 400).astype(float)
    truth = 5 + rng.normal(size=400)
    score = truth + 3 * rng.normal(size=400) / np.sqrt(windows)
    freedom = np.maximum(windows - 1, 1)
    error = 3 / np.sqrt(windows) * np.sqrt(rng.chisquare(freedom) / freedom)
    shrunk = shrink(score, error, windows)
    assert np.square(shrunk - truth).mean() < 0.7 * np.square(score - truth).mean()
    few, many = windows < 4, windows > 40
    pull = np.abs(shrunk - score) / np.abs(score - np.average(score, weights=windows))
    assert np.median(pull[few]) > 0.6 > 0.3 > np.median(pull[many])


def test_scores_that_spread_no_more_than_their_errors_are_all_drawn_to_their_mean():
    score, windows = np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 4.0])
    np.testing.assert_allclose(shrink(score, np.full(3, 50.0), windows), 2.0)


def test_without_a_spread_nothing_is_drawn_anywhere():
    score = np.array([1.0, 2.0])
    for error, windows in ((np.zeros(2), np.full(2, 3.0)), (np.zeros(2), np.ones(2))):
        assert shrink(score, error, windows).tolist() == score.tolist()


def test_q_values_are_those_of_scipy():
    p = np.random.default_rng(0).random(50) ** 3
    p[7] = p[8]
    expected = stats.false_discovery_control(p)
    np.testing.assert_allclose(benjamini_hochberg(p), expected)


def test_unknown_p_values_stay_out_of_the_adjustment():
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.02, np.nan, 0.04])


def test_importance_is_the_share_of_occurrences_inside_true_positives():
    counts = KmerCounts(1, np.array([4, 0, 5, 2]), np.array([1, 0, 5, 0]))
    assert true_positive_table(counts).to_pylist() == [
        {"kmer": "G", "tp_count": 5, "occurrences": 5, "importance": 1.0},
        {"kmer": "A", "tp_count": 1, "occurrences": 4, "importance": 0.25},
        {"kmer": "T", "tp_count": 0, "occurrences": 2, "importance": 0.0},
    ]


def test_names_of_short_and_long_kmers_agree_with_their_numbers():
    for k in (3, 6, 7, 12):
        names = kmer_names(k, np.array([0, 1, 4, 4**k - 1])).tolist()
        assert names == ["A" * k, "A" * (k - 1) + "C", "A" * (k - 2) + "CA", "T" * k]
