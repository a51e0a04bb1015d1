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

from hyena_ray.attribution._path_integral import Integral, OnPath, integrate
from hyena_ray.attribution.ism import saturation_mutagenesis
from hyena_ray.attribution.methods import METHODS, Method, Rows, draw_noise, noise_scale
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import Targets, batches, tokens_read, true_positives
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import tokens_to_codes
from hyena_ray.model.window import WindowModel

WINDOWS = 64
"""Windows whose noisy copies are in memory at once."""


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
    gaps of strands and paths do not cancel."""
    error: NDArray[np.float64]
    """(N,) estimated error of the scores, see `integrate`, the largest of a window's paths."""
    nodes: NDArray[np.int64]
    """(N,) gradients of each strand that were computed, on all its paths."""

    def rows(self, rows: NDArray[np.int64]) -> Convergence:
        """Of some windows."""
        return Convergence(self.completeness[rows], self.error[rows], self.nodes[rows])

    def summary(self, tolerance: float | None) -> dict[str, float]:
        """In a few numbers; `not_converged` counts windows that are not within the tolerance."""
        # A target that does not change at all has no share to be wrong by.
        known = self.completeness[np.isfinite(self.completeness)]
        middle, most, worst = np.quantile(known, (0.5, 0.9, 1)) if len(known) else (0.0, 0.0, 0.0)
        # Not `error > tolerance`: what is not a number has not converged.
        wanting = 0 if tolerance is None else (~(self.error <= tolerance)).sum()
        return {
            "windows": len(self.nodes),
            "completeness_median": float(middle),
            "completeness_90_percent": float(most),
            "completeness_worst": float(worst),
            "nodes_mean": float(self.nodes.mean()),
            "not_converged": int(wanting),
        }


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

    Reference: with `definition("original", ...)` Bokhyan 2025, Algorithms 4 and 5 for labels of
    bases, 2 and 3 for labels of sequences.
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
    stored = model.readout.required_flank
    bases = tokens_to_codes(tokens[:, stored : tokens.shape[1] - stored])
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


class Points(NamedTuple):
    """P points of embedding space at which gradients are taken."""

    window: NDArray[np.int64]
    """(P,) whose each is."""
    copy: NDArray[np.int64]
    """(P,) which of the window's noisy copies, or of its baselines."""
    place: NDArray[np.float64] | None
    """(P,) on the path from the baseline, 0, to the window, 1; None for the window itself."""


def _by_strand(
    targets: Targets, method: Method, settings: AttributionSettings
) -> tuple[NDArray[np.float64], Integral | None]:
    """(S, M, T) scores, and the integral that they are, if they are one."""
    if method.path:
        integral = _integral(targets, method, settings)
        return integral.scores, integral
    if method.substitutes:
        return saturation_mutagenesis(targets, settings), None
    copies = method.copies(settings)
    scores = np.zeros((len(targets.inputs), len(targets), targets.length))
    for strand, of_strand in enumerate(scores):
        for some in batches(np.arange(len(targets)), WINDOWS):
            window, copy = np.repeat(some, copies), np.tile(np.arange(copies), len(some))
            found = _at_points(targets, strand, Points(window, copy, None), method, settings)
            of_strand[some] = found.scores.reshape(len(some), copies, -1).mean(1)
    return scores, None


def _integral(targets: Targets, method: Method, settings: AttributionSettings) -> Integral:
    """Scores on the paths from the baselines, the mean of those of each window."""
    copies = method.copies(settings)
    window = np.repeat(np.arange(len(targets)), copies)
    copy = np.tile(np.arange(copies), len(targets))

    def evaluate(strand: int, paths: NDArray[np.int64], nodes: NDArray[np.float64]) -> OnPath:
        path, place = np.repeat(paths, len(nodes)), np.tile(nodes, len(paths))
        points = Points(window[path], copy[path], place)
        scores, values = _at_points(targets, strand, points, method, settings)
        shape = (len(paths), len(nodes))
        return OnPath(scores.reshape(*shape, -1), values.reshape(shape))

    shape = (len(targets.inputs), len(window), targets.length)
    return integrate(evaluate, shape, settings).mean_of(copies)


def _at_points(
    targets: Targets, strand: int, points: Points, method: Method, settings: AttributionSettings
) -> OnPath:
    """(P, T) scores of the gradients at points, and (P,) targets there."""
    count = len(points.window)
    found = OnPath(np.zeros((count, targets.length)), np.zeros(count))
    assert method.score is not None
    for some, length, labels in targets.passes(strand, points.window):
        window, place = points.window[some], points.place
        rows = _rows(targets, strand, window, points.copy[some], length, method, settings)
        at = rows.inputs + rows.noise
        if place is not None:
            share = torch.from_numpy(place[some].astype(np.float32)).to(at.device)
            at = rows.baseline + share[:, None, None] * (at - rows.baseline)
        values, gradient = targets.gradients(strand, window, at, labels)
        found.values[some] = values.double().cpu().numpy()
        scores = method.score(gradient, rows, settings)
        found.scores[some, :length] = scores.double().cpu().numpy()
    return found


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
        drawn = draw_noise(targets.keys[window], strand, copy, shape, settings.seed)
        noise = noise_scale(bases, settings) * torch.from_numpy(drawn).to(inputs.device)
    return Rows(inputs=inputs, noise=noise, baseline=baseline, bases=bases)


def _spread(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """(count,) values at their rows, `missing` elsewhere."""
    spread = np.full(count, missing, values.dtype)
    spread[rows] = values
    return spread
