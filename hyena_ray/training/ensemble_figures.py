"""What the mean of several models gains over each of them, on the same held-out bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.splits import VALIDATION
from hyena_ray.model.ensemble import Ensemble
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.window import WindowModel
from hyena_ray.settings import Settings
from hyena_ray.training.bootstrap import (
    Numbers,
    Scored,
    average_precisions,
    draw_blocks,
    resampling_blocks,
)
from hyena_ray.training.evaluation import (
    BOOTSTRAP_SEED,
    choose_thresholds,
    evaluate_on_split,
    predict,
    scored_labels,
)
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.tracts import call_tracts, roc_aucs, score_bases

PAIRED = ("average_precision", "tract_roc_auc")
"""Figures whose differences have an interval, by their names in `Evaluation.figures`."""


class Gain(Settings):
    """Figure of the ensemble less that of a member."""

    difference: float
    """Difference on the test data."""
    draws: tuple[float, ...]
    """Difference in every draw of blocks, which both share."""


class EnsembleFigures(Settings):
    """Figures of an ensemble on the test split."""

    members: dict[str, str] = Field(min_length=2)
    """Name of every member, and the sha256 of its model."""
    threshold: float
    """Threshold that the validation split chose."""
    test: dict[str, float]
    """All figures, see `Evaluation.figures`."""
    gains: dict[str, dict[str, Gain]]
    """For each member, its difference in the figures of `PAIRED` that the task has."""


def score_ensemble(
    models: Mapping[str, WindowModel],
    data: PreparedData,
    class_weights: Tensor,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> EnsembleFigures:
    """Score the mean of some models on the test split, and compare it with each of them.

    Args:
        models: Members by name, at least two.
        data: Prepared data, or a fold's view of them.
        class_weights: Class weights of the loss, shape (2,), float32.
        on_progress: Called with the number of windows of every batch that was scored.

    Raises:
        InputError: As `evaluate_on_split`.
    """
    ensemble = Ensemble(list(models.values()))
    choose_thresholds(ensemble, HeldOut.read(data, VALIDATION), class_weights, on_progress)
    evaluation = evaluate_on_split(ensemble, data, "test", class_weights, on_progress)
    held_out = HeldOut.read(data, "test")
    predicted = score_bases(held_out)

    def paired(model: WindowModel | Ensemble) -> dict[str, Numbers]:
        predictions = predict(model, held_out, class_weights, on_progress=on_progress)
        scores = predictions.scores(model.calibration)
        return dict(_replicates(held_out, scores, predicted))

    own = paired(ensemble)
    gains = {}
    for name, model in models.items():
        differences = {key: own[key] - values for key, values in paired(model).items()}
        gains[name] = {
            key: Gain(difference=float(values[0]), draws=tuple(values[1:].tolist()))
            for key, values in differences.items()
        }
    return EnsembleFigures(
        members={name: model_sha256(model) for name, model in models.items()},
        threshold=ensemble.threshold,
        test=evaluation.figures(),
        gains=gains,
    )


def _replicates(
    held_out: HeldOut, scores: NDArray[np.float32], predicted: NDArray[np.float32] | None
) -> Iterator[tuple[str, Numbers]]:
    """Yield a figure of all bases and, behind it, that of every draw, which labels alone decide."""

    def drawn(scored: Scored) -> Numbers:
        once = np.ones((1, int(scored.block.max()) + 1))
        return np.concatenate((once, draw_blocks(scored, seed=BOOTSTRAP_SEED)))

    scored = scored_labels(held_out, scores, held_out.base_weights(), threshold=0.5)
    yield PAIRED[0], average_precisions(scored, drawn(scored))
    if predicted is not None:
        block = resampling_blocks(held_out.rows.contig, held_out.rows.start)
        weakest, *_ = call_tracts(held_out, scores, predicted, block)
        if 0 < (weakest.labels == 1).sum() < len(weakest.labels):
            yield PAIRED[1], roc_aucs(weakest, drawn(weakest))
