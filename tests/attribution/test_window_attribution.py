"""What a notebook does with the attribution of windows: tables, logos, and a look at it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot

from hyena_ray import consensus_ranking, kmer_table
from hyena_ray.attribution.engine import Convergence, WindowAttribution, attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, KmerSums, fold_kmers
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.errors import InputError
from tests.attribution.small_model import WINDOW, SmallModel, draw_windows

METHODS = AttributionSettings(methods=("input_x_gradient", "ig"), shuffles=1)
WINDOWS = draw_windows(6)
LABELS = WINDOWS.labels == 1
LABELS[2] = False


@pytest.fixture(scope="module")
def attribution() -> WindowAttribution:
    model: Any = SmallModel()
    return attribute_windows(model, WINDOWS, METHODS, LABELS)


def test_its_table_is_that_of_the_sums_over_its_true_positives(
    attribution: WindowAttribution,
) -> None:
    assert LABELS.any()
    for method in (None, "input_x_gradient", "ig"):
        scores = attribution.scores[method or "input_x_gradient"]
        config = KmerConfig(k=3, merge_strands=True)
        sums = fold_kmers(attribution.bases, scores, config, attribution.true_positive)
        expected = kmer_table(sums, min_count=2, by="score")
        table = attribution.kmer_table(3, method, merge_strands=True, min_count=2, by="score")
        assert table == expected
    total, mean = (attribution.kmer_table(3, kmer_score=kind) for kind in ("sum", "mean"))
    by_kmer = dict(zip(mean["kmer"].to_pylist(), mean["score"].to_pylist(), strict=True))
    for kmer, score in zip(total["kmer"].to_pylist(), total["score"].to_pylist(), strict=True):
        assert by_kmer[kmer] == pytest.approx(score / 3, rel=1e-5)


def test_its_rows_are_its_bases(attribution: WindowAttribution) -> None:
    frame = attribution.to_pandas()
    assert list(frame) == ["window_id", "position", "base", "true_positive", *METHODS.methods]
    assert len(frame) == len(WINDOWS.window_id) * WINDOW
    for row in (0, 2, 5):
        own = frame[frame.window_id == WINDOWS.window_id[row]]
        assert own.position.tolist() == list(range(WINDOW))
        assert "".join(own.base) == "".join("ACGTN"[base] for base in attribution.bases[row])
        np.testing.assert_array_equal(own["ig"], attribution.scores["ig"][row])
        np.testing.assert_array_equal(own.true_positive, attribution.true_positive[row])
    assert frame[frame.window_id == WINDOWS.window_id[2]]["ig"].isna().all()


def test_its_logo_has_a_letter_as_high_as_the_score_of_each_base(
    attribution: WindowAttribution,
) -> None:
    row = int(np.flatnonzero(LABELS.any(axis=1))[0])
    try:
        axes = attribution.plot_logo(row, "ig")
        scores = attribution.scores["ig"][row]
        known = (attribution.bases[row] < 4) & (scores != 0)  # a height of 0 is not drawn
        to_data = axes.transData.inverted()
        boxes = [patch.get_window_extent().transformed(to_data) for patch in axes.patches]
        assert len(boxes) == known.sum()
        low, high = axes.get_ylim()
        assert low <= scores[known].min() <= scores[known].max() <= high
        heights = [box.height for box in boxes]
        np.testing.assert_allclose(heights, np.abs(scores[known]), rtol=1e-3, atol=1e-9)
        assert axes.get_title() == f"window {WINDOWS.window_id[row]}, ig"
        _, given = pyplot.subplots()
        assert attribution.plot_logo(row, axes=given) is given
    finally:
        pyplot.close("all")


def test_records_of_arrays_fit_on_a_screen(attribution: WindowAttribution) -> None:
    config = KmerConfig(k=5)
    integral = attribution.integrals["ig"]
    assert isinstance(integral, Convergence)
    for record in (attribution, WINDOWS, integral, KmerSums.zero(config), KmerCounts.zero(config)):
        assert len(repr(record)) < 24 * 80
        assert repr(record).startswith(f"{type(record).__name__}(")
    assert "bases=uint8 (6, 20)" in repr(attribution)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda own, model: attribute_windows("model", WINDOWS), "model: str: is no window model"),
        (lambda own, model: attribute_windows(model, own), "windows: WindowAttribution: "),
        (lambda own, model: attribute_windows(model, WINDOWS, {}), "settings: dict: "),
        (
            lambda own, model: attribute_windows(model, WINDOWS, None, np.ones(3, bool)),
            r"true_positive: \(3,\): the labels have the shape",
        ),
        (lambda own, model: own.kmer_table("3"), "k: str: "),
        (lambda own, model: own.kmer_table(0), "k: 0: "),
        (lambda own, model: own.kmer_table(3, "gi"), "method: gi: unknown method"),
        (lambda own, model: own.kmer_table(3, kmer_score="max"), "kmer_score: max: "),
        (lambda own, model: own.kmer_table(3, by="p"), "by: p: "),
        (lambda own, model: own.kmer_table(3, min_count="2"), "min_count: str: "),
        (lambda own, model: own.plot_logo(2), "window: 2: has no true positive"),
        (lambda own, model: own.plot_logo(6), "window: 6: not from 0 to 5"),
        (lambda own, model: own.plot_logo("chr1"), "window: str: "),
        (lambda own, model: kmer_table(own), "sums: WindowAttribution: "),
        (lambda own, model: consensus_ranking([]), "tables: list: "),
        (lambda own, model: consensus_ranking({"ig": own}), "tables: ig: WindowAttribution: "),
        (
            lambda own, model: consensus_ranking({"ig": own.kmer_table(3)}, column="scor"),
            "tables: ig: scor: unknown column, did you mean score",
        ),
        (lambda own, model: consensus_ranking({"ig": own.kmer_table(3)}, by="sum"), "by: sum: "),
    ],
)
def test_a_wrong_argument_is_refused_with_what_to_give(
    attribution: WindowAttribution, call: Any, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}.*; "):
        call(attribution, SmallModel())
