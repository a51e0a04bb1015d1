"""Attribute windows: every (window, point) is a row, rows fill batches of one fixed size.

In: a WindowModel and Windows.  Out: WindowAttribution, per-base scores of the windows that have
true positives.  No Ray here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.methods import METHODS, Contribution, Rows, shuffle_generator
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shuffle import dinucleotide_shuffle
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, codes_of, tokens_of
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel

POSITIVE = 1
"""Label and class that are attributed."""


class WindowAttribution(NamedTuple):
    """Per-base attribution of N windows of W bases, in the windows' own order and orientation."""

    window_id: NDArray[np.int64]
    """(N,)"""
    bases: NDArray[np.uint8]
    """(N, W) A C G T = 0 1 2 3, unknown 4."""
    true_positive: NDArray[np.bool_]
    """(N, W) prediction 1 and label 1; all bases of a sequence with one label alike."""
    scores: dict[str, NDArray[np.float32]]
    """Method to (N, W), in logits; NaN in windows without a true positive."""
    completeness: dict[str, NDArray[np.float64]]
    """Method to (N,), |sum of scores - (f(x) - f(x'))| / |f(x) - f(x')|, with the scores of the
    flanks; NaN in windows without a true positive.  Only methods that start at a baseline."""


class _Task(NamedTuple):
    """The windows with true positives, as every method needs them."""

    window_id: NDArray[np.int64]
    """(M,)"""
    weight: Tensor
    """(M, W), or (M, 1) per sequence, float32; a window's target is the sum of weight * positive
    logit."""
    inputs: list[Tensor]
    """Per strand (M, T) int64 input ids."""
    baselines: list[Tensor] | None
    """Per strand (M, T) int64 input ids; None for the zero embedding."""


def attribute_windows(
    model: WindowModel, windows: Windows, settings: AttributionSettings | None = None
) -> WindowAttribution:
    """Attribute the true positives of windows to their bases.

    The target of a window is the sum over its true-positive bases of the positive class's logit,
    with `normalise` divided by their number, averaged over the model's strands; that of a sequence
    with one label is its logit.  Scores of the reverse strand are mapped back to the window and
    averaged likewise.  A window's scores do not depend on what is attributed beside it, but for
    the last bits.

    Args:
        model: in any mode; weights and mode are left as they were.
        windows: N windows as prepared; tokens (N, W + 2 * stored flank) uint8.
        settings: `DEFINITIONS["default"]` when None.

    Raises:
        InputError: the windows do not have the length or the flank that the model reads.

    Source: Algorithms 4 and 5 of the study with `DEFINITIONS["study"]`.
    """
    settings = settings or AttributionSettings()
    tokens = _with_models_flank(model, windows)
    flank = model.readout.flank
    with _frozen(model):
        true_positive = _true_positives(model, tokens, windows.labels, settings.batch)
        chosen = np.flatnonzero(true_positive.any(axis=1))
        task = _task(
            model, tokens[chosen], windows.window_id[chosen], true_positive[chosen], settings
        )
        shape = (len(tokens), model.readout.window)
        scores: dict[str, NDArray[np.float32]] = {}
        completeness: dict[str, NDArray[np.float64]] = {}
        for name in settings.methods:
            method = METHODS[name]
            if method.points is None or method.contribution is None:
                continue
            scores[name] = np.full(shape, np.nan, np.float32)
            if method.from_baseline:
                completeness[name] = np.full(shape[0], np.nan)
            if not len(chosen):
                continue
            points = method.points(settings)
            sums = [
                _scores(model, task, strand, points, method.contribution, settings)
                for strand in range(len(task.inputs))
            ]
            on_window = [
                model.to_window(strand_sum, strand) for strand, strand_sum in enumerate(sums)
            ]
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()
            if method.from_baseline:
                total = torch.stack([strand_sum.sum(1) for strand_sum in sums]).mean(0)
                change = _change(model, task, settings.batch)
                completeness[name][chosen] = ((total - change).abs() / change.abs()).numpy()
    bases = codes_of(tokens[:, flank : tokens.shape[1] - flank])
    # A sequence is a true positive as a whole.
    true_positive = np.broadcast_to(true_positive, shape).copy()
    return WindowAttribution(windows.window_id, bases, true_positive, scores, completeness)


def _with_models_flank(model: WindowModel, windows: Windows) -> NDArray[np.uint8]:
    """Tokens with exactly the flank that the model reads."""
    length, flank = model.readout.window, model.readout.flank
    found = windows.labels.shape[1]
    if found == 1:
        # One label for a sequence, which has no flank.
        found = windows.tokens.shape[1]
    stored = (windows.tokens.shape[1] - found) // 2
    if found != length:
        raise InputError(
            "windows",
            f"{found} bases",
            f"the model reads windows of {length}",
            f"prepare the data with --lengths {length}, or use another model",
        )
    if stored < flank:
        raise InputError(
            "windows",
            f"flank {stored}",
            f"the model reads a flank of {flank}",
            f"prepare the data with --flank {flank} or more",
        )
    return windows.tokens[:, stored - flank : stored + length + flank]


@contextmanager
def _frozen(model: WindowModel) -> Iterator[None]:
    """Evaluation mode without weight gradients: nothing but the embeddings is differentiated, and
    the convolution filters, which depend on weights alone, are computed once."""
    training = model.training
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        model.train(training)


def _true_positives(
    model: WindowModel, tokens: NDArray[np.uint8], labels: NDArray[np.int8], batch: int
) -> NDArray[np.bool_]:
    """(N, labels) bool: labelled 1, and the probability of 1 reaches the model's threshold."""
    device = _device(model)
    true_positive: NDArray[np.bool_] = labels == POSITIVE
    # Windows without a label have no true positive, whatever the model says.
    for rows in _batches(np.flatnonzero(true_positive.any(axis=1)), batch):
        with torch.no_grad():
            logits = model.predict(torch.from_numpy(tokens[rows.padded]).to(device))
        probability = logits.float().softmax(-1)[: len(rows.real), :, POSITIVE].cpu().numpy()
        true_positive[rows.real] &= probability >= model.threshold
    return true_positive


def _task(
    model: WindowModel,
    tokens: NDArray[np.uint8],
    window_id: NDArray[np.int64],
    true_positive: NDArray[np.bool_],
    settings: AttributionSettings,
) -> _Task:
    device = _device(model)
    weight = true_positive.astype(np.float32)
    if settings.normalise:
        weight /= weight.sum(axis=1, keepdims=True)

    def per_strand(array: NDArray[np.uint8]) -> list[Tensor]:
        return model.strand_tokens(torch.from_numpy(array).to(device))

    baselines = None
    if settings.baseline == "n":
        baselines = per_strand(np.full_like(tokens, N_TOKEN))
    elif settings.baseline == "shuffle":
        shuffled = tokens.copy()
        for row, identity in zip(shuffled, window_id.tolist(), strict=True):
            generator = shuffle_generator(settings.seed, identity)
            row[:] = tokens_of(dinucleotide_shuffle(codes_of(row), generator))
        baselines = per_strand(shuffled)
    return _Task(
        window_id, torch.from_numpy(weight).to(device), per_strand(tokens.copy()), baselines
    )


def _scores(
    model: WindowModel,
    task: _Task,
    strand: int,
    points: int,
    contribution: Contribution,
    settings: AttributionSettings,
) -> Tensor:
    """(M, T) float64 on the CPU: one strand's scores of all bases that the model read."""
    sums = np.zeros(tuple(task.inputs[strand].shape))
    letters = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=task.weight.device)
    with torch.no_grad():
        bases = model.embed(letters[None])[0]
    for batch in _batches(np.arange(len(sums) * points), settings.batch):
        window, point = np.divmod(batch.padded, points)
        inputs, baseline = _embeddings(model, task, strand, window)
        rows = Rows(
            point=point,
            window_id=task.window_id[window],
            strand=strand,
            inputs=inputs,
            baseline=baseline,
            bases=bases,
        )
        gradient = partial(_gradient, model, strand, task.weight[window])
        # Added on the CPU in the order of the rows: an accelerator's atomics have no fixed order.
        added = contribution(rows, gradient, settings).double().cpu().numpy()
        np.add.at(sums, window[: len(batch.real)], added[: len(batch.real)])
    return torch.from_numpy(sums)


def _change(model: WindowModel, task: _Task, batch: int) -> Tensor:
    """(M,) float64 on the CPU: f(x) - f(x'), averaged over the strands."""
    change = torch.zeros(len(task.window_id), dtype=torch.float64)
    for strand in range(len(task.inputs)):
        for rows in _batches(np.arange(len(change)), batch):
            with torch.no_grad():
                weight = task.weight[rows.padded]
                values = [
                    _target(model, strand, weight, points)[: len(rows.real)].double().cpu()
                    for points in _embeddings(model, task, strand, rows.padded)
                ]
            change[rows.real] += (values[0] - values[1]) / len(task.inputs)
    return change


def _embeddings(
    model: WindowModel, task: _Task, strand: int, window: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Embeddings of windows and of their baselines, (R, T, d) each."""
    with torch.no_grad():
        inputs = model.embed(task.inputs[strand][window])
        if task.baselines is None:
            return inputs, torch.zeros_like(inputs)
        return inputs, model.embed(task.baselines[strand][window])


def _target(model: WindowModel, strand: int, weight: Tensor, points: Tensor) -> Tensor:
    """(R,) target of every row."""
    return (model.strand_logits(points, strand)[..., POSITIVE] * weight).sum(1)


def _gradient(model: WindowModel, strand: int, weight: Tensor, points: Tensor) -> Tensor:
    """(R, T, d) gradient of every row's target."""
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        target = _target(model, strand, weight, points).sum()
        return torch.autograd.grad(target, points)[0]


class _Batch(NamedTuple):
    real: NDArray[np.int64]
    """(at most batch,) items."""
    padded: NDArray[np.int64]
    """(batch,) the same, the last one repeated: bits depend on the shape of a batch."""


def _batches(items: NDArray[np.int64], batch: int) -> Iterator[_Batch]:
    for first in range(0, len(items), batch):
        real = items[first : first + batch]
        yield _Batch(real, np.pad(real, (0, batch - len(real)), mode="edge"))


def _device(model: WindowModel) -> torch.device:
    return next(model.parameters()).device
