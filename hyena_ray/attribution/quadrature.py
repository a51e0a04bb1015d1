"""Rules for integrals over [0, 1]: nodes, and weights that sum to 1."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
