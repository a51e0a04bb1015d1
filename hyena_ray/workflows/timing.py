"""Time one batch of work, for dry runs: each function runs it twice and times the second time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import labelled_windows
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import codes_to_tokens, with_levels
from hyena_ray.genome.signal_scale import SignalScale, level_columns
from hyena_ray.model.devices import default_device, finish, model_device
from hyena_ray.model.embedding import Embedder
from hyena_ray.model.ensemble import load_scorer
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.predictor import ContigSlice, Scorer, default_batch
from hyena_ray.model.saved import load_window_model
from hyena_ray.model.window import WindowModel, WindowScorer
from hyena_ray.storage import AnyPath
from hyena_ray.training.distillation import teach
from hyena_ray.training.evaluation import EVALUATION_BATCH
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights, weighted_cross_entropy
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import new_model

if TYPE_CHECKING:
    from hyena_ray.training.genome_stream import Batch
    from hyena_ray.training.settings import PretrainSettings

ATTRIBUTED = 8
"""Windows of a batch that is attributed."""


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds of the second of two calls: in the first, memory is allocated.

    Args:
        work: What is timed.
    """
    work()
    started = time.perf_counter()
    work()
    finish(default_device())
    return time.perf_counter() - started


def training_seconds(
    settings: RunSettings, windows: Windows, scales: Sequence[SignalScale] = ()
) -> tuple[float, float]:
    """Time one training step and one scored batch of an untrained model.

    Args:
        settings: Settings of the run.
        windows: Windows to take the batches from.
        scales: Scales of the tracks of the data.

    Returns:
        Seconds of a step (forward and backward pass), and seconds to score one window.
    """
    model, recipe = new_model(settings, scales), settings.training
    device = model_device(model)
    weights = class_weights(recipe).to(device)
    rows = np.arange(recipe.batch_size) % len(windows.window_id)
    tokens, labels = (
        torch.from_numpy(a[rows]).to(device) for a in (windows.tokens, windows.labels)
    )

    def step() -> None:
        model.train()
        weighted_cross_entropy(model(tokens, None), labels, weights).total.backward()

    scored = windows.tokens[np.arange(EVALUATION_BATCH) % len(windows.window_id)]

    def score() -> None:
        model.eval()
        with torch.inference_mode(), frozen_filters(model):
            model.predict(torch.from_numpy(scored).to(device))

    return recipe.accumulation * seconds_of(step), seconds_of(score) / EVALUATION_BATCH


def teaching_seconds(teacher: WindowScorer, windows: Windows, *, both_strands: bool) -> float:
    """Time the reading of a training window by a teacher.

    Args:
        teacher: A model, or several as an ensemble.
        windows: Windows to read.
        both_strands: Whether it reads both strands, however it was trained.
    """
    teacher.to(default_device())
    source = ArraySource(windows)
    return seconds_of(partial(teach, source, teacher, both_strands=both_strands)) / source.stored


def attribution_seconds(
    model_folder: AnyPath | RunSettings,
    windows: Windows,
    settings: AttributionSettings,
    scales: Sequence[SignalScale] = (),
) -> float:
    """Time the attribution of a window whose labelled bases are taken for true positives.

    Args:
        model_folder: Folder of a trained model, or settings of an untrained one.
        windows: Windows of which some have a labelled base.
        settings: Settings of the attribution.
        scales: Scales of the tracks of the data, for an untrained model.
    """
    if isinstance(model_folder, RunSettings):
        model = new_model(model_folder, scales)
    else:
        model = load_window_model(model_folder)
        model.to(default_device())
    chosen = labelled_windows(windows, ATTRIBUTED)
    work = partial(attribute_windows, model.eval(), chosen, settings, chosen.labels == 1)
    return seconds_of(work) / len(chosen.window_id)


def seconds_per_scored_window(models: Sequence[AnyPath], batch: int | None, most: int) -> float:
    """Time the prediction of a window, on random bases.

    Args:
        models: Folders of the model, or of several.
        batch: Windows of one forward pass; None chooses it by the device.
        most: Largest number of windows to score.
    """
    model = load_scorer(models)
    model.to(default_device())
    window = model.readout.window
    with Scorer(model, batch) as scorer:
        windows = min(scorer.batch, max(1, most))
        size = windows * window
        sequence = ContigSlice(0, np.random.default_rng(0).integers(4, size=size, dtype=np.uint8))

        def score() -> None:
            scorer.score(sequence, size, 0, size, step=window)

        return seconds_of(score) / windows


def seconds_per_embedded_window(load: Callable[[], WindowModel], batch: int | None) -> float:
    """Time the embedding of a window, on random bases.

    Args:
        load: Loads the model.
        batch: Windows of one forward pass; None chooses it by the device.
    """
    model = load().to(default_device())
    readout = model.readout
    batch = batch or default_batch(readout, model_device(model))
    shape = batch, readout.window + 2 * readout.required_flank
    tokens = codes_to_tokens(np.random.default_rng(0).integers(4, size=shape, dtype=np.uint8))
    levels = np.zeros((*shape, level_columns(readout.scales)), np.uint8)
    with Embedder(model, batch) as embedder:
        windows, lengths = with_levels(tokens, levels), [readout.window] * batch
        return seconds_of(partial(embedder.embed, windows, lengths, "sequence")) / batch


def pretraining_seconds(settings: PretrainSettings, batch: Batch) -> float:
    """Time one step of a pretraining: its forward and backward passes.

    Args:
        settings: Settings of the pretraining.
        batch: A worker's part of a step.
    """
    from hyena_ray.training.pretraining import new_objective, summed_loss

    model = new_objective(settings)
    model.to(default_device())
    device = model_device(model)
    # A copy: what is in Ray's object store cannot be written to, of which torch warns.
    inputs, targets = (
        torch.from_numpy(array.copy()).to(device) for array in (batch.inputs, batch.targets)
    )
    rows = max(1, settings.training.tokens_per_pass // inputs.shape[1])

    def step() -> None:
        for first in range(0, len(inputs), rows):
            part = slice(first, first + rows)
            summed_loss(model(inputs[part]), targets[part]).backward()

    return seconds_of(step)
