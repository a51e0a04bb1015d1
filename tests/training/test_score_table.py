"""A table of scores gives the figures of all bases: exactly while it fits, and closely after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from hyena_ray.training.bootstrap import Scored, bootstrap
from hyena_ray.training.metrics import measure
from hyena_ray.training.score_table import ScoreTable


def bases(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities from very small to saturated, and blocks."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.05).astype(np.int8)
    logits = rng.normal(6.0 * labels - 4, 3)
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return labels, scores, np.sort(rng.integers(0, 7, count))


def table_of(
    labels: np.ndarray, scores: np.ndarray, block: np.ndarray, threshold: float, rows: int
) -> Scored:
    table = ScoreTable(threshold, rows)
    for first in range(0, len(labels), 1_000):
        part = slice(first, first + 1_000)
        table.add(labels[part], scores[part], block[part])
    return table.scored()


def test_figures_of_a_table_that_fits_are_those_of_all_bases() -> None:
    labels, scores, block = bases(0, 5_000)
    scores = np.round(scores, 3)  # so that some are equal
    found = table_of(labels, scores, block, 0.3, 1 << 20)
    whole = Scored(labels, scores, scores >= np.float32(0.3), block, np.ones(len(labels)))
    assert len(found.labels) < len(labels)
    assert found.weight.sum() == len(labels)
    metrics = measure(found.labels, found.scores, loss=0, threshold=0.3, weight=found.weight)
    expected = measure(labels, scores, loss=0, threshold=0.3)
    assert metrics._asdict() == pytest.approx(expected._asdict())
    drawn = bootstrap(found, seed=0)
    for name, values in bootstrap(whole, seed=0).items():
        assert drawn[name] == pytest.approx(values), name


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1_000), st.sampled_from([0.1, 0.5, 0.9991]))
def test_a_table_that_is_too_large_is_rounded_and_changes_no_call(
    seed: int, threshold: float
) -> None:
    labels, scores, block = bases(seed, 20_000)
    found = table_of(labels, scores, block, threshold, 4_000)
    assert len(found.labels) <= 4_000
    assert found.weight.sum() == len(labels)
    called = scores >= np.float32(threshold)
    for of_block in range(7):
        mine, theirs = found.block == of_block, block == of_block
        assert found.weight[mine & found.called].sum() == (theirs & called).sum()
        positive = found.weight[mine & (found.labels == 1)].sum()
        assert positive == (theirs & (labels == 1)).sum()
    for score in (average_precision_score, roc_auc_score):
        near = score(found.labels, found.scores, sample_weight=found.weight)
        assert near == pytest.approx(score(labels, scores), abs=5e-3)


def test_extreme_scores_stay_what_they_are() -> None:
    scores = np.array([0, 1e-30, 1, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    table = ScoreTable(0.5, rows=1)
    for _ in range(2):
        table.add(np.zeros(4, np.int8), scores, np.zeros(4, np.int64))
    scored = table.scored()
    assert scored.weight.sum() == 8
    assert scored.weight[scored.called].sum() == 4
    assert ((scored.scores >= 0) & (scored.scores <= 1)).all()
