"""The threshold is the best one for the metric that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyena_ray.tasks import TASKS
from hyena_ray.training.metrics import OBJECTIVES, best_threshold, measure

scored = st.lists(
    st.tuples(st.sampled_from([0, 1]), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])),
    min_size=2,
    max_size=40,
)


@pytest.mark.parametrize("metric", OBJECTIVES)
@given(pairs=scored)
def test_no_other_threshold_scores_higher(metric: str, pairs: list[tuple[int, float]]) -> None:
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))

    def score(threshold: float) -> float:
        found: float = getattr(measure(labels, scores, loss=0.0, threshold=threshold), metric)
        return found

    chosen = best_threshold(labels, scores, metric)
    assert score(chosen) >= max(map(score, (*scores, 0.0))) - 1e-12
    if labels.any():
        assert chosen in scores


def test_mcc_and_f1_have_thresholds_of_their_own() -> None:
    # Seven of ten positive: calling everything has the best F1, and tells nothing apart.
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 1, 1, 1])
    scores = np.arange(10, 0, -1) / 10
    assert best_threshold(labels, scores, "f1") == pytest.approx(0.1)
    assert best_threshold(labels, scores, "mcc") == pytest.approx(0.7)


def test_of_equal_thresholds_the_lowest_is_taken() -> None:
    # F1 is 2/3 from 0.9 on (one of two found) and from 0.2 on (two found, two wrong).
    assert best_threshold(np.array([1, 0, 0, 1]), np.array([0.9, 0.4, 0.3, 0.2]), "f1") == 0.2


def test_without_a_positive_it_is_one_half() -> None:
    assert best_threshold(np.zeros(3, int), np.array([0.1, 0.2, 0.3]), "mcc") == 0.5


def test_there_is_an_objective_for_the_metric_of_every_task() -> None:
    assert {task.threshold_metric for task in TASKS.values()} <= set(OBJECTIVES)
