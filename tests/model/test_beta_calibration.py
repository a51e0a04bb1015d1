"""Calibration makes probabilities fractions of the genome, and changes no order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from hyena_ray.errors import InputError
from hyena_ray.model.beta_calibration import (
    FARTHEST,
    FLATTEST,
    STEEPEST,
    BetaCalibration,
    log_odds,
)
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import (
    StoredReadout,
    copy_with_threshold,
    load_window_model,
    model_sha256,
    save_window_model,
)
from hyena_ray.model.settings import READOUT, LoraSettings, ModelSettings, Readout
from hyena_ray.runs.plan import sealed
from hyena_ray.tasks import TASKS
from hyena_ray.training.bootstrap import Scored
from hyena_ray.training.reliability import BINS, measure_calibration

SLOPES = st.floats(FLATTEST, 8)
CALIBRATIONS = st.builds(BetaCalibration, above=SLOPES, below=SLOPES, offset=st.floats(-9, 9))


def calibrated(calibration: BetaCalibration, odds: np.ndarray) -> np.ndarray:
    return calibration.calibrated(torch.from_numpy(odds.astype(np.float32))).numpy()


def planted(count: int, seed: int, *, bent: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return log-odds that are too high, as after training on one window in four, and labels of
    which one in some hundred is 1; if bent, the surest are hardly surer than the sure."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-5, 4, count).astype(np.float32)
    true = 0.6 * odds - 2
    if bent:
        true = 0.1 * np.logaddexp(0, odds) - 0.9 * np.logaddexp(0, -odds) - 1
    return odds, (rng.random(count) < expit(true)).astype(np.int8)


def scored(odds: np.ndarray, labels: np.ndarray, calibration: BetaCalibration) -> Scored:
    scores = calibrated(calibration, odds)
    block = np.arange(len(labels)) * 100 // len(labels)
    return Scored(labels, scores, scores >= 0.5, block, np.ones(len(labels)))


@settings(max_examples=50)
@given(CALIBRATIONS, st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=50))
def test_no_two_log_odds_change_their_order(
    calibration: BetaCalibration, values: list[float]
) -> None:
    odds = np.sort(np.array(values, np.float32))
    assert (np.diff(calibrated(calibration, odds)) >= 0).all()


@pytest.mark.parametrize("bent", [True, False])
def test_figures_that_rank_are_those_of_the_log_odds(bent: bool) -> None:
    odds, labels = planted(50_000, 0, bent=bent)
    scores = calibrated(BetaCalibration.fit(odds, labels), odds)
    for figure in (average_precision_score, roc_auc_score):
        assert figure(labels, scores) == pytest.approx(figure(labels, odds), abs=1e-6)


@pytest.mark.parametrize("bent", [True, False])
def test_on_new_data_the_top_holds_what_it_promises_and_no_longer_saturates(bent: bool) -> None:
    fitted = BetaCalibration.fit(*planted(200_000, 1, bent=bent))
    odds, labels = planted(200_000, 2, bent=bent)
    before, after = (
        measure_calibration(scored(odds, labels, one), seed=0)
        for one in (BetaCalibration(), fitted)
    )
    honest = sum(
        low <= predicted <= high
        for predicted, (low, high) in zip(after.top.predicted, after.top.intervals, strict=True)
    )
    assert honest >= BINS - 2
    assert after.brier < after.brier_of_prevalence < before.brier
    top = np.sort(calibrated(fitted, odds))[-500:]
    assert len(np.unique(top)) > 490
    if bent:
        assert calibrated(BetaCalibration(), odds).max() > 0.997
        assert 0.3 < top[-1] < 0.9


def test_the_fit_is_that_of_a_logistic_regression_on_both_sides_of_even_odds() -> None:
    odds, labels = planted(20_000, 3)
    weight = np.random.default_rng(0).random(20_000) * 5
    found = BetaCalibration.fit(odds, labels, weight)
    sides = np.stack([np.logaddexp(0, odds), -np.logaddexp(0, -odds)], axis=1)
    free = LogisticRegression(C=np.inf, max_iter=1000).fit(sides, labels, weight)
    # Platt's targets and cells of log-odds move it by little.
    assert (found.above, found.below) == pytest.approx(free.coef_[0], abs=0.02)
    assert found.offset == pytest.approx(free.intercept_[0], abs=0.05)


@pytest.mark.parametrize(
    ("odds", "labels"),
    [
        ([-4, -3, 3, 4], [0, 0, 1, 1]),  # separated
        ([-4, -3, 3, 4], [1, 1, 0, 0]),  # the wrong way round
        ([0, 0, 0, 0], [0, 1, 0, 0]),  # nothing said
        ([1e4, -1e4, 1e4, 2], [1, 0, 0, 1]),
        ([1e30, -1e30, 0, 0], [1, 0, 0, 1]),
        ([0.5, 0.25], [1, 0]),
    ],
)
def test_whatever_the_scores_the_line_rises_and_is_bounded(
    odds: list[float], labels: list[int]
) -> None:
    found = BetaCalibration.fit(np.array(odds, np.float32), np.array(labels))
    assert FLATTEST <= found.above <= STEEPEST
    assert FLATTEST <= found.below <= STEEPEST
    assert abs(found.offset) <= FARTHEST
    assert np.isfinite(calibrated(found, np.array(odds))).all()


def test_logits_that_overflow_have_no_probability() -> None:
    logits = torch.tensor([[0.0, torch.inf], [-torch.inf, torch.inf], [torch.nan, 0.0], [1.0, 3.0]])
    assert log_odds(logits).isnan().tolist() == [True, True, True, False]
    assert BetaCalibration().probability(logits)[3] == pytest.approx(float(logits[3].softmax(0)[1]))


def save_small_model(folder: Path, calibration: BetaCalibration) -> str:
    settings = ModelSettings(architecture="kmer_logistic", k=2)
    readout = Readout(window=20, flank=0, lookahead=0)
    model = build_model(settings, readout, LoraSettings(), TASKS["g4"], seed=0)
    model.calibration, model.threshold = calibration, 0.25
    save_window_model(model, folder)
    return model_sha256(model)


def test_the_calibration_is_kept_in_the_model_and_is_part_of_what_it_is(tmp_path: Path) -> None:
    calibration = BetaCalibration(above=0.125, below=1.5, offset=-3.25)
    digest = save_small_model(tmp_path / "model", calibration)
    model = load_window_model(tmp_path / "model")
    assert model.calibration == calibration
    assert model_sha256(model) == digest
    assert (model.min_length, model.merge_gap) == (TASKS["g4"].min_length, TASKS["g4"].merge_gap)
    assert digest != save_small_model(tmp_path / "other", BetaCalibration())
    tokens = torch.randint(7, 11, (4, 20), generator=torch.Generator().manual_seed(0))
    logits = model.predict(tokens)
    assert torch.equal(model.probability(tokens), calibration.probability(logits))
    copy_with_threshold(tmp_path / "model", tmp_path / "copy", 0.5)
    assert load_window_model(tmp_path / "copy").calibration == calibration


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration": {"above": 0.0}},
        {"calibration": {"below": -1.0}},
        {"calibration": {"offset": 1e9}},
        {"calibration": {"above": None}},
        {"calibration": {"temperature": 1.0}},
        {"calibration": None},
        {"min_length": 0},
        {"merge_gap": -1},
    ],
)
def test_a_calibration_out_of_bounds_is_refused_even_where_the_seal_fits(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    save_small_model(tmp_path / "model", BetaCalibration())
    path = tmp_path / "model" / READOUT
    values = StoredReadout.read(path.parent).model_dump(mode="json")
    path.write_text(json.dumps(sealed(values | changes)))
    with pytest.raises(InputError, match=next(iter(changes))):
        load_window_model(tmp_path / "model")


def test_a_model_from_before_calibration_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    save_small_model(tmp_path / "model", BetaCalibration())
    path = tmp_path / "model" / READOUT
    values = StoredReadout.read(path.parent).model_dump(mode="json")
    del values["calibration"]
    path.write_text(json.dumps(sealed(values)))
    with pytest.raises(InputError, match=r"readout\.json: calibration"):
        load_window_model(tmp_path / "model")
