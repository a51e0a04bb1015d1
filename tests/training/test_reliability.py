"""A reliability curve shows what came true of what was promised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hyena_ray.training.bootstrap import Scored
from hyena_ray.training.reliability import (
    BINS,
    TOP,
    Calibration,
    Reliability,
    measure_calibration,
    top_bins,
)


def measured(
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    weight: NDArray[np.float64] | None = None,
) -> Calibration:
    """Measure with a hundred blocks of neighbours."""
    block = np.arange(len(labels)) * 100 // len(labels)
    every = np.ones(len(labels)) if weight is None else weight
    return measure_calibration(Scored(labels, scores, scores > 0.5, block, every), seed=0)


def inside(curve: Reliability) -> int:
    """Return the number of bins whose promise lies in the interval of what came true."""
    return sum(
        low <= predicted <= high
        for predicted, (low, high) in zip(curve.predicted, curve.intervals, strict=True)
    )


def test_probabilities_that_hold_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100_000)
    labels = (rng.random(100_000) < scores).astype(np.int8)
    found = measured(labels, scores)
    assert found.curve.observed == pytest.approx(found.curve.predicted, abs=0.02)
    assert inside(found.curve) >= BINS - 2
    overconfident = measured(labels, np.sqrt(scores))
    assert inside(overconfident.curve) < 3
    assert all(np.array(overconfident.curve.predicted) > np.array(overconfident.curve.observed))
    assert overconfident.brier > found.brier
    assert found.brier < found.brier_of_prevalence == pytest.approx(0.25, abs=0.01)


def test_curve_and_brier_score_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.random(1000), rng.integers(0, 2, 1000)
    found = measured(labels, scores)
    observed, predicted = calibration_curve(labels, scores, n_bins=BINS, strategy="uniform")
    assert found.curve.observed == pytest.approx(observed)
    assert found.curve.predicted == pytest.approx(predicted)
    assert found.brier == pytest.approx(brier_score_loss(labels, scores))
    constant = np.full(1000, labels.mean())
    assert found.brier_of_prevalence == pytest.approx(brier_score_loss(labels, constant))


def test_bins_have_equal_width_and_empty_ones_are_left_out() -> None:
    found = measured(np.array([0, 0, 1, 1]), np.array([0.0, 0.09, 0.1, 1.0])).curve
    assert found.labels == (2, 1, 1)
    assert found.predicted == pytest.approx((0.045, 0.1, 1.0))
    assert found.observed == (0.0, 1.0, 1.0)


def test_the_top_is_the_surest_percent_of_the_genome_and_not_of_the_sample() -> None:
    """One scored base may stand for many of the genome."""
    rng = np.random.default_rng(2)
    scores, weight = rng.random(20_000), rng.choice([1.0, 50.0], 20_000)
    bins = top_bins(scores, weight)
    top = bins >= 0
    assert scores[top].min() > scores[~top].max()
    assert weight[top].sum() == pytest.approx(TOP * weight.sum(), rel=0.02)
    sizes = np.bincount(bins[top], weight[top], BINS)
    assert sizes == pytest.approx(np.full(BINS, sizes.mean()), rel=0.15)
    assert (np.diff(bins[top][np.argsort(scores[top])]) >= 0).all()


def test_equal_probabilities_are_in_one_bin() -> None:
    scores = np.concatenate((np.zeros(980), np.full(15, 0.5), np.full(5, 0.9)))
    bins = top_bins(scores, np.ones(1_000))
    assert set(bins[:980].tolist()) == {-1}
    assert len(set(bins[980:995].tolist())) == len({*bins[995:].tolist()}) == 1
    assert bins[995] > bins[980] >= 0
    # A model that says the same of everything has one bin, and no end.
    assert set(top_bins(np.zeros(1_000), np.ones(1_000)).tolist()) == {BINS - 1}


def test_the_top_shows_what_the_whole_curve_hides() -> None:
    """One base in a thousand is labelled; promises ten times too high are in the lowest bin."""
    rng = np.random.default_rng(3)
    true = 1e-3 * rng.gamma(0.1, 10, 300_000).clip(0, 90)
    labels = (rng.random(len(true)) < true).astype(np.int8)
    honest, boastful = measured(labels, true), measured(labels, np.minimum(3 * true, 1))
    assert inside(honest.top) >= BINS - 2
    assert inside(boastful.top) <= 1
