"""Attribution of windows: the points of all windows fill passes of one size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.attribution._path_integral import Integral, OnPath, integrate
from hyena_ray.attribution.methods import (
    METHODS,
    Method,
    PassInputs,
    draw_noise,
    noise_scale,
    saturation_mutagenesis,
)
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import Targets, batches, trim_tokens, true_positives
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import tokens_to_codes
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.window import WindowModel

WINDOWS = 64
"""Windows whose noisy copies are in memory at the same time."""


class Convergence(NamedTuple):
    """Accuracy of the path integrals of N windows; NaN and 0 in windows without a true positive."""

    completeness: NDArray[np.float64]
    """Completeness error |sum of scores - (f(x) - f(x'))| / |f(x) - f(x')|, shape (N,). Scores of
    the flanks count; errors of different strands and paths do not cancel."""
    error: NDArray[np.float64]
    """Estimated error of the scores, the largest of a window's paths, shape (N,)."""
    nodes: NDArray[np.int64]
    """Gradients that were computed for each strand, on all paths of a window, shape (N,)."""

    def rows(self, rows: NDArray[np.int64]) -> Convergence:
        """Return the accuracy of some of the windows.

        Args:
            rows: Numbers of the windows, shape (n,).
        """
        return Convergence(self.completeness[rows], self.error[rows], self.nodes[rows])

    def summary(self, tolerance: float | None) -> dict[str, float]:
        """Summarise the accuracy in a few numbers.

        Args:
            tolerance: Error above which a window counts as `not_converged`; None counts none.
        """
        # A target that does not change at all has no relative error.
        known = self.completeness[np.isfinite(self.completeness)]
        median, high, worst = np.quantile(known, (0.5, 0.9, 1)) if len(known) else (0.0, 0.0, 0.0)
        # Not `error > tolerance`, since NaN has not converged.
        unconverged = 0 if tolerance is None else (~(self.error <= tolerance)).sum()
        return {
            "windows": len(self.nodes),
            "completeness_median": float(median),
            "completeness_90_percent": float(high),
            "completeness_worst": float(worst),
            "nodes_mean": float(self.nodes.mean()),
            "not_converged": int(unconverged),
        }


class WindowAttribution(NamedTuple):
    """Per-base attribution of N windows of W bases, in their own order and orientation."""

    window_id: NDArray[np.int64]
    """Ids of the windows, shape (N,)."""
    bases: NDArray[np.uint8]
    """Base codes, shape (N, W); A C G T = 0 1 2 3, unknown 4."""
    true_positive: NDArray[np.bool_]
    """Bases that are labelled and predicted 1, shape (N, W); all or none of a sequence with one
    label."""
    scores: dict[str, NDArray[np.float32]]
    """Scores of each method in logits, shape (N, W); NaN in windows without a true positive."""
    integrals: dict[str, Convergence]
    """Accuracy of each method that integrates from a baseline."""


def attribute_windows(
    model: WindowModel,
    windows: Windows,
    settings: AttributionSettings | None = None,
    true_positive: NDArray[np.bool_] | None = None,
) -> WindowAttribution:
    """Attribute the true positives of windows to their bases.

    The target of a window is the sum of the positive class's logit over its true-positive bases,
    divided by their number with `normalise`, and averaged over the strands that the model reads.
    The target of a sequence with one label is its logit. Scores of the reverse strand are mapped
    back to the window and averaged likewise. Scores of a window depend on its sequence, and not on
    what else is attributed, except for the last bits; equal windows are computed once.

    Args:
        model: Model in any mode; its weights and mode are left as they were.
        windows: N windows as prepared, with the flank that the model requires, or a longer one.
        settings: Methods and their settings; None for the corrected definitions.
        true_positive: Labels that count as true positives, shape (N, labels), bool; None asks the
            model.

    Returns:
        Scores of all methods that score bases.

    Raises:
        InputError: The windows do not have the length or the flank that the model reads.

    Example:
        >>> from hyena_ray.dataset.tokens import encode
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
        >>> from hyena_ray.tasks import TASKS
        >>> model = build_model(
        ...     ModelSettings(d_model=8, n_layer=1),
        ...     Readout(window=6, flank=1, lookahead=0),
        ...     LoraSettings(),
        ...     TASKS["zdna"],
        ...     seed=0,
        ... )
        >>> windows = Windows(
        ...     window_id=np.array([0]),
        ...     contig=np.array(["chr1"]),
        ...     start=np.array([0]),
        ...     tokens=encode("ACGCGCGT")[None],
        ...     labels=np.ones((1, 6), np.int8),
        ... )
        >>> result = attribute_windows(
        ...     model,
        ...     windows,
        ...     AttributionSettings(methods=("ig",)),
        ...     true_positive=np.ones((1, 6), bool),
        ... )
        >>> result.scores["ig"].shape
        (1, 6)

    Reference: with `definition("original", ...)` Bokhyan 2025, Algorithms 4 and 5 for labels of
    bases, 2 and 3 for labels of sequences.
    """
    settings = settings or AttributionSettings()
    tokens = trim_tokens(model, windows)
    with _frozen(model):
        if true_positive is None:
            true_positive = true_positives(model, tokens, windows.labels, settings.batch)
        chosen = np.flatnonzero(true_positive.any(axis=1))
        once, inverse = _distinct(tokens[chosen], true_positive[chosen])
        targets = Targets(model, tokens[chosen][once], true_positive[chosen][once], settings)
        shape = (len(tokens), model.readout.window)
        scores: dict[str, NDArray[np.float32]] = {}
        integrals: dict[str, Convergence] = {}
        for name in settings.methods:
            method = METHODS[name]
            if not method.scores_bases:
                continue
            by_strand, integral = _score_strands(targets, method, settings)
            on_window = [
                model.to_window(torch.from_numpy(strand_scores), strand)
                for strand, strand_scores in enumerate(by_strand)
            ]
            scores[name] = np.full(shape, np.nan, np.float32)
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()[inverse]
            if integral is not None:
                integrals[name] = Convergence(
                    _scatter_rows(integral.completeness[inverse], chosen, len(tokens), np.nan),
                    _scatter_rows(integral.error[inverse], chosen, len(tokens), np.nan),
                    _scatter_rows(integral.nodes[inverse], chosen, len(tokens), 0),
                )
    flank = model.readout.required_flank
    bases = tokens_to_codes(tokens[:, flank : tokens.shape[1] - flank])
    # A sequence with one label is a true positive as a whole.
    true_positive = np.broadcast_to(true_positive, shape).copy()
    return WindowAttribution(windows.window_id, bases, true_positive, scores, integrals)


def _distinct(
    tokens: NDArray[np.uint8], true_positive: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return one row of each group of equal ones, and the number of its group for every row."""
    rows = np.concatenate([tokens, true_positive.view(np.uint8)], axis=1)
    _, once, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return once, inverse


@contextmanager
def _frozen(model: WindowModel) -> Iterator[None]:
    """Hold the model in evaluation mode without gradients of its weights.

    Only embeddings are differentiated, and the convolution filters, which depend on the weights
    alone, are computed once.
    """
    training = model.training
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learnt:
        parameter.requires_grad_(False)
    try:
        with frozen_filters(model):
            yield
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)
        model.train(training)


class _Points(NamedTuple):
    """P points of embedding space at which gradients are computed."""

    window: NDArray[np.int64]
    """Window of each point, shape (P,)."""
    copy: NDArray[np.int64]
    """Number of the window's noisy copy or baseline, shape (P,)."""
    position: NDArray[np.float64] | None
    """Position on the path from the baseline, 0, to the window, 1, shape (P,); None for the window
    itself."""


def _score_strands(
    targets: Targets, method: Method, settings: AttributionSettings
) -> tuple[NDArray[np.float64], Integral | None]:
    """Return scores of shape (S, M, T), and the integral that they are, if they are one."""
    if method.path:
        integral = _integrate_paths(targets, method, settings)
        return integral.scores, integral
    if method.substitutes:
        return saturation_mutagenesis(targets, settings), None
    copies = method.copies(settings)
    scores = np.zeros((len(targets.inputs), len(targets), targets.length))
    for strand, strand_scores in enumerate(scores):
        for some in batches(np.arange(len(targets)), WINDOWS):
            window, copy = np.repeat(some, copies), np.tile(np.arange(copies), len(some))
            at_points = _score_points(
                targets, strand, _Points(window, copy, None), method, settings
            )
            strand_scores[some] = at_points.scores.reshape(len(some), copies, -1).mean(1)
    return scores, None


def _integrate_paths(targets: Targets, method: Method, settings: AttributionSettings) -> Integral:
    """Return the scores on the paths from the baselines, averaged over those of each window."""
    copies = method.copies(settings)
    window = np.repeat(np.arange(len(targets)), copies)
    copy = np.tile(np.arange(copies), len(targets))

    def evaluate(strand: int, paths: NDArray[np.int64], nodes: NDArray[np.float64]) -> OnPath:
        path, position = np.repeat(paths, len(nodes)), np.tile(nodes, len(paths))
        points = _Points(window[path], copy[path], position)
        scores, values = _score_points(targets, strand, points, method, settings)
        shape = (len(paths), len(nodes))
        return OnPath(scores.reshape(*shape, -1), values.reshape(shape))

    shape = (len(targets.inputs), len(window), targets.length)
    return integrate(evaluate, shape, settings).mean_over(copies)


def _score_points(
    targets: Targets, strand: int, points: _Points, method: Method, settings: AttributionSettings
) -> OnPath:
    """Return the scores of the gradients at points, shape (P, T), and the targets there, (P,)."""
    count = len(points.window)
    result = OnPath(np.zeros((count, targets.length)), np.zeros(count))
    assert method.score is not None
    for some, length, labels in targets.passes(strand, points.window):
        window, position = points.window[some], points.position
        inputs = _pass_inputs(targets, strand, window, points.copy[some], length, method, settings)
        point = inputs.inputs + inputs.noise
        if position is not None:
            fraction = torch.from_numpy(position[some].astype(np.float32)).to(point.device)
            point = inputs.baseline + fraction[:, None, None] * (point - inputs.baseline)
        values, gradient = targets.gradients(strand, window, point, labels)
        result.values[some] = values.double().cpu().numpy()
        scores = method.score(gradient, inputs, settings)
        result.scores[some, :length] = scores.double().cpu().numpy()
    return result


def _pass_inputs(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    copy: NDArray[np.int64],
    length: int,
    method: Method,
    settings: AttributionSettings,
) -> PassInputs:
    inputs, baseline = targets.embeddings(strand, window, copy, length)
    bases, noise = targets.bases, inputs.new_zeros(())
    if method.noisy:
        shape = (length, inputs.shape[2])
        drawn = draw_noise(targets.keys[window], strand, copy, shape, settings.seed)
        noise = noise_scale(bases, settings) * torch.from_numpy(drawn).to(inputs.device)
    return PassInputs(inputs=inputs, noise=noise, baseline=baseline, bases=bases)


def _scatter_rows(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """Return an array of shape (count,) with values at their rows, `missing` elsewhere."""
    scattered = np.full(count, missing, values.dtype)
    scattered[rows] = values
    return scattered
