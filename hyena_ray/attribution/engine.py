"""Attribute windows: every (window, point) is a row, rows fill batches of one fixed size.

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
from hyena_ray.attribution.path import Integral, integrate
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.substitutions import substitutions
from hyena_ray.attribution.targets import Targets, batches, tokens_read, true_positives
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
    averaged likewise.  A window's scores do not depend on what is attributed beside it, but for
    the last bits.

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
        targets = Targets(
            model, tokens[chosen], windows.window_id[chosen], true_positive[chosen], settings
        )
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
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()
            if integral is not None:
                integrals[name] = Convergence(
                    _spread(integral.completeness, chosen, len(tokens), np.nan),
                    _spread(integral.error, chosen, len(tokens), np.nan),
                    _spread(integral.nodes, chosen, len(tokens), 0),
                )
    stored = model.readout.stored
    bases = codes_of(tokens[:, stored : tokens.shape[1] - stored])
    # A sequence is a true positive as a whole.
    true_positive = np.broadcast_to(true_positive, shape).copy()
    return WindowAttribution(windows.window_id, bases, true_positive, scores, integrals)


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
        _scores(targets, strand, every, None, method, settings)
        for strand in range(len(targets.inputs))
    ]
    return np.stack(of_strands), None


def _integral(targets: Targets, method: Method, settings: AttributionSettings) -> Integral:
    """Scores on the path from the baseline."""
    length = targets.inputs[0].shape[1]

    def evaluate(
        strand: int, windows: NDArray[np.int64], nodes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        window, place = np.repeat(windows, len(nodes)), np.tile(nodes, len(windows))
        found = _scores(targets, strand, window, place, method, settings)
        return found.reshape(len(windows), len(nodes), length)

    return integrate(evaluate, _change(targets, method, settings), length, settings)


def _scores(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    place: NDArray[np.float64] | None,
    method: Method,
    settings: AttributionSettings,
) -> NDArray[np.float64]:
    """(P, T) scores of gradients at points of windows, the mean over their copies.

    Args:
        window: (P,) whose point each is.
        place: (P,) on the path from the baseline, 0, to the window, 1; None for the window itself.
    """
    copies = method.copies(settings)
    sums = np.zeros((len(window), targets.inputs[0].shape[1]))
    point, copy = np.repeat(np.arange(len(window)), copies), np.tile(np.arange(copies), len(window))
    assert method.score is not None
    for batch in batches(np.arange(len(point)), settings.batch):
        at, which = point[batch.padded], window[point[batch.padded]]
        rows = _rows(targets, strand, which, copy[batch.padded], method, settings)
        points = rows.inputs + rows.noise
        if place is not None:
            share = torch.from_numpy(place[at].astype(np.float32)).to(points.device)
            points = rows.baseline + share[:, None, None] * (points - rows.baseline)
        scores = method.score(targets.gradients(strand, which, points), rows, settings)
        # In the order of the rows: an accelerator's atomics have no fixed order.
        real = len(batch.real)
        np.add.at(sums, at[:real], scores[:real].double().cpu().numpy())
    return sums / copies


def _rows(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    copy: NDArray[np.int64],
    method: Method,
    settings: AttributionSettings,
) -> Rows:
    inputs, baseline = targets.embeddings(strand, window, copy)
    bases, noise = targets.bases, inputs.new_zeros(())
    if method.noisy:
        length, width = inputs.shape[1:]
        drawn = noise_of(targets.window_id[window], strand, copy, (length, width), settings.seed)
        noise = noise_scale(bases, settings) * torch.from_numpy(drawn).to(inputs.device)
    return Rows(inputs=inputs, noise=noise, baseline=baseline, bases=bases)


def _change(targets: Targets, method: Method, settings: AttributionSettings) -> NDArray[np.float64]:
    """(S, M) f(x) - f(x'), the mean over copies."""
    change = np.zeros((len(targets.inputs), len(targets)))
    copies = method.copies(settings)
    window = np.repeat(np.arange(len(targets)), copies)
    copy = np.tile(np.arange(copies), len(targets))
    for strand, of_strand in enumerate(change):
        for batch in batches(np.arange(len(window)), settings.batch):
            which, real = window[batch.padded], len(batch.real)
            rows = _rows(targets, strand, which, copy[batch.padded], method, settings)
            with torch.no_grad():
                at_inputs, at_baseline = (
                    targets.values(strand, which, points)[:real].double().cpu().numpy()
                    for points in (rows.inputs + rows.noise, rows.baseline)
                )
            np.add.at(of_strand, which[:real], (at_inputs - at_baseline) / copies)
    return change


def _spread(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """(count,) values at their rows, `missing` elsewhere."""
    spread = np.full(count, missing, values.dtype)
    spread[rows] = values
    return spread
