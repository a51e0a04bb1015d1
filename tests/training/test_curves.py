"""The curve of precision and recall is scikit-learn's, thinned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from hyena_ray.training.metrics import POINTS, precision_recall


@given(st.integers(0, 50), st.integers(2, 400), st.integers(1, 30))
def test_every_point_is_one_of_scikit_learn(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    labels[0] = 1
    scores = rng.integers(0, levels, count) / levels
    found = precision_recall(labels, scores)
    precision, recall, threshold = precision_recall_curve(labels, scores)
    whole = {
        float(t): (p, r) for t, p, r in zip(threshold, precision[:-1], recall[:-1], strict=True)
    }
    for t, p, r in zip(*found, strict=True):
        assert (p, r) == pytest.approx(whole[t])


def test_a_long_curve_keeps_both_ends_and_evenly_spaced_recall() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50_000)
    found = precision_recall(labels, rng.random(50_000) + labels * 0.3)
    assert len(found.recall) <= POINTS
    assert found.recall[-1] == 1.0
    assert found.recall[0] < 0.01
    assert max(np.diff(found.recall)) < 2 / POINTS
    assert list(found.threshold) == sorted(found.threshold, reverse=True)
