"""Attribute windows: points of all windows fill passes of one size.

In: a WindowModel and Windows.  Out: WindowAttribution, per-base scores of the windows that have
true positives.  No Ray here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.attribution.methods import METHODS, Method, Rows, noise_of, noise_scale
from hyena_ray.attribution.path import Integral, OnPath, integrate
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.substitutions import substitutions
from hyena_ray.attribution.targets import Targets, tokens_read, true_positives
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import codes_of
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
    integrals: dict[str, Convergence]
    """How exact the scores are, of the methods that start at a baseline."""


class Convergence(NamedTuple):
    """Of the integrals of N windows; NaN and 0 in windows without a true positive."""

    completeness: NDArray[np.float64]
    """(N,) |sum of scores - (f(x) - f(x'))| / |f(x) - f(x')|, with the scores of the flanks; the
    strands' gaps do not cancel."""
    error: NDArray[np.float64]
    """(N,) estimated error of the scores, see `integrate`."""
    nodes: NDArray[np.int64]
    """(N,) gradients of each strand that were computed."""

    def rows(self, rows: NDArray[np.int64]) -> Convergence:
        """Of some windows."""
        return Convergence(self.completeness[rows], self.error[rows], self.nodes[rows])


def attribute_windows(
    model: WindowModel,
    windows: Windows,
    settings: AttributionSettings | None = None,
    true_positive: NDArray[np.bool_] | None = None,
) -> WindowAttribution:
    """Attribute the true positives of windows to their bases.

    The target of a window is the sum over its true-positive bases of the positive class's logit,
    with `normalise` divided by their number, averaged over the model's strands; that of a sequence
    with one label is its logit.  Scores of the reverse strand are mapped back to the window and
    averaged likewise.  A window's scores are those of its sequence: they do not depend on what is
    attributed beside it, but for the last bits, and windows that are alike are computed once.

    Args:
        model: in any mode; weights and mode are left as they were.
        windows: N windows as prepared; tokens (N, W + 2 * stored flank) uint8.
        settings: `definition("default", ...)` when None.
        true_positive: (N, labels) bool, which labels count as true positives; None asks the model.

    Raises:
        InputError: the windows do not have the length or the flank that the model reads.

    Source: with `definition("study", ...)` Algorithms 4 and 5 of the study, of sequences 2 and 3.
    """
    settings = settings or AttributionSettings()
    tokens = tokens_read(model, windows)
    with _frozen(model):
        if true_positive is None:
            true_positive = true_positives(model, tokens, windows.labels, settings.batch)
        chosen = np.flatnonzero(true_positive.any(axis=1))
        once, alike = _distinct(tokens[chosen], true_positive[chosen])
        targets = Targets(model, tokens[chosen][once], true_positive[chosen][once], settings)
        shape = (len(tokens), model.readout.window)
        scores: dict[str, NDArray[np.float32]] = {}
        integrals: dict[str, Convergence] = {}
        for name in settings.methods:
            method = METHODS[name]
            if not method.scores_bases:
                continue
            by_strand, integral = _by_strand(targets, method, settings)
            on_window = [
                model.to_window(torch.from_numpy(of_strand), strand)
                for strand, of_strand in enumerate(by_strand)
            ]
            scores[name] = np.full(shape, np.nan, np.float32)
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()[alike]
            if integral is not None:
                integrals[name] = Convergence(
                    _spread(integral.completeness[alike], chosen, len(tokens), np.nan),
                    _spread(integral.error[alike], chosen, len(tokens), np.nan),
                    _spread(integral.nodes[alike], chosen, len(tokens), 0),
                )
    stored = model.readout.stored
    bases = codes_of(tokens[:, stored : tokens.shape[1] - stored])
    # A sequence is a true positive as a whole.
    true_positive = np.broadcast_to(true_positive, shape).copy()
    return WindowAttribution(windows.window_id, bases, true_positive, scores, integrals)


def _distinct(
    tokens: NDArray[np.uint8], true_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stand for all that are alike, and which of these stands for each row."""
    rows = np.concatenate([tokens, true_positive.view(np.uint8)], axis=1)
    _, once, alike = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return once, alike


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


def _by_strand(
    targets: Targets, method: Method, settings: AttributionSettings
) -> tuple[NDArray[np.float64], Integral | None]:
    """(S, M, T) scores, and the integral that they are, if they are one."""
    if method.path:
        integral = _integral(targets, method, settings)
        return integral.scores, integral
    if method.substitutes:
        return substitutions(targets, settings), None
    every = np.arange(len(targets))
    of_strands = [
        _at_points(targets, strand, every, None, method, settings)[0]
        for strand in range(len(targets.inputs))
    ]
    return np.stack(of_strands), None


def _integral(targets: Targets, method: Method, settings: AttributionSettings) -> Integral:
    """Scores on the path from the baseline."""

    def evaluate(strand: int, windows: NDArray[np.int64], nodes: NDArray[np.float64]) -> OnPath:
        window, place = np.repeat(windows, len(nodes)), np.tile(nodes, len(windows))
        scores, values = _at_points(targets, strand, window, place, method, settings)
        shape = (len(windows), len(nodes))
        return OnPath(scores.reshape(*shape, -1), values.reshape(shape))

    return integrate(evaluate, (len(targets.inputs), len(targets), targets.length), settings)


def _at_points(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    place: NDArray[np.float64] | None,
    method: Method,
    settings: AttributionSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(P, T) scores of gradients at points of windows, and (P,) targets; means over copies.

    Args:
        window: (P,) whose point each is.
        place: (P,) on the path from the baseline, 0, to the window, 1; None for the window itself.
    """
    copies = method.copies(settings)
    scores, values = np.zeros((len(window), targets.length)), np.zeros(len(window))
    point, copy = np.repeat(np.arange(len(window)), copies), np.tile(np.arange(copies), len(window))
    assert method.score is not None
    for some, length, labels in targets.passes(strand, window[point]):
        at, which = point[some], window[point[some]]
        rows = _rows(targets, strand, which, copy[some], length, method, settings)
        points = rows.inputs + rows.noise
        if place is not None:
            share = torch.from_numpy(place[at].astype(np.float32)).to(points.device)
            points = rows.baseline + share[:, None, None] * (points - rows.baseline)
        targeted, gradient = targets.gradients(strand, which, points, labels)
        scored = method.score(gradient, rows, settings)
        # In the order of the rows: an accelerator's atomics have no fixed order.
        np.add.at(scores[:, :length], at, scored.double().cpu().numpy())
        np.add.at(values, at, targeted.double().cpu().numpy())
    return scores / copies, values / copies


def _rows(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    copy: NDArray[np.int64],
    length: int,
    method: Method,
    settings: AttributionSettings,
) -> Rows:
    inputs, baseline = targets.embeddings(strand, window, copy, length)
    bases, noise = targets.bases, inputs.new_zeros(())
    if method.noisy:
        shape = (length, inputs.shape[2])
        drawn = noise_of(targets.keys[window], strand, copy, shape, settings.seed)
        noise = noise_scale(bases, settings) * torch.from_numpy(drawn).to(inputs.device)
    return Rows(inputs=inputs, noise=noise, baseline=baseline, bases=bases)


def _spread(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """(count,) values at their rows, `missing` elsewhere."""
    spread = np.full(count, missing, values.dtype)
    spread[rows] = values
    return spread
