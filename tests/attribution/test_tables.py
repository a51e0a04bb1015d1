from typing import get_args

import numpy as np
import pytest
from scipy import stats

from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, KmerSums, fold_kmers
from hyena_ray.attribution.settings import Ranking
from hyena_ray.attribution.tables import (
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


def test_intervals_are_those_of_the_published_formula():
    bases, scores = draw(12, shift=0.4)
    table = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=1))))
    values = scores.astype(float)
    for number, kmer in enumerate("ACGT"):
        own = bases == number
        score = values[own].mean()
        residual = np.where(own, values - score, 0).sum(1) / own.sum()
        error = np.sqrt(12 / 11 * (residual**2).sum())
        assert table[kmer]["ci_high"] - score == pytest.approx(stats.t.ppf(0.975, 11) * error)
        assert score - table[kmer]["ci_low"] == pytest.approx(stats.t.ppf(0.975, 11) * error)


def test_the_background_is_the_mean_of_the_same_windows_true_positive_or_not():
    bases = np.array([[0, 0, 1, 2], [0, 2, 2, 1]], np.uint8)
    scores = np.array([[1, 2, 3, 4], [6, 5, 4, 3]], np.float32)
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    table = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=1), mask)))
    assert list(table) == ["A"]
    assert table["A"]["score"] == 3
    # The mean of a place is 2.5 in the first window, where A occurs twice, and 4.5 in the second.
    assert table["A"]["background"] == pytest.approx((2 * 2.5 + 4.5) / 3)


def test_every_row_has_a_p_value_and_a_background():
    for windows, k in ((1, 1), (1, 4), (2, 2), (50, 3)):
        table = kmer_table(fold_kmers(*draw(windows), KmerConfig(k=k)))
        for name in ("background", "p_value", "q_value"):
            assert table[name].null_count == 0
            assert np.isfinite(table[name]).all()
        assert all(0 < p <= 1 for p in table["p_value"].to_pylist())


def test_a_kmer_that_is_inside_true_positives_only_is_the_most_significant():
    """T has no occurrence outside to compare it with; A and C are in and out."""
    rng = np.random.default_rng(0)
    bases = rng.integers(0, 3, (40, 30)).astype(np.uint8)
    bases[:, 10:18] = [3, 3, 0, 1, 3, 3, 1, 0]
    mask = np.zeros(bases.shape, bool)
    mask[:, 10:18] = True
    scores = np.where(mask, rng.normal(2, 1, bases.shape), 0).astype(np.float32)
    table = kmer_table(fold_kmers(bases, scores, KmerConfig(k=1), mask))
    rows = rows_of(table)
    assert rows["T"]["count"] == 40 * 4
    assert rows["T"]["p_value"] == min(table["p_value"].to_pylist()) < 1e-9


def test_scores_below_and_above_the_background_are_significant_alike():
    bases, scores = draw(60, shift=0.5)
    high = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=1))))["G"]
    low = rows_of(kmer_table(fold_kmers(bases, -scores, KmerConfig(k=1))))["G"]
    assert high["score"] > high["background"]
    assert low["score"] < low["background"]
    assert high["p_value"] == pytest.approx(low["p_value"])
    assert high["q_value"] < 1e-3


def test_q_values_are_adjusted_over_the_rows_of_the_table():
    table = kmer_table(fold_kmers(*draw(30, shift=0.2), KmerConfig(k=2)), min_count=60)
    assert 2 < table.num_rows < 16
    expected = stats.false_discovery_control(table["p_value"].to_numpy())
    np.testing.assert_allclose(table["q_value"].to_numpy(), expected)


def test_intervals_hold_the_truth_although_bases_of_a_window_are_alike():
    # A standard error over occurrences would hold it in about half of the draws.
    held = []
    for seed in range(300):
        table = rows_of(kmer_table(fold_kmers(*draw(40, seed=seed), KmerConfig(k=1))))
        held += [row["ci_low"] < 0 < row["ci_high"] for row in table.values()]
    assert 0.92 < np.mean(held) < 0.98


def test_a_planted_kmer_is_significant_and_comes_first():
    table = kmer_table(fold_kmers(*draw(60, shift=0.5), KmerConfig(k=1)))
    assert table["kmer"][0].as_py() == "G"
    assert table["q_value"][0].as_py() < 1e-3


def test_a_kmer_of_one_window_has_a_p_value_but_no_interval():
    bases = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
    scores = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    row = rows_of(kmer_table(fold_kmers(bases, scores, KmerConfig(k=2))))
    assert row["CC"]["sd"] is None
    for name in ("ci_low", "ci_high"):
        assert row["CC"][name] is None
        assert row["AA"][name] is not None
    # One of three rotations: no p-value is lower.
    assert row["CC"]["p_value"] >= 1 / 3


def test_no_kmer_gives_an_empty_table():
    table = kmer_table(KmerSums.zero(KmerConfig(k=3)))
    assert table.num_rows == 0
    assert table.num_columns == 11


def test_what_few_windows_say_is_drawn_to_the_background():
    """True means vary by 1; windows by 3 about them: predictions are nearer than the means."""
    rng = np.random.default_rng(0)
    windows = rng.integers(1, 60, 400).astype(float)
    truth = 5 + rng.normal(size=400)
    score = truth + 3 * rng.normal(size=400) / np.sqrt(windows)
    freedom = np.maximum(windows - 1, 1)
    error = 3 / np.sqrt(windows) * np.sqrt(rng.chisquare(freedom) / freedom)
    shrunk = shrink(score, error, windows, np.full(400, 5.0))
    assert np.square(shrunk - truth).mean() < 0.7 * np.square(score - truth).mean()
    few, many = windows < 4, windows > 40
    pull = np.abs(shrunk - score) / np.abs(score - 5)
    assert np.median(pull[few]) > 0.6 > 0.3 > np.median(pull[many])


def test_well_seen_kmers_keep_their_score_and_their_rank_although_all_score_alike():
    """As in the demo: 36 planted k-mers score 2 to 3, and the rest of the windows about nothing."""
    score = np.linspace(1.9, 3.05, 36)
    windows = np.random.default_rng(0).permutation(np.repeat([5.0, 12, 20, 80], 9))
    shrunk = shrink(score, 1 / np.sqrt(windows), windows, np.full(36, 0.3))
    assert np.ptp(shrunk) > 0.9 * np.ptp(score)
    assert stats.kendalltau(shrunk, score).statistic > 0.9
    assert (np.abs(shrunk - score)[windows == 80] < 0.02).all()
    assert (shrunk < score).all()


def test_scores_no_farther_from_the_background_than_their_errors_are_all_drawn_to_it():
    score, windows = np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 4.0])
    background = np.array([1.5, 2.0, 1.0])
    np.testing.assert_allclose(shrink(score, np.full(3, 50.0), windows, background), background)


def test_without_a_spread_nothing_is_drawn_anywhere():
    score = np.array([1.0, 2.0])
    for error, windows in ((np.zeros(2), np.full(2, 3.0)), (np.zeros(2), np.ones(2))):
        assert shrink(score, error, windows, np.zeros(2)).tolist() == score.tolist()


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
