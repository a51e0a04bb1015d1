"""Sanity checks tell scores that know from scores that do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hyena_ray.attribution.engine import WindowAttribution, attribute_windows
from hyena_ray.attribution.sanity_checks import (
    check_attribution,
    correlation,
    faithfulness,
    format_checks,
    planted_auroc,
    random_order,
    randomise_weights,
)
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import labelled_windows
from hyena_ray.dataset.reader import sample_evenly
from hyena_ray.errors import InputError
from tests.attribution.small_model import WINDOW, CpGModel, draw_windows, hyenadna

SETTINGS = AttributionSettings(
    methods=("ig", "ism"), baseline="n", steps=4, tolerance=None, batch=512, k=2, min_count=1
)


@pytest.fixture(scope="module")
def found():
    """A model that looks at CG alone, windows with true positives, and their attribution."""
    model, windows = CpGModel().eval(), draw_windows(60)
    attribution = attribute_windows(model, windows, SETTINGS)
    rows = np.flatnonzero(attribution.true_positive.any(axis=1))
    return model, windows.rows(rows), attribution.true_positive[rows], attribution


def curves(found, scores, **changes):
    model, windows, true_positive, _ = found
    settings = SETTINGS.updated(changes, "test")
    return faithfulness(model, windows, true_positive, scores, settings)


def test_curves_begin_and_end_where_nothing_and_everything_is_replaced(found):
    scores = random_order(found[1], WINDOW, seed=0)
    got = curves(found, scores)
    assert got.share[[0, -1]].tolist() == [0, 1]
    assert got.deletion[[0, -1]] == pytest.approx([1, 0])
    assert got.insertion[[0, -1]] == pytest.approx([0, 1])


def test_what_carries_the_target_is_missed_first_and_enough_by_itself(found):
    _, windows, _, attribution = found
    rows = np.flatnonzero(attribution.true_positive.any(axis=1))
    chance = curves(found, random_order(windows, WINDOW, seed=0))
    for method, scores in attribution.scores.items():
        deletion, insertion = curves(found, scores[rows]).areas
        assert deletion < chance.areas[0] - 0.2, method
        assert insertion > chance.areas[1] + 0.1, method
        # And the other way round, the least important bases are missed last.
        assert curves(found, -scores[rows]).areas[0] > chance.areas[0] + 0.1, method


def test_curves_do_not_depend_on_the_size_of_batches(found):
    scores = random_order(found[1], WINDOW, seed=3)
    first, second = (curves(found, scores, batch=batch) for batch in (100, 2000))
    np.testing.assert_allclose(first.deletion, second.deletion, atol=1e-5)


def test_random_weights_are_other_weights_of_the_same_model_and_always_the_same():
    model = hyenadna()
    state = torch.random.get_rng_state()
    one, again, other = (randomise_weights(model, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    for model_of in (one, again, other):
        assert {name: value.shape for name, value in model_of.state_dict().items()} == shapes
    weights = [
        torch.cat([p.flatten() for p in of.parameters()]) for of in (model, one, again, other)
    ]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])


def test_correlation_is_that_of_ranks_window_by_window():
    first = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert correlation(first, np.exp(first)) == pytest.approx(1)
    assert correlation(first, np.array([[1.0, 2.0, 9.0], [9.0, 2.0, 1.0]])) == pytest.approx(0)


def attribution_of(bases: list[str], scores: np.ndarray) -> WindowAttribution:
    codes = np.array([["ACGT".index(letter) for letter in row] for row in bases], np.uint8)
    return WindowAttribution(
        np.arange(len(bases)), codes, np.ones(codes.shape, bool), {"ig": scores}, {}, 1
    )


def test_planted_kmers_are_those_inside_labels_and_one_above_all_others_gives_1():
    bases = ["AACGCGAA", "TTTTTTCC"]
    labels = np.array([[0, 0, 1, 1, 1, 1, 0, 0], [0] * 8], np.int8)
    exact = labels.astype(np.float32)
    assert planted_auroc(attribution_of(bases, exact), "ig", labels, SETTINGS) == 1
    assert planted_auroc(attribution_of(bases, -exact), "ig", labels, SETTINGS) == 0
    nothing = np.zeros_like(exact)
    assert planted_auroc(attribution_of(bases, nothing), "ig", labels, SETTINGS) == 0.5
    unlabelled = np.zeros_like(labels)
    assert planted_auroc(attribution_of(bases, exact), "ig", unlabelled, SETTINGS) is None


def test_all_checks_of_a_real_model_are_finite_and_can_be_written():
    settings = SETTINGS.updated({"k": 4}, "test")
    checks = check_attribution(
        hyenadna(), draw_windows(12), settings, planted=True, permuted_label_model=hyenadna(seed=1)
    )
    assert [check.method for check in checks] == ["ig", "ism"]
    for check in checks:
        assert check.windows == 8
        assert abs(check.random_weights) < 0.6
        assert check.random_labels is not None
        assert abs(check.random_labels) < 0.6
        assert check.planted_auroc is not None
    text = json.dumps([check.as_json() for check in checks], allow_nan=False)
    assert json.loads(text)[0]["curves"]["deletion"][0] == pytest.approx(1)
    assert "in-silico mutagenesis" in format_checks(checks)
    plain = check_attribution(hyenadna(), draw_windows(12), SETTINGS, planted=False)[0]
    assert (plain.planted_auroc, plain.random_labels) == (None, None)


def test_a_model_that_learnt_the_same_has_the_same_scores():
    check = check_attribution(
        hyenadna(), draw_windows(12), SETTINGS, planted=False, permuted_label_model=hyenadna()
    )[0]
    assert check.random_labels == pytest.approx(1)


def test_a_model_that_finds_nothing_cannot_be_checked():
    model = hyenadna()
    model.threshold = 1.1
    with pytest.raises(InputError, match="nothing to attribute"):
        check_attribution(model, draw_windows(6), SETTINGS, planted=False)


@pytest.mark.parametrize("limit", [1, 7, 30, 1000])
def test_a_limit_takes_that_many_labelled_windows_evenly(limit):
    windows = draw_windows(100)
    labelled = np.flatnonzero((windows.labels == 1).any(axis=1))
    found = labelled_windows(windows, limit)
    expected = labelled[sample_evenly(len(labelled), limit)]
    assert found.window_id.tolist() == windows.window_id[expected].tolist()
    assert len(found.window_id) == min(limit, len(labelled))


def test_without_a_label_there_is_no_window_to_take():
    windows = draw_windows(5)
    nothing = windows._replace(labels=np.zeros_like(windows.labels))
    assert len(labelled_windows(nothing, 3).window_id) == 0
