"""Metrics agree with scikit-learn and with brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
)

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.training.metrics import measure

scored = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])),
    min_size=2,
    max_size=40,
)


@given(scored)
def test_counts_agree_with_scikit_learn(pairs: list[tuple[int, float]]) -> None:
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    found = measure(labels, scores, loss=0.0, threshold=0.5)
    called = scores >= 0.5
    assert found.f1 == pytest.approx(f1_score(labels, called, zero_division=0))
    assert found.accuracy == pytest.approx(accuracy_score(labels, called))
    if 0 < labels.sum() < len(labels):
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, called))
    if 0 < labels.sum() < len(labels) and 0 < called.sum() < len(called):
        assert found.mcc == pytest.approx(matthews_corrcoef(labels, called))
    else:
        assert found.mcc == 0


def test_ignored_bases_do_not_count() -> None:
    labels = np.array([[1, 0, IGNORED], [0, 1, IGNORED]])
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 1.0]])
    found = measure(labels, scores, loss=0.0, threshold=0.5)
    assert (found.f1, found.mcc, found.roc_auc, found.average_precision) == (1, 1, 1, 1)


def test_mcc_survives_counts_that_overflow_64_bits() -> None:
    labels = np.tile(np.array([1, 0], np.int8), 300_000)
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[:1000] = 0.9
    assert measure(labels, scores, loss=0.0, threshold=0.5).mcc == pytest.approx(
        matthews_corrcoef(labels, scores >= 0.5)
    )


def test_roc_auc_comes_from_scores_and_not_from_calls() -> None:
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    assert measure(labels, scores, loss=0.0, threshold=0.5).roc_auc == 1.0
