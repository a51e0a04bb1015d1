"""How long a run will take, from a few of its own steps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.training.evaluation import EVALUATION_BATCH, predict
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.stages import stage_optimizer, training_stages
from hyena_ray.training.supervised import new_model, new_trainer, step_batches
from hyena_ray.training.trainer import Optimization

TIMED_SECONDS = 2.0
"""Spent on the steps of each stage, and on scoring: at least, where there are windows enough."""
TIMED_STEPS = 64
"""Of a stage, at the most."""
TIMED_BATCHES = 8
"""That are scored, at the most."""


class RunTiming(NamedTuple):
    """What the parts of a run take."""

    step: tuple[float, ...]
    """Seconds of an optimiser step, by stage."""
    scored: float
    """Seconds to score a window."""
    timed: float
    """Seconds that were timed."""

    def seconds(self, settings: RunSettings, *, train: int, validation: int, test: int) -> float:
        """Of a whole run in which no epoch is left out.

        Args:
            settings: of the run that was timed.
            train: windows of an epoch.
            validation: windows that are scored after each.
            test: windows that are scored at the end.
        """
        recipe = settings.training
        steps = math.ceil(train / (recipe.batch_size * recipe.accumulation))
        stages = training_stages(recipe)
        trained = sum(
            stage.epochs * steps * step for stage, step in zip(stages, self.step, strict=True)
        )
        epochs = sum(stage.epochs for stage in stages)
        return trained + (epochs * validation + test) * self.scored


class Sample(NamedTuple):
    """Windows to time a run on."""

    train: Windows
    validation: Windows


def sample_of(settings: RunSettings, data: PreparedData) -> Sample:
    """The first windows of what a run trains on and validates with.

    Args:
        settings: of the run.
        data: as the run sees it, see `run_view`.
    """
    length, recipe = settings.data.length, settings.training
    most = TIMED_STEPS * recipe.batch_size * recipe.accumulation
    if settings.data.limit is not None:
        most = min(most, settings.data.limit)
    wanted = {"train": most, "val": TIMED_BATCHES * EVALUATION_BATCH}
    first = {split: min(rows, data.count(length, split)) for split, rows in wanted.items()}
    return Sample(*(data.read_rows(length, split, 0, rows) for split, rows in first.items()))


def time_run(settings: RunSettings, sample: Sample) -> RunTiming:
    """Train a new model for a few steps of each stage, and let it score some windows."""
    model = new_model(settings)
    trainer = new_trainer(model, settings.training)
    recipe = settings.training
    together = recipe.batch_size * recipe.accumulation
    began = time.monotonic()
    seconds = []
    for stage in training_stages(recipe):
        # Whatever its rates are: weights that stay as they are do not diverge.
        still = None if stage.backbone_rate is None else 0.0
        stage = dataclasses.replace(stage, backbone_rate=still, head_rate=0.0)
        optimizer = stage_optimizer(model, stage, recipe.weight_decay)
        schedule = Schedule(optimizer, recipe.schedule, TIMED_STEPS, recipe.warmup)
        trainer.start_stage(Optimization.of(optimizer, schedule))

        def steps(windows: Windows) -> int:
            for batch in step_batches(ArraySource(windows), recipe, 0):
                trainer.step(batch)
            return math.ceil(len(windows.window_id) / together)

        seconds.append(_each(steps, sample.train, together))
    weights = class_weights(recipe)

    def scored(windows: Windows) -> int:
        predict(model, ArraySource(windows), weights)
        return len(windows.window_id)

    window = _each(scored, sample.validation, EVALUATION_BATCH)
    return RunTiming(tuple(seconds), window, time.monotonic() - began)


def _each(work: Callable[[Windows], int], windows: Windows, batch: int) -> float:
    """Seconds of one of what `work` counts, after a first time that is not: memory is got, and
    kernels are chosen."""
    work(windows.rows(slice(0, batch)))
    batches, count = 1, len(windows.window_id)
    while True:
        began = time.perf_counter()
        done = work(windows.rows(slice(0, batches * batch)))
        took = time.perf_counter() - began
        if took >= TIMED_SECONDS or batches * batch >= count:
            return took / done
        batches = min(4 * batches, math.ceil(count / batch))
