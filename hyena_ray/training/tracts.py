"""Which tracts flip: how well a model distinguishes labelled tracts from unlabelled ones.

An untrained predictor finds where DNA could take another shape: Z-HUNT calls alternating tracts,
G4Hunter runs of G. Most of the tracts that it calls have no label. Where tracts are is therefore an
easy question; which of them flip is the question of biology, and this score measures the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import ids_of, tokens_to_codes
from hyena_ray.genome.untrained import CONTEXT, UNTRAINED_PREDICTORS, UntrainedPredictor
from hyena_ray.training.bootstrap import (
    Interval,
    Numbers,
    Replicates,
    Scored,
    average_precisions,
    intervals_by_name,
    measure_draws,
)
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.metrics import genome_bases, ratio, runs_of

BATCH = 256
"""Stretches that are called at once."""
PREFIXES = ("tract_", "strong_tract_")
"""Prefixes of the names of figures, of the tracts at each threshold from the lowest on."""


class TractScores(NamedTuple):
    """How well a model distinguishes labelled from unlabelled tracts at one threshold."""

    predictor: str
    """Name of the untrained predictor that called the tracts."""
    threshold: float
    """Score of the predictor from which a base is in a tract."""
    tracts: float
    """Tracts of the genome's contigs; an estimate where stretches without a label are a sample."""
    labelled: int
    """Tracts that hold a labelled base."""
    roc_auc: float
    """Area under the ROC curve; 0.5 by chance."""
    average_precision: float
    """Average precision; `labelled / tracts` by chance."""
    intervals: dict[str, Interval]
    """95 % intervals of both."""


def call_tracts(
    held_out: HeldOut,
    scores: NDArray[np.float32],
    predicted: NDArray[np.float32],
    block: NDArray[np.int64],
) -> list[Scored]:
    """Return the tracts that the untrained predictor of a task calls, at each of its thresholds.

    A tract is a run of bases whose predictor score reaches a threshold. It is labelled if any of
    its bases is, and its score is the highest that the model gives one of its bases.

    Args:
        held_out: Stretches of a task with an untrained predictor.
        scores: Scores of the model, shape (m, S).
        predicted: Result of `score_bases`.
        block: Block that each stretch is resampled with, shape (m,).
    """
    thresholds = UNTRAINED_PREDICTORS[held_out.task.name].thresholds
    return [_tracts(held_out, scores, predicted >= threshold, block) for threshold in thresholds]


def measure_tracts(
    task: str, found: Sequence[Scored], *, seed: int
) -> tuple[tuple[TractScores, ...], Replicates]:
    """Compute the figures of tracts.

    Args:
        task: Name of a task with an untrained predictor.
        found: Tracts at each of its thresholds, from `call_tracts`.
        seed: Seed of the draws of the intervals.

    Returns:
        Figures for every threshold at which both labelled and unlabelled tracts are called, and
        those of every draw by name, with one of `PREFIXES` before it.
    """
    predictor = UNTRAINED_PREDICTORS[task]
    measured = [
        _measure(predictor.title, threshold, tracts, seed)
        for threshold, tracts in zip(predictor.thresholds, found, strict=True)
        if 0 < (tracts.labels == 1).sum() < len(tracts.labels)
    ]
    replicates = {
        prefix + name: values
        for prefix, (_, drawn) in zip(PREFIXES, measured, strict=False)
        for name, values in drawn.items()
    }
    return tuple(figures for figures, _ in measured), replicates


def score_bases(held_out: HeldOut) -> NDArray[np.float32] | None:
    """Return the score that the untrained predictor of a task gives every base, shape (m, S).

    Args:
        held_out: Stretches with their flanks.

    Returns:
        The scores; None for a task without an untrained predictor.
    """
    predictor = UNTRAINED_PREDICTORS.get(held_out.task.name)
    return None if predictor is None else predictor_scores(held_out, predictor)


def predictor_scores(held_out: HeldOut, predictor: UntrainedPredictor) -> NDArray[np.float32]:
    """Return the score that an untrained predictor gives every base, shape (m, S).

    Args:
        held_out: Stretches with their flanks.
        predictor: The untrained predictor.
    """
    rows, stretch = held_out.rows, held_out.rows.labels.shape[1]
    flank = (rows.tokens.shape[1] - stretch) // 2
    context = min(flank, CONTEXT)
    inner, ids = slice(flank - context, flank + stretch + context), ids_of(rows.tokens)
    parts = [
        predictor.score(tokens_to_codes(ids[first : first + BATCH, inner]))
        for first in range(0, len(ids), BATCH)
    ]
    return np.concatenate(parts)[:, context : context + stretch]


def _tracts(
    held_out: HeldOut,
    scores: NDArray[np.float32],
    called: NDArray[np.bool_],
    block: NDArray[np.int64],
) -> Scored:
    """Return label, score, block and weight of every tract; a tract is that of its first base."""
    rows, width = held_out.rows, held_out.rows.labels.shape[1]
    bases = genome_bases(rows)
    run = runs_of(bases.position, called.ravel()[bases.order])
    member = np.flatnonzero(run)
    number = run[member] - 1
    count = int(run.max(initial=0))
    highest = np.zeros(count, np.float32)
    np.maximum.at(highest, number, scores.ravel()[bases.order[member]])
    labelled = np.bincount(number, bases.labelled[member], count) > 0
    _, first = np.unique(number, return_index=True)
    stretch = bases.order[member[first]] // width
    return Scored(
        labels=labelled.astype(np.int8),
        scores=highest,
        called=np.zeros(count, np.bool_),
        block=block[stretch],
        weight=held_out.weight[stretch],
    )


def _measure(
    title: str, threshold: float, tracts: Scored, seed: int
) -> tuple[TractScores, Replicates]:
    positive = tracts.labels == 1
    once = np.ones((1, int(tracts.block.max()) + 1))

    def measure(drawn: Numbers) -> Replicates:
        return {
            "roc_auc": roc_aucs(tracts, drawn),
            "average_precision": average_precisions(tracts, drawn),
        }

    replicates = measure_draws(measure, tracts, seed=seed)
    figures = TractScores(
        predictor=title,
        threshold=threshold,
        tracts=float(tracts.weight.sum()),
        labelled=int(positive.sum()),
        roc_auc=float(roc_aucs(tracts, once)[0]),
        average_precision=float(average_precisions(tracts, once)[0]),
        intervals=intervals_by_name(replicates),
    )
    return figures, replicates


def roc_aucs(scored: Scored, times: Numbers) -> Numbers:
    """Return the area under the ROC curve of every replicate, with one sort for all.

    It is the share of the pairs of both classes in which the positive scores higher; half of the
    pairs with equal scores count.

    Args:
        scored: Labels, scores and weights by block; calls are not used.
        times: Number of times that each block was drawn, shape (R, blocks).

    Returns:
        Areas, shape (R,); NaN where a replicate lacks a class.
    """
    order = np.argsort(scored.scores, kind="stable")
    _, level = np.unique(scored.scores[order], return_inverse=True)
    starts = np.flatnonzero(np.diff(level, prepend=-1))
    weight = times[:, scored.block[order]] * scored.weight[order]
    positive = scored.labels[order] == 1
    ones = np.add.reduceat(weight * positive, starts, axis=1)
    zeros = np.add.reduceat(weight * ~positive, starts, axis=1)
    below = zeros.cumsum(1) - zeros / 2
    pairs = ones.sum(1) * zeros.sum(1)
    return np.where(pairs > 0, ratio((ones * below).sum(1), pairs), np.nan)
