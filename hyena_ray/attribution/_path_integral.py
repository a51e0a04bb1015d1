"""Integrate scores along the path from a baseline to a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.settings import AttributionSettings

_STRETCH = 0.99
"""How far the nodes of `nested` are moved: at 0 not at all, at 1 until they are evenly spaced."""


class Rule(NamedTuple):
    """The integral of f is about the sum of weights * f(nodes)."""

    nodes: NDArray[np.float64]
    """(n,) rising in [0, 1]."""
    weights: NDArray[np.float64]
    """(n,)"""


@cache
def gauss_legendre(steps: int) -> Rule:
    """`steps` nodes, exact for polynomials of degree 2 * steps - 1; no two rules share nodes."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return Rule((nodes + 1) / 2, weights / 2)


@cache
def nested(intervals: int) -> Rule:
    """`intervals` + 1 nodes, every second of them one of the rule of half as many intervals.

    Nodes of Clenshaw-Curtis crowd at the ends, where a path has nothing that asks for it; these are
    moved apart by an arcsine, which on functions that are analytic along the whole path takes up
    to pi / 2 times fewer. Polynomials of degree 1 are integrated exactly.

    Source: Hale & Trefethen, New quadrature formulas from conformal maps, 2008; the map is that of
    Kosloff & Tal-Ezer 1993.
    """
    nodes, weights = clenshaw_curtis(intervals)
    place = _STRETCH * (2 * nodes - 1)
    moved = (np.arcsin(place) / np.arcsin(_STRETCH) + 1) / 2
    weights = weights / np.sqrt(1 - place**2)
    return Rule(moved, weights / weights.sum())


@cache
def clenshaw_curtis(intervals: int) -> Rule:
    """`intervals` + 1 nodes, exact for polynomials of degree `intervals`, which must be even.

    On smooth integrands the rule is about as exact as Gauss-Legendre of as many nodes.

    Source: Waldvogel, Fast construction of the Fejer and Clenshaw-Curtis quadrature rules, 2006;
    Trefethen, Is Gauss quadrature better than Clenshaw-Curtis?, 2008.
    """
    angle = np.arange(intervals + 1) * np.pi / intervals
    even = np.arange(2, intervals + 1, 2)
    factor = np.where(even < intervals, 2.0, 1.0) / (even**2 - 1.0)
    weights = 1 - np.cos(np.outer(angle, even)) @ factor
    weights[1:-1] *= 2
    return Rule((1 - np.cos(angle)) / 2, weights / (2 * intervals))


GROUP = 256
"""Paths along which the scores are in memory at once."""

ENDS = np.array([0.0, 1.0])
"""The baseline's place on the path, and the window's."""


class OnPath(NamedTuple):
    """What stands at points of embedding space, for example at n places on m paths."""

    scores: NDArray[np.float64]
    """(m, n, T)"""
    values: NDArray[np.float64]
    """(m, n) of the target."""


Evaluate = Callable[[int, NDArray[np.int64], NDArray[np.float64]], OnPath]
"""Of a strand, paths (m,) and places (n,) on them."""


class Integral(NamedTuple):
    """Scores of M paths on S strands, and how far they can be trusted."""

    scores: NDArray[np.float64]
    """(S, M, T)"""
    gap: NDArray[np.float64]
    """(M,) sum over strands of |sum of scores - change of the target|."""
    change: NDArray[np.float64]
    """(M,) sum over strands of the change of the target from one end to the other."""
    error: NDArray[np.float64]
    """(M,) estimate of the largest error of a score over the largest score; the completeness error
    where the number of steps is fixed."""
    nodes: NDArray[np.int64]
    """(M,) gradients of each strand that were computed."""

    @property
    def completeness(self) -> NDArray[np.float64]:
        """(M,) error of the sum of all scores, as a share of what it should be."""
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing there to be attributed
            return self.gap / np.abs(self.change)

    def mean_of(self, several: int) -> Integral:
        """The mean over every `several` paths in a row, all that end at one window."""
        paths = len(self.gap) // several
        strands, _, length = self.scores.shape
        gap, change, error, nodes = (v.reshape(paths, several) for v in self[1:])
        return Integral(
            self.scores.reshape(strands, paths, several, length).mean(2),
            gap.mean(1),
            change.mean(1),
            error.max(1),
            nodes.sum(1),
        )


def integrate(
    evaluate: Evaluate, shape: tuple[int, int, int], settings: AttributionSettings
) -> Integral:
    """Integrate every path, from a window's baseline to the window.

    Without a tolerance by Gauss-Legendre with `steps` nodes, as published. Else until the error is
    within it. The error of the sum alone may be small by chance, so that the change since half as
    many nodes counts too: a rule that converges does so geometrically, which makes the error of n
    nodes about the square of that of n / 2; sixteen times the square is taken, for good measure.

    Args:
        evaluate: scores and values at places on the path.
        shape: S, M, T: strands, paths, positions.
        settings: `steps`, `tolerance` and `max_steps` are read.
    """
    paths = shape[1]
    gap, change, error = np.zeros((3, paths))
    found = Integral(np.zeros(shape), gap, change, error, np.zeros(paths, np.int64))
    for first in range(0, paths, GROUP):
        group = np.arange(first, min(first + GROUP, paths))
        _integrate_group(evaluate, group, settings, found)
    return found


def _integrate_group(
    evaluate: Evaluate, rest: NDArray[np.int64], settings: AttributionSettings, found: Integral
) -> None:
    strands = len(found.scores)
    values: NDArray[np.float64] | None = None
    for nodes, weights in _rules(settings):
        if values is None:
            values, ends = _stacked(evaluate, strands, rest, nodes)
            if settings.tolerance is None:  # Gauss-Legendre rules have no nodes at the ends
                _, ends = _stacked(evaluate, strands, rest, ENDS)
            else:  # the rule of half as many holds every other node
                half = nested(settings.steps // 2)
                before = np.einsum("n,smnt->smt", half.weights, values[:, :, ::2])
            change = ends[..., -1] - ends[..., 0]
        else:
            # The old nodes, and a new one between any two.
            computed, _ = _stacked(evaluate, strands, rest, nodes[1::2])
            values = np.insert(values, range(1, values.shape[2]), computed, axis=2)
        scores = np.einsum("n,smnt->smt", weights, values)
        gap, whole = np.abs(scores.sum(2) - change).sum(0), np.abs(change.sum(0))
        with np.errstate(divide="ignore", invalid="ignore"):  # nothing there to be attributed
            if settings.tolerance is None:
                error = gap / whole
            else:
                # Where the whole change is nothing by chance, there are scores all the same.
                largest = np.abs(scores).max((0, 2))
                moved = np.abs(scores - before).max((0, 2)) / largest
                error = np.maximum(gap / np.maximum(whole, largest), (4 * moved) ** 2)
        found.scores[:, rest] = scores
        found.gap[rest], found.change[rest] = gap, change.sum(0)
        found.error[rest], found.nodes[rest] = error, len(nodes)
        # Not `error > tolerance`: what is not a number has not converged.
        wanting = ~(error <= (settings.tolerance or np.inf))
        if not wanting.any():
            return
        rest, change = rest[wanting], change[:, wanting]
        values, before = values[:, wanting], scores[:, wanting]


def _stacked(
    evaluate: Evaluate, strands: int, paths: NDArray[np.int64], nodes: NDArray[np.float64]
) -> OnPath:
    """Of all strands: (S, m, n, T) and (S, m, n)."""
    found = [evaluate(strand, paths, nodes) for strand in range(strands)]
    return OnPath(*(np.stack(parts) for parts in zip(*found, strict=True)))


def _rules(settings: AttributionSettings) -> Iterator[Rule]:
    if settings.tolerance is None:
        yield gauss_legendre(settings.steps)
        return
    steps = settings.steps
    while steps <= settings.max_steps:
        yield nested(steps)
        steps *= 2
