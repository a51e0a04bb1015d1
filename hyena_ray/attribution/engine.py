"""Attribute windows: every (window, point) is a row, rows fill batches of one fixed size.

In: a WindowModel and Windows.  Out: WindowAttribution, per-base scores of the windows that have
true positives.  No Ray here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.attribution.methods import METHODS, Contribution, Rows
from hyena_ray.attribution.path import Integral, integrate
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
        integrals: dict[str, Convergence] = {}
        for name in settings.methods:
            method = METHODS[name]
            if method.contribution is None:
                continue
            scores[name] = np.full(shape, np.nan, np.float32)
            if method.from_baseline:
                integral = _integral(targets, method.contribution, settings)
                by_strand = integral.scores
                integrals[name] = Convergence(
                    _spread(integral.completeness, chosen, len(tokens), np.nan),
                    _spread(integral.error, chosen, len(tokens), np.nan),
                    _spread(integral.nodes, chosen, len(tokens), 0),
                )
            else:
                by_strand = _mean(targets, method.contribution, settings)
            on_window = [
                model.to_window(torch.from_numpy(of_strand), strand)
                for strand, of_strand in enumerate(by_strand)
            ]
            scores[name][chosen] = torch.stack(on_window).mean(0).float().numpy()
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


def _integral(
    targets: Targets, contribution: Contribution, settings: AttributionSettings
) -> Integral:
    """Scores on the path from the baseline."""
    length = targets.inputs[0].shape[1]

    def evaluate(
        strand: int, windows: NDArray[np.int64], nodes: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        window, node = np.repeat(windows, len(nodes)), np.tile(nodes, len(windows))
        found = [*_contributions(targets, strand, window, node, contribution, settings)]
        return np.concatenate(found).reshape(len(windows), len(nodes), length)

    return integrate(evaluate, _change(targets, settings.batch), length, settings)


def _mean(
    targets: Targets, contribution: Contribution, settings: AttributionSettings
) -> NDArray[np.float64]:
    """(S, M, T): mean over the noisy copies."""
    sums = np.zeros((len(targets.inputs), *targets.inputs[0].shape))
    window = np.repeat(np.arange(len(targets)), settings.samples)
    copy = np.tile(np.arange(settings.samples), len(targets))
    for strand, of_strand in enumerate(sums):
        first = 0
        # In the order of the rows: an accelerator's atomics have no fixed order.
        for added in _contributions(targets, strand, window, copy, contribution, settings):
            np.add.at(of_strand, window[first : first + len(added)], added)
            first += len(added)
    return sums / settings.samples


def _contributions(
    targets: Targets,
    strand: int,
    window: NDArray[np.int64],
    point: NDArray[np.float64] | NDArray[np.int64],
    contribution: Contribution,
    settings: AttributionSettings,
) -> Iterator[NDArray[np.float32]]:
    """(R, T) contributions of points of windows, batch by batch."""
    letters = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=targets.weight.device)
    with torch.no_grad():
        bases = targets.model.embed(letters[None])[0]
    for batch in batches(np.arange(len(window)), settings.batch):
        which = window[batch.padded]
        inputs, baseline = targets.embeddings(strand, which)
        rows = Rows(
            point=point[batch.padded],
            window_id=targets.window_id[which],
            strand=strand,
            inputs=inputs,
            baseline=baseline,
            bases=bases,
        )
        gradient = partial(targets.gradients, strand, which)
        added: NDArray[np.float32] = contribution(rows, gradient, settings).float().cpu().numpy()
        yield added[: len(batch.real)]


def _change(targets: Targets, batch: int) -> NDArray[np.float64]:
    """(S, M) f(x) - f(x')."""
    change = np.zeros((len(targets.inputs), len(targets)))
    for strand, of_strand in enumerate(change):
        for rows in batches(np.arange(len(targets)), batch):
            with torch.no_grad():
                at_inputs, at_baselines = (
                    targets.values(strand, rows.padded, points)[: len(rows.real)].double().cpu()
                    for points in targets.embeddings(strand, rows.padded)
                )
            of_strand[rows.real] = at_inputs - at_baselines
    return change


def _spread(
    values: NDArray[Any], rows: NDArray[np.int64], count: int, missing: float
) -> NDArray[Any]:
    """(count,) values at their rows, `missing` elsewhere."""
    spread = np.full(count, missing, values.dtype)
    spread[rows] = values
    return spread
