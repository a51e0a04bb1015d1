"""Integration over the path from the baseline: exact rules, and an error that can be believed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hyena_ray.attribution._path_integral import (
    OnPath,
    clenshaw_curtis,
    gauss_legendre,
    integrate,
    nested,
)
from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.errors import InputError
from tests.attribution.small_model import SmallModel, draw_windows


@pytest.mark.parametrize(("rule", "degree"), [(gauss_legendre(4), 7), (clenshaw_curtis(8), 8)])
def test_rules_integrate_polynomials_exactly(rule, degree):
    for power in range(degree + 1):
        assert rule.weights @ rule.nodes**power == pytest.approx(1 / (power + 1), rel=1e-13)


@pytest.mark.parametrize("intervals", [2, 4, 16, 64])
def test_every_second_node_is_one_of_half_as_many(intervals):
    rule = nested(2 * intervals)
    np.testing.assert_allclose(rule.nodes[::2], nested(intervals).nodes, atol=1e-15)
    assert (rule.nodes[0], rule.nodes[-1]) == (0, 1)
    assert rule.weights.min() > 0
    assert (np.diff(rule.nodes) > 0).all()
    assert rule.weights @ (3 + 5 * rule.nodes) == pytest.approx(5.5, rel=1e-13)


def test_nested_rules_need_fewer_nodes_where_something_happens_on_the_way():
    exact = (np.arctan(16 * 0.6) + np.arctan(16 * 0.4)) / 16

    def error(rule):
        return abs(rule.weights @ (1 / (1 + (16 * (rule.nodes - 0.4)) ** 2)) - exact)

    for intervals in (32, 64):
        assert error(nested(intervals)) < 0.2 * error(clenshaw_curtis(intervals))


SHAPE = (2, 5, 2)
"""Strands, windows, positions."""


class Curves:
    """Contributions that rise along the path about place 1/2, in windows 0 to 4 more and more
    steeply; the integral is known."""

    steepness = np.array([1.0, 4.0, 16.0, 64.0, 256.0])

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.change = self.integral().sum(2)
        """(2, 5) of the target from one end to the other."""

    def __call__(
        self, strand: int, windows: NDArray[np.int64], nodes: NDArray[np.float64]
    ) -> OnPath:
        self.asked += [*np.repeat(windows, len(nodes))]
        steep = self.steepness[windows, None, None] * np.array([1.0, 0.5])
        rise = 1 / (1 + (steep * (nodes[:, None] - 0.4)) ** 2)
        values = self.change[strand, windows, None] * nodes
        return OnPath(torch.from_numpy(rise * (1 + strand)), torch.from_numpy(values))

    def integral(self) -> NDArray[np.float64]:
        steep = self.steepness[:, None] * np.array([1.0, 0.5])
        per_strand = (np.arctan(steep * 0.6) + np.arctan(steep * 0.4)) / steep
        return np.stack([per_strand, 2 * per_strand])


def settings(**changes) -> AttributionSettings:
    return AttributionSettings(**{"methods": ("ig",), "steps": 8} | changes)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-5])
def test_scores_lie_within_the_tolerance_and_steep_windows_alone_take_more_nodes(tolerance):
    curves = Curves()
    exact = curves.integral()
    found = integrate(curves, SHAPE, 3, settings(tolerance=tolerance))
    error = np.abs(found.scores - exact).max((0, 2)) / np.abs(exact).max((0, 2))
    assert (found.error <= tolerance).all()
    assert (error <= tolerance).all()
    assert (np.diff(found.nodes) >= 0).all()
    assert found.nodes[0] < found.nodes[-1]
    # Every node is computed once, on each strand.
    assert (np.bincount(curves.asked) == 2 * found.nodes).all()


def test_completeness_that_is_small_by_chance_does_not_pass():
    curves = Curves()
    # What the last rule happens to find, in place of the true change.
    rule = nested(16)
    coarse = np.stack([curves(s, np.arange(5), rule.nodes).scores for s in (0, 1)])
    curves.change = np.einsum("n,smnt->sm", rule.weights, coarse)
    found = integrate(curves, SHAPE, 3, settings(tolerance=1e-3, max_steps=16))
    assert found.completeness[-1] < 1e-6
    assert found.error[-1] > 1e-3


def test_what_does_not_converge_is_reported_as_such():
    curves = Curves()
    found = integrate(curves, SHAPE, 3, settings(tolerance=1e-3, max_steps=32))
    assert (found.error[:2] <= 1e-3).all()
    assert found.error[-1] > 1e-3
    assert found.nodes.max() == 33


def test_without_a_tolerance_the_steps_are_those_asked_for():
    curves = Curves()
    found = integrate(curves, SHAPE, 3, settings(tolerance=None, steps=5))
    assert (found.nodes == 5).all()
    np.testing.assert_array_equal(found.error, found.completeness)


@pytest.mark.parametrize("baseline", ["shuffle", "n", "zero"])
def test_a_windows_scores_are_within_the_tolerance_of_converged_ones(baseline):
    model, windows = SmallModel(), draw_windows(9)
    exact = attribute_windows(
        model, windows, settings(baseline=baseline, steps=400, tolerance=None)
    ).scores["ig"]
    found = attribute_windows(model, windows, settings(baseline=baseline, steps=4))
    rows = np.flatnonzero(found.true_positive.any(axis=1))
    error = np.abs(found.scores["ig"] - exact)[rows].max(1) / np.abs(exact)[rows].max(1)
    assert (error < 1e-3).all()
    assert (found.integrals["ig"].error[rows] <= 1e-3).all()
    others = np.setdiff1d(np.arange(9), rows)
    assert np.isnan(found.integrals["ig"].error[others]).all()
    assert (found.integrals["ig"].nodes[others] == 0).all()


@pytest.mark.parametrize("changes", [{"steps": 6}, {"steps": 16, "max_steps": 12}])
def test_steps_that_cannot_be_halved_and_doubled_are_refused(changes):
    with pytest.raises(InputError, match=r"file: .*must be a multiple of 4 and at most max_steps"):
        AttributionSettings.parse(changes, "file")
