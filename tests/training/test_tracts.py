"""Tracts are called, labelled and scored as by a loop over bases, and ranked as by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import encode
from hyena_ray.genome.untrained import UNTRAINED_PREDICTORS
from hyena_ray.tasks import TASKS
from hyena_ray.training.bootstrap import REPLICATES, Scored, draw_blocks, resampling_blocks
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.tracts import (
    TractScores,
    call_tracts,
    measure_tracts,
    predictor_scores,
    roc_aucs,
    score_bases,
)

STRETCH, FLANK = 120, 30


def stretches(task: str, motif: str, seed: int = 0, rows: int = 24) -> HeldOut:
    """Random stretches side by side, a third of them with a tract, half of the tracts labelled.

    A labelled tract may go on in the next stretch.
    """
    rng = np.random.default_rng(seed)
    bases = rng.choice(list("ACGT"), rows * STRETCH + 2 * FLANK)
    labels = np.zeros(rows * STRETCH, np.int8)
    for row in range(0, rows - 1, 3):
        start = row * STRETCH + int(rng.integers(20, STRETCH - 10))
        bases[FLANK + start : FLANK + start + 24] = list(motif * 24)[:24]
        labels[start + 4 : start + 20] = row % 2
    joined = "".join(bases)
    starts = np.arange(rows) * STRETCH
    width = STRETCH + 2 * FLANK
    windows = Windows(
        window_id=starts,
        contig=np.full(rows, "chr1"),
        start=starts,
        tokens=np.stack([encode(joined[start : start + width]) for start in starts]),
        labels=labels.reshape(rows, STRETCH),
        kind=np.ones(rows, np.uint8),
    )
    weight = np.where(windows.labels.any(1), 1.0, rng.integers(1, 5, rows))
    return HeldOut(windows, weight, TASKS[task])


def tract_scores(held_out: HeldOut, scores: np.ndarray) -> tuple[TractScores, ...]:
    """Return the figures of tracts."""
    predicted = score_bases(held_out)
    assert predicted is not None
    block = resampling_blocks(held_out.rows.contig, held_out.rows.start)
    found = call_tracts(held_out, scores, predicted, block)
    figures, _ = measure_tracts(held_out.task.name, found, seed=0)
    return figures


def tracts_by_a_loop(
    held_out: HeldOut, called: np.ndarray, scores: np.ndarray
) -> list[tuple[int, float, float]]:
    """Return label, highest score and weight of every run of called bases."""
    found: list[tuple[int, float, float]] = []
    before = False
    flat = zip(
        called.ravel(),
        held_out.rows.labels.ravel() == 1,
        scores.ravel(),
        np.repeat(held_out.weight, STRETCH),
        strict=True,
    )
    for inside, labelled, score, weight in flat:
        if inside and before:
            label, best, first = found[-1]
            found[-1] = (max(label, int(labelled)), max(best, float(score)), first)
        elif inside:
            found.append((int(labelled), float(score), float(weight)))
        before = inside
    return found


@pytest.mark.parametrize(("task", "motif"), [("zdna", "CG"), ("g4", "GGGTTA")])
@pytest.mark.parametrize("seed", range(3))
def test_tracts_are_those_of_a_loop(task: str, motif: str, seed: int) -> None:
    held_out = stretches(task, motif, seed)
    scores = np.random.default_rng(seed).random((24, STRETCH), np.float32)
    called = predictor_scores(held_out, UNTRAINED_PREDICTORS[task])
    found = {result.threshold: result for result in tract_scores(held_out, scores)}
    assert found, "the planted tracts are called"
    for threshold, result in found.items():
        expected = tracts_by_a_loop(held_out, called >= threshold, scores)
        label, best, weight = map(np.array, zip(*expected, strict=True))
        assert result.predictor == UNTRAINED_PREDICTORS[task].title
        assert result.tracts == weight.sum()
        assert result.labelled == label.sum()
        assert result.roc_auc == pytest.approx(roc_auc_score(label, best, sample_weight=weight))
        assert result.average_precision == pytest.approx(
            average_precision_score(label, best, sample_weight=weight)
        )
        low, high = result.intervals["roc_auc"]
        assert 0 <= low <= high <= 1


def test_a_model_that_knows_the_labels_tells_all_tracts_apart() -> None:
    held_out = stretches("zdna", "CG")
    knows = held_out.rows.labels.astype(np.float32)
    for result in tract_scores(held_out, knows):
        assert isinstance(result, TractScores)
        assert result.roc_auc == result.average_precision == 1.0
    for result in tract_scores(held_out, np.zeros_like(knows)):
        assert result.roc_auc == 0.5


def test_the_untrained_predictor_knows_the_bases_around_a_stretch() -> None:
    held_out = stretches("zdna", "CG")
    predictor, rows = UNTRAINED_PREDICTORS["zdna"], held_out.rows
    whole = rows._replace(
        tokens=np.concatenate(
            (
                rows.tokens[:1, :FLANK],
                rows.tokens[:, FLANK:-FLANK].reshape(1, -1),
                rows.tokens[-1:, -FLANK:],
            ),
            axis=1,
        ),
        labels=rows.labels.reshape(1, -1),
        start=rows.start[:1],
        contig=rows.contig[:1],
        window_id=rows.window_id[:1],
    )
    together = predictor_scores(HeldOut(whole, np.ones(1), held_out.task), predictor)
    np.testing.assert_array_equal(predictor_scores(held_out, predictor).ravel(), together.ravel())


def test_every_draw_has_each_figure_or_says_that_it_has_none() -> None:
    """Of three tracts, the draws that lack a class have no area; all draws stay pairs."""
    tracts = Scored(
        labels=np.array([1, 0, 0], np.int8),
        scores=np.array([0.9, 0.2, 0.1]),
        called=np.ones(3, np.bool_),
        block=np.arange(3),
        weight=np.ones(3),
    )
    figures, drawn = measure_tracts("zdna", [tracts, tracts], seed=0)
    assert len(drawn) == 2 * len(figures) == 4
    assert {len(values) for values in drawn.values()} == {REPLICATES}
    times = draw_blocks(tracts, seed=0)
    both = (times[:, 0] > 0) & (times[:, 1:].sum(1) > 0)
    assert 0 < both.sum() < len(times) < REPLICATES
    for prefix in ("tract_", "strong_tract_"):
        assert np.isfinite(drawn[f"{prefix}average_precision"]).sum() == len(times)
        areas = drawn[f"{prefix}roc_auc"]
        assert (areas[np.isfinite(areas)] == 1).all()
        assert np.isfinite(areas).sum() == both.sum()


def test_a_task_without_an_untrained_predictor_has_no_tracts() -> None:
    assert score_bases(stretches("zdna", "CG")._replace(task=TASKS["promoter"])) is None


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 6))
def test_areas_are_those_of_scikit_learn_for_every_replicate(
    seed: int, count: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    scored = Scored(
        labels=np.append(rng.integers(0, 2, count), [0, 1]),
        scores=rng.integers(0, levels, count + 2).astype(np.float32),
        called=np.zeros(count + 2, np.bool_),
        block=rng.integers(0, 3, count + 2),
        weight=rng.random(count + 2) + 0.1,
    )
    times = rng.integers(1, 4, (5, 3)).astype(np.float64)
    for row, area in zip(times, roc_aucs(scored, times), strict=True):
        weight = row[scored.block] * scored.weight
        expected = roc_auc_score(scored.labels, scored.scores, sample_weight=weight)
        assert area == pytest.approx(expected)
