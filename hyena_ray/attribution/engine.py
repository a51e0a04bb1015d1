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

from hyena_ray.attribution.methods import METHODS, Contribution, Rows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import Targets, batches, tokens_read, true_positives
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE, codes_of
from hyena_ray.model.window import WindowModel


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
    tokens = tokens_read(model, windows)
    with _frozen(model):
        true_positive = true_positives(model, tokens, windows.labels, settings.batch)
        chosen = np.flatnonzero(true_positive.any(axis=1))
        targets = Targets(
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
                _scores(targets, strand, points, method.contribution, settings)
                for strand in range(len(targets.inputs))
            ]
            on_window = [
                model.to_window(strand_sum, strand) for strand, strand_sum in enumerate(sums)
            ]
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()
            if method.from_baseline:
                total = torch.stack([strand_sum.sum(1) for strand_sum in sums]).mean(0)
                change = _change(targets, settings.batch)
                completeness[name][chosen] = ((total - change).abs() / change.abs()).numpy()
    stored = model.readout.stored
    bases = codes_of(tokens[:, stored : tokens.shape[1] - stored])
    # A sequence is a true positive as a whole.
    true_positive = np.broadcast_to(true_positive, shape).copy()
    return WindowAttribution(windows.window_id, bases, true_positive, scores, completeness)


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


def _scores(
    targets: Targets,
    strand: int,
    points: int,
    contribution: Contribution,
    settings: AttributionSettings,
) -> Tensor:
    """(M, T) float64 on the CPU: one strand's scores of all bases that the model read."""
    sums = np.zeros(tuple(targets.inputs[strand].shape))
    letters = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=targets.weight.device)
    with torch.no_grad():
        bases = targets.model.embed(letters[None])[0]
    for batch in batches(np.arange(len(sums) * points), settings.batch):
        window, point = np.divmod(batch.padded, points)
        inputs, baseline = targets.embeddings(strand, window)
        rows = Rows(
            point=point,
            window_id=targets.window_id[window],
            strand=strand,
            inputs=inputs,
            baseline=baseline,
            bases=bases,
        )
        gradient = partial(targets.gradients, strand, window)
        # Added on the CPU in the order of the rows: an accelerator's atomics have no fixed order.
        added = contribution(rows, gradient, settings).double().cpu().numpy()
        np.add.at(sums, window[: len(batch.real)], added[: len(batch.real)])
    return torch.from_numpy(sums)


def _change(targets: Targets, batch: int) -> Tensor:
    """(M,) float64 on the CPU: f(x) - f(x'), averaged over the strands."""
    change = torch.zeros(len(targets), dtype=torch.float64)
    for strand in range(len(targets.inputs)):
        for rows in batches(np.arange(len(change)), batch):
            with torch.no_grad():
                at_inputs, at_baselines = (
                    targets.values(strand, rows.padded, points)[: len(rows.real)].double().cpu()
                    for points in targets.embeddings(strand, rows.padded)
                )
            change[rows.real] += (at_inputs - at_baselines) / len(targets.inputs)
    return change
