"""Integrals of scores along the path from a baseline to a window, to a required accuracy.

Rules of more and more nodes are applied, only to paths whose error is above the tolerance, and each
rule reuses the nodes of the last one. Scores stay on the device. The host synchronises with it once
per rule, to learn which paths need the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.model.devices import upload

ENDS = np.array([0.0, 1.0])
"""Positions of the baseline and of the window on the path."""
_SPACING = 0.99
"""How far the nodes of `nested` are moved apart: 0 for not at all, 1 for even spacing."""


class Rule(NamedTuple):
    """A quadrature rule on [0, 1]: the integral of f is about the sum of weights * f(nodes)."""

    nodes: NDArray[np.float64]
    """Nodes in ascending order, shape (n,)."""
    weights: NDArray[np.float64]
    """Weights that sum to 1, shape (n,)."""


@cache
def gauss_legendre(steps: int) -> Rule:
    """Return the Gauss-Legendre rule, exact for polynomials of degree 2 * steps - 1.

    Args:
        steps: Number of nodes, none of which occur in a rule of another number.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Rule((nodes + 1) / 2, weights / 2)


@cache
def nested(intervals: int) -> Rule:
    """Return a rule of which every second node belongs to the rule of half as many intervals.

    The nodes of Clenshaw-Curtis crowd at the ends, which a path does not require. Here they are
    moved apart by an arcsine: functions that are analytic along the whole path need up to pi / 2
    times fewer. Polynomials of degree 1 are integrated exactly.

    Args:
        intervals: Even number of intervals; the rule has one node more.

    Reference: Hale & Trefethen 2008, New quadrature formulas from conformal maps; the map is that
    of Kosloff & Tal-Ezer 1993.
    """
    nodes, weights = clenshaw_curtis(intervals)
    scaled = _SPACING * (2 * nodes - 1)
    moved = (np.arcsin(scaled) / np.arcsin(_SPACING) + 1) / 2
    weights = weights / np.sqrt(1 - scaled**2)
    return Rule(moved, weights / weights.sum())


@cache
def clenshaw_curtis(intervals: int) -> Rule:
    """Return the Clenshaw-Curtis rule, exact for polynomials of degree `intervals`.

    On smooth integrands it is about as accurate as Gauss-Legendre with as many nodes.

    Args:
        intervals: Even number of intervals; the rule has one node more.

    Reference: Waldvogel 2006, Fast construction of the Fejer and Clenshaw-Curtis quadrature rules;
    Trefethen 2008, Is Gauss quadrature better than Clenshaw-Curtis?
    """
    angle = np.arange(intervals + 1) * np.pi / intervals
    even = np.arange(2, intervals + 1, 2)
    factor = np.where(even < intervals, 2.0, 1.0) / (even**2 - 1.0)
    weights = 1 - np.cos(np.outer(angle, even)) @ factor
    weights[1:-1] *= 2
    return Rule((1 - np.cos(angle)) / 2, weights / (2 * intervals))


class OnPath(NamedTuple):
    """Scores and targets at points of embedding space, for example at n positions on m paths."""

    scores: Tensor
    """Scores of T input positions, shape (m, n, T), float64."""
    values: Tensor
    """Targets, shape (m, n), float64."""


Evaluate = Callable[[int, NDArray[np.int64], NDArray[np.float64]], OnPath]
"""Function that evaluates a strand at positions (n,) on paths (m,)."""


class Integral(NamedTuple):
    """Scores of M paths on S strands, and how accurate they are."""

    scores: NDArray[np.float64]
    """Scores of T input positions, shape (S, M, T)."""
    gap: NDArray[np.float64]
    """Sum over strands of |sum of scores - change of the target|, shape (M,)."""
    change: NDArray[np.float64]
    """Sum over strands of the change of the target along the path, shape (M,)."""
    error: NDArray[np.float64]
    """Estimated largest error of a score, relative to the largest score, shape (M,); the
    completeness error where the number of steps is fixed."""
    nodes: NDArray[np.int64]
    """Gradients that were computed for each strand, shape (M,)."""

    @property
    def completeness(self) -> NDArray[np.float64]:
        """Error of the sum of all scores, relative to what it should be, shape (M,)."""
        with np.errstate(divide="ignore", invalid="ignore"):  # the target may not change at all
            return self.gap / np.abs(self.change)

    def mean_over(self, copies: int) -> Integral:
        """Average the paths of each window.

        Args:
            copies: Consecutive paths that end at the same window.
        """
        windows = len(self.gap) // copies
        strands, _, length = self.scores.shape
        gap, change, error, nodes = (column.reshape(windows, copies) for column in self[1:])
        return Integral(
            self.scores.reshape(strands, windows, copies, length).mean(2),
            gap.mean(1),
            change.mean(1),
            error.max(1),
            nodes.sum(1),
        )


def integrate(
    evaluate: Evaluate, shape: tuple[int, int, int], group: int, settings: AttributionSettings
) -> Integral:
    """Integrate scores over every path.

    Without a tolerance this is Gauss-Legendre with `steps` nodes, as published. With one, nodes are
    added until the error is within it. The error of the sum alone may be small by chance, so the
    change since half as many nodes counts as well: a convergent rule converges geometrically, and
    the error of n nodes is about the square of that of n / 2. Sixteen times the square is taken, to
    be safe.

    Args:
        evaluate: Function that returns scores and targets on paths.
        shape: Numbers of strands, paths and input positions: S, M, T.
        group: Paths whose scores are in memory at the same time.
        settings: `steps`, `tolerance` and `max_steps` are read.
    """
    paths = shape[1]
    gap, change, error = np.zeros((3, paths))
    integral = Integral(np.zeros(shape), gap, change, error, np.zeros(paths, np.int64))
    for first in range(0, paths, group):
        some = np.arange(first, min(first + group, paths))
        _integrate_group(evaluate, some, settings, integral)
    return integral


def _integrate_group(
    evaluate: Evaluate, rest: NDArray[np.int64], settings: AttributionSettings, integral: Integral
) -> None:
    strands = len(integral.scores)
    values: Tensor | None = None
    for nodes, weights in _rules(settings):
        if values is None:
            values, targets = _evaluate_strands(evaluate, strands, rest, nodes)
            if settings.tolerance is None:  # Gauss-Legendre rules have no nodes at the ends
                _, targets = _evaluate_strands(evaluate, strands, rest, ENDS)
            else:  # the rule of half as many intervals has every other node
                before = _weighted(nested(settings.steps // 2).weights, values[:, :, ::2])
            change = targets[..., -1] - targets[..., 0]
        else:
            # The old nodes, and a new one between any two.
            computed, _ = _evaluate_strands(evaluate, strands, rest, nodes[1::2])
            old, values = values, values.new_empty(*values.shape[:2], len(nodes), values.shape[3])
            values[:, :, ::2], values[:, :, 1::2] = old, computed
        scores = _weighted(weights, values)
        gap, whole = (scores.sum(2) - change).abs().sum(0), change.sum(0).abs()
        # If the target does not change at all, the quotients are infinite or NaN.
        if settings.tolerance is None:
            error = gap / whole
        else:
            # A target that happens not to change over the whole path has scores all the same.
            largest = scores.abs().amax((0, 2))
            moved = (scores - before).abs().amax((0, 2)) / largest
            error = torch.maximum(gap / torch.maximum(whole, largest), (4 * moved) ** 2)
        integral.scores[:, rest] = scores.cpu().numpy()
        integral.gap[rest], integral.change[rest], integral.error[rest] = (
            torch.stack([gap, change.sum(0), error]).cpu().numpy()
        )
        integral.nodes[rest] = len(nodes)
        # Not `error > tolerance`, since NaN has not converged.
        unfinished = np.flatnonzero(~(integral.error[rest] <= (settings.tolerance or np.inf)))
        if not len(unfinished):
            return
        rest, kept = rest[unfinished], upload(unfinished, values.device)
        change, values, before = change[:, kept], values[:, kept], scores[:, kept]


def _weighted(weights: NDArray[np.float64], values: Tensor) -> Tensor:
    """Return the weighted sums over the nodes: (S, m, n, T) to (S, m, T)."""
    return torch.einsum("n,smnt->smt", upload(weights, values.device), values)


def _evaluate_strands(
    evaluate: Evaluate, strands: int, paths: NDArray[np.int64], nodes: NDArray[np.float64]
) -> OnPath:
    """Evaluate all strands: scores of shape (S, m, n, T), and targets of shape (S, m, n)."""
    parts = [evaluate(strand, paths, nodes) for strand in range(strands)]
    return OnPath(*(torch.stack(columns) for columns in zip(*parts, strict=True)))


def _rules(settings: AttributionSettings) -> Iterator[Rule]:
    if settings.tolerance is None:
        yield gauss_legendre(settings.steps)
        return
    steps = settings.steps
    while steps <= settings.max_steps:
        yield nested(steps)
        steps *= 2
