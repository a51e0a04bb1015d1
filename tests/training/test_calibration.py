"""A reliability curve shows what came true of what was promised."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hyena_ray.training.metrics import BINS, calibrate


def test_probabilities_that_hold_lie_on_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100_000)
    labels = (rng.random(100_000) < scores).astype(np.int8)
    found = calibrate(labels, scores)
    assert found.observed == pytest.approx(found.predicted, abs=0.02)
    overconfident = calibrate(labels, np.sqrt(scores))
    assert all(np.array(overconfident.predicted) > np.array(overconfident.observed))
    assert overconfident.brier > found.brier


def test_curve_and_brier_score_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.random(1000), rng.integers(0, 2, 1000)
    found = calibrate(labels, scores)
    observed, predicted = calibration_curve(labels, scores, n_bins=BINS, strategy="uniform")
    assert found.observed == pytest.approx(observed)
    assert found.predicted == pytest.approx(predicted)
    assert found.brier == pytest.approx(brier_score_loss(labels, scores))


def test_bins_have_equal_width_and_empty_ones_are_left_out() -> None:
    found = calibrate(np.array([0, 0, 1, 1]), np.array([0.0, 0.09, 0.1, 1.0]))
    assert found.labels == (2, 1, 1)
    assert found.predicted == pytest.approx((0.045, 0.1, 1.0))
    assert found.observed == (0.0, 1.0, 1.0)
