"""The curve of precision and recall is scikit-learn's, thinned, with intervals by blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from hyena_ray.training.bootstrap import Scored, bootstrap, intervals_by_name
from hyena_ray.training.precision_recall import POINTS, precision_recall


def scored(
    labels: NDArray[np.integer], scores: NDArray[np.floating], threshold: float = 0.5
) -> Scored:
    """Return scores in twenty blocks of neighbours."""
    block = np.arange(len(labels)) * 20 // len(labels)
    return Scored(labels, scores, scores >= threshold, block, np.ones(len(labels)))


@settings(max_examples=25)
@given(st.integers(0, 50), st.integers(20, 400), st.integers(1, 30))
def test_every_point_is_one_of_scikit_learn(seed: int, count: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    labels[0] = 1
    scores = rng.integers(0, levels, count) / levels
    found = precision_recall(scored(labels, scores), seed=0)
    precision, recall, threshold = precision_recall_curve(labels, scores)
    whole = {
        float(t): (p, r) for t, p, r in zip(threshold, precision[:-1], recall[:-1], strict=True)
    }
    for t, p, r in zip(*found[:3], strict=True):
        assert (p, r) == pytest.approx(whole[t])


def test_a_long_curve_keeps_both_ends_and_evenly_spaced_recall() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50_000)
    found = precision_recall(scored(labels, rng.random(50_000) + labels * 0.3), seed=0)
    assert len(found.recall) <= POINTS
    assert found.recall[-1] == 1.0
    assert found.recall[0] < 0.01
    assert max(np.diff(found.recall)) < 2 / POINTS
    assert list(found.threshold) == sorted(found.threshold, reverse=True)


def test_intervals_of_a_point_are_those_of_a_threshold() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(5_000) < 0.1).astype(np.int8)
    scores = np.round(rng.random(5_000) * 0.6 + labels * 0.3, 3)
    found = precision_recall(scored(labels, scores), seed=0)
    for at in (20, 100, len(found.threshold) - 1):
        drawn = bootstrap(scored(labels, scores, found.threshold[at]), seed=0)
        expected = intervals_by_name(drawn)
        assert found.precision_intervals[at] == pytest.approx(expected["precision"])
        assert found.recall_intervals[at] == pytest.approx(expected["recall"])


@settings(max_examples=25)
@given(st.integers(0, 200), st.floats(0.01, 1))
def test_a_precision_is_reached_with_the_most_recall_or_never(seed: int, precision: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 100)
    labels[0] = 1
    curve = precision_recall(scored(labels, rng.random(100)), seed=0)
    point = curve.reaching(precision)
    enough = [at for at, value in enumerate(curve.precision) if value >= precision]
    assert point == (max(enough, key=lambda at: curve.recall[at]) if enough else None)
    assert curve.precision[curve.surest] == max(curve.precision)
    if point is None:
        assert precision > curve.precision[curve.surest]
