"""Fit a model to all training windows at once, where others are trained by steps along a gradient.

Each fit counts as an epoch: it is scored on the validation windows, and the best one is kept. A fit
takes seconds, so an interrupted run starts again from the first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from hyena_ray.model.fitted_baseline import FittedBaseline
from hyena_ray.model.window import WindowModel
from hyena_ray.training.loaders import WindowSource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import RunSettings, TrainingSettings
from hyena_ray.training.trainer import Record, TrainingPlan

logger = logging.getLogger(__name__)

_READ = 256
"""Windows that are measured at once."""


def fit_candidates(
    model: WindowModel,
    settings: RunSettings,
    train: WindowSource,
    plan: TrainingPlan[WindowModel],
    on_fit: Callable[[int, Record], None],
) -> list[Record]:
    """Fit a model with each of its candidates, and keep the one that is best on validation.

    Args:
        model: Model whose classifier is a `FittedBaseline`.
        settings: Settings of the run.
        train: Windows to fit to.
        plan: Scores every fit and keeps the best.
        on_fit: Called after every fit with its number, from 1, and its record.

    Returns:
        Records of all fits.
    """
    classifier, recipe = model.classifier, settings.training
    assert isinstance(classifier, FittedBaseline)
    bases = slice(model.left, model.left + model.readout.window)
    history: list[Record] = []
    for number in range(settings.total_epochs):
        windows = _windows(model, train, recipe)
        loss = classifier.fit(number, windows, bases, class_weights(recipe), recipe.seed)
        history.append(plan.evaluate(model, number + 1, [loss]))
        plan.after_evaluation(model, history)
        on_fit(number + 1, history[-1])
    return history


def _windows(
    model: WindowModel, train: WindowSource, recipe: TrainingSettings
) -> Iterator[tuple[Tensor, ...]]:
    """Yield ids of the given strand, labels and tracks of all training windows, on the CPU."""
    with torch.inference_mode():
        for batch in train.batches(_READ, epoch=None, seed=recipe.seed):
            given = model.strand_input(batch.tokens())
            tracks = () if given.tracks is None else (given.tracks,)
            yield given.ids, batch.labels(), *tracks
