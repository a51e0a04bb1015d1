"""What the boosted trees know of a base: Z-HUNT, runs of G, G4Hunter and composition.

Every feature is measured from a fixed number of bases on each side of its base, so that it does not
depend on where the window begins or how long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.model.fitted_baseline import around
from hyena_ray.model.zhunt import zhunt_reach, zhunt_scores

Codes = NDArray[np.uint8]
Features = NDArray[np.float32]

COMPOSITION_RADII = (50, 150, 512)
"""Bases on each side over which composition is measured: about 100, 300 and 1,024 in all."""
DINUCLEOTIDES = (4, 6, 8, 10)
"""Sizes of the Z-HUNT windows that the trees see, each by itself."""
G4HUNTER_RADII = (7, 12, 20, 40)
"""Bases on each side over which G4Hunter's values are averaged: 15, 25, 41 and 81 in all."""
RUNS = 3
"""Runs of G on each side whose distance is measured: with one of its own, what a quadruplex has."""
FAR = 100
"""Largest distance to a run; also that of a run that is not there."""
LONGEST_RUN = 4
"""Longest run of G that G4Hunter tells from shorter ones."""


class FeatureSet(NamedTuple):
    """Features of a task."""

    names: tuple[str, ...]
    """Name of each feature, in order."""
    reach: int
    """Bases on each side of a base that its features depend on."""
    measure: Callable[[Codes, slice], Features]
    """Map from base codes (B, L) and some bases of them to features (B, bases, F)."""


def composition(codes: Codes, bases: slice, radius: int) -> Features:
    """Measure GC content and CpG frequency around bases; equal on both strands.

    Args:
        codes: Base codes, shape (B, L), uint8; anything above 3 is unknown.
        bases: Bases to measure.
        radius: Bases on each side over which both are measured, as far as there are any.

    Returns:
        Fraction of G and C among known bases, and of CG among pairs of known bases; 0 where nothing
        is known. Shape (B, bases, 2), float32.

    Example:
        >>> composition(np.array([[0, 1, 2, 3]], np.uint8), slice(1, 2), radius=1).tolist()
        [[[0.6666666865348816, 0.5]]]
    """
    at = np.arange(bases.start, bases.stop)
    first, last = np.maximum(at - radius, 0), np.minimum(at + radius + 1, codes.shape[1])
    known, gc = codes < 4, (codes == 1) | (codes == 2)
    cpg = (codes[:, :-1] == 1) & (codes[:, 1:] == 2)
    of_bases = _count(gc, first, last) / np.maximum(_count(known, first, last), 1)
    pairs = np.maximum(_count(known[:, :-1] & known[:, 1:], first, last - 1), 1)
    of_pairs = _count(cpg, first, last - 1) / pairs
    return np.stack([of_bases, of_pairs], -1).astype(np.float32)


def _count(
    chosen: NDArray[np.bool_], first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count what is chosen in [first, last) of each row."""
    before = np.pad(chosen.cumsum(1, dtype=np.int64), ((0, 0), (1, 0)))
    return before[:, last] - before[:, first]


def _all_composition(codes: Codes, bases: slice) -> list[Features]:
    return [composition(codes, bases, radius) for radius in COMPOSITION_RADII]


# Z-DNA.


def _measure_zdna(codes: Codes, bases: slice) -> Features:
    features = []
    for size in DINUCLEOTIDES:
        near, inner = around(codes, bases, zhunt_reach((size, size)))
        features.append(zhunt_scores(near, (size, size))[:, inner, None])
    return np.concatenate([*features, *_all_composition(codes, bases)], -1)


# Quadruplexes. Labels have no strand, so each base is read on the strand that is richer in runs of
# G within `_STRAND_RADIUS`, and in its direction. Both strands of DNA then have the same features.

_STRAND_RADIUS = 20
_NEAR_G4 = FAR + max(G4HUNTER_RADII)


def _measure_g4(codes: Codes, bases: slice) -> Features:
    near, inner = around(codes, bases, _NEAR_G4)
    values = g4hunter_values(near)
    given = _of_strand(near == 2, values, inner)
    size = near.shape[1]
    flipped = slice(size - inner.stop, size - inner.start)
    other = _of_strand((near == 1)[:, ::-1], -values[:, ::-1], flipped)[:, ::-1]
    richer = np.sign(_means(values, inner, _STRAND_RADIUS))[..., None]
    oriented = np.select([richer > 0, richer < 0], [given, other], (given + other) / 2)
    return np.concatenate([oriented, *_all_composition(codes, bases)], -1)


def g4hunter_values(codes: Codes) -> NDArray[np.float32]:
    """Give each G the length of its run, at most 4, and each C the same below zero.

    Args:
        codes: Base codes, shape (B, L), uint8.

    Returns:
        Shape (B, L), float32.

    Example:
        >>> g4hunter_values(np.array([[2, 2, 0, 1]], np.uint8)).tolist()
        [[2.0, 2.0, 0.0, -1.0]]

    Reference: Bedrat, Lacroix and Mergny 2016.
    """
    lengths = [np.minimum(_run_lengths(codes == code), LONGEST_RUN) for code in (2, 1)]
    return (lengths[0] - lengths[1]).astype(np.float32)


def _of_strand(is_g: NDArray[np.bool_], values: NDArray[np.float32], bases: slice) -> Features:
    """Measure the runs of G around bases in the direction in which they are given."""
    lengths = _run_lengths(is_g)
    features: list[NDArray[np.generic]] = [lengths[:, bases]]
    for shortest in (2, 3):
        runs = lengths >= shortest
        features += _distances(runs, bases)
        flipped = slice(runs.shape[1] - bases.stop, runs.shape[1] - bases.start)
        features += [d[:, ::-1] for d in _distances(runs[:, ::-1], flipped)]
    for radius in G4HUNTER_RADII:
        features.append(_means(values, bases, radius))
    features.append(_best_mean(values, bases, 12))
    features.append(_best_mean(values, bases, 20))
    return np.stack([f.astype(np.float32) for f in features], -1)


def _run_lengths(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the length of the run of True that holds each position of (B, L), else 0."""
    length = chosen.shape[1]
    at = np.arange(length)
    before = np.maximum.accumulate(np.where(chosen, -1, at), axis=1)
    after = np.minimum.accumulate(np.where(chosen, length, at)[:, ::-1], axis=1)[:, ::-1]
    return np.where(chosen, after - before - 1, 0)


def _distances(runs: NDArray[np.bool_], bases: slice) -> list[NDArray[np.int64]]:
    """Return the distances from bases to the last base of the nearest runs to the left.

    A run that holds the base is not counted; `FAR` stands for whatever is farther or not there.
    """
    rows = np.arange(len(runs))[:, None]
    at = np.arange(runs.shape[1])
    # The last base of the nearest run that is at or left of a position, and where that run begins;
    # -1 is none.
    last = np.maximum.accumulate(np.where(runs, at, -1), axis=1)
    begins = np.maximum.accumulate(np.where(runs, -1, at), axis=1) + 1
    wanted = np.broadcast_to(at[bases], (len(runs), bases.stop - bases.start))
    left = np.where(runs[:, bases], begins[:, bases], wanted) - 1
    distances = []
    for _ in range(RUNS):
        end = np.where(left < 0, -1, last[rows, np.maximum(left, 0)])
        distances.append(np.where(end < 0, FAR, np.minimum(wanted - end, FAR)))
        left = np.where(end < 0, -1, begins[rows, np.maximum(end, 0)] - 1)
    return distances


def _means(values: NDArray[np.float32], bases: slice, radius: int) -> NDArray[np.float32]:
    """Return the mean of values within a radius of bases, with 0 beyond the ends."""
    at = np.arange(bases.start, bases.stop)
    sums = np.pad(values.astype(np.int64).cumsum(1), ((0, 0), (1, 0)))  # whole numbers are exact
    first, last = np.maximum(at - radius, 0), np.minimum(at + radius + 1, values.shape[1])
    return ((sums[:, last] - sums[:, first]) / (2 * radius + 1)).astype(np.float32)


def _best_mean(values: NDArray[np.float32], bases: slice, radius: int) -> NDArray[np.float32]:
    """Return the largest of the means whose stretches hold a base."""
    near, inner = around(values, bases, 2 * radius)
    means = _means(near, slice(0, near.shape[1]), radius)
    padded = np.pad(means, ((0, 0), (radius, radius)), constant_values=-np.inf)
    stretches = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=1)
    return stretches.max(-1)[:, inner]


def _composition_names() -> tuple[str, ...]:
    return tuple(f"{what} within {r}" for r in COMPOSITION_RADII for what in ("GC", "CpG"))


def _g4_names() -> tuple[str, ...]:
    distances = (
        f"distance to run {number} of {shortest} G or more, {side}"
        for shortest in (2, 3)
        for side in ("before", "behind")
        for number in range(1, RUNS + 1)
    )
    means = (f"G4Hunter within {radius}" for radius in G4HUNTER_RADII)
    return ("run of G", *distances, *means, "best G4Hunter of 25", "best G4Hunter of 41")


FEATURE_SETS: dict[str, FeatureSet] = {
    "zdna": FeatureSet(
        (*(f"Z-HUNT of {size}" for size in DINUCLEOTIDES), *_composition_names()),
        max(COMPOSITION_RADII),
        _measure_zdna,
    ),
    "g4": FeatureSet((*_g4_names(), *_composition_names()), max(COMPOSITION_RADII), _measure_g4),
}
"""Features by the task that they were made for."""
