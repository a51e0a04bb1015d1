"""What the boosted trees know of a base: Z-HUNT, runs of G, G4Hunter and composition.

Every feature is measured from a fixed number of bases on each side of its base, so that it does not
depend on where the window begins or how long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.genome.untrained import g4hunter_values, run_lengths, zhunt_reach, zhunt_scores
from hyena_ray.model.fitted_baseline import around
from hyena_ray.model.input_tracks import COMPOSITION_RADII, composition

Codes = NDArray[np.uint8]
Features = NDArray[np.float32]

DINUCLEOTIDES = (4, 6, 8, 10)
"""Sizes of the Z-HUNT windows that the trees see, each by itself."""
G4_COMPOSITION_RADII = (12, 25, *COMPOSITION_RADII)
"""The same for quadruplexes."""
G4HUNTER_RADII = (7, 12, 20, 40, 100)
"""Bases on each side over which G4Hunter's values are averaged."""
STRETCH_RADII = (12, 20, 30)
"""Half lengths of the stretches that hold a base, of which the best by G4Hunter is taken."""
LETTER_RADII = (12, 30, 50, 100)
"""Bases on each side over which G and C are counted, each by itself."""
RUNS = 3
"""Runs of G on each side that are measured: with one of its own, a base has the four of a
quadruplex."""
FAR = 100
"""Distance from which a run is not there, and largest length of a run."""


class FeatureSet(NamedTuple):
    """Features of a task."""

    names: tuple[str, ...]
    """Name of each feature, in order."""
    reach: int
    """Bases on each side of a base that its features depend on."""
    measure: Callable[[Codes, slice], Features]
    """Map from base codes (B, L) and some bases of them to features (B, bases, F)."""


def _composition(codes: Codes, bases: slice, radius: int) -> Features:
    return composition(torch.from_numpy(codes), bases, radius).numpy()


# Z-DNA.


def _measure_zdna(codes: Codes, bases: slice) -> Features:
    features = []
    for size in DINUCLEOTIDES:
        near, inner = around(codes, bases, zhunt_reach((size, size)))
        features.append(zhunt_scores(near, (size, size))[:, inner, None])
    features += [_composition(codes, bases, radius) for radius in COMPOSITION_RADII]
    return np.concatenate(features, -1)


# Quadruplexes. Labels have no strand, so each base is read on the strand that is richer in runs of
# G within `_STRAND_RADIUS`, and in its direction. Both strands of DNA then have the same features.

_STRAND_RADIUS = 20
_NEAR_G4 = 2 * FAR


def _measure_g4(codes: Codes, bases: slice) -> Features:
    near, inner = around(codes, bases, _NEAR_G4)
    values = g4hunter_values(near)
    is_g, is_c = near == 2, near == 1
    given = _of_strand(is_g, is_c, values, inner)
    size = near.shape[1]
    flipped = slice(size - inner.stop, size - inner.start)
    turned = is_c[:, ::-1], is_g[:, ::-1], -values[:, ::-1]
    other = _of_strand(*turned, flipped)[:, ::-1]
    richer = np.sign(_means(values, inner, _STRAND_RADIUS))[..., None]
    oriented = np.select([richer > 0, richer < 0], [given, other], (given + other) / 2)
    around_all = [_composition(codes, bases, radius) for radius in G4_COMPOSITION_RADII]
    return np.concatenate([oriented, *around_all], -1)


def _of_strand(
    is_g: NDArray[np.bool_], is_c: NDArray[np.bool_], values: NDArray[np.float32], bases: slice
) -> Features:
    """Measure the runs of G around bases in the direction in which they are given."""
    size = is_g.shape[1]
    flipped = slice(size - bases.stop, size - bases.start)
    lengths, begins = run_lengths(is_g), _begins(is_g)
    features: list[NDArray[Any]] = [
        np.minimum(lengths, FAR)[:, bases],
        np.minimum(np.where(is_g, np.arange(size) - begins, 0), FAR)[:, bases],
    ]
    for shortest in (2, 3):
        runs = lengths >= shortest
        before, behind = _runs_before(runs, bases), _runs_before(runs[:, ::-1], flipped)
        features += before.distances + [far[:, ::-1] for far in behind.distances]
        if shortest == 2:
            features += before.lengths + [size[:, ::-1] for size in behind.lengths]
    for radius in LETTER_RADII:
        features += [_means(letter.astype(np.float32), bases, radius) for letter in (is_g, is_c)]
    features += [_means(values, bases, radius) for radius in G4HUNTER_RADII]
    features += [_best_mean(values, bases, radius) for radius in STRETCH_RADII]
    features.append(_best_mean(-values, bases, STRETCH_RADII[0]))
    return np.stack([f.astype(np.float32) for f in features], -1)


def _begins(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first position of the run of True that holds each position of (B, L)."""
    at = np.arange(chosen.shape[1])
    return np.maximum.accumulate(np.where(chosen, -1, at), axis=1) + 1


class _Runs(NamedTuple):
    """The nearest `RUNS` runs before bases, each an array of shape (B, bases)."""

    distances: list[NDArray[np.int64]]
    """Distances to their last bases; `FAR` for whatever is farther or not there."""
    lengths: list[NDArray[np.int64]]
    """Their lengths; 0 for whatever is not there."""


def _runs_before(runs: NDArray[np.bool_], bases: slice) -> _Runs:
    """Find the nearest runs before bases; one that holds the base is not counted."""
    rows, at = np.arange(len(runs))[:, None], np.arange(runs.shape[1])
    last, begins = np.maximum.accumulate(np.where(runs, at, -1), axis=1), _begins(runs)
    wanted = np.broadcast_to(at[bases], (len(runs), bases.stop - bases.start))
    left = np.where(runs[:, bases], begins[:, bases], wanted) - 1
    found = _Runs([], [])
    for _ in range(RUNS):
        end = np.where(left < 0, -1, last[rows, np.maximum(left, 0)])
        begin = begins[rows, np.maximum(end, 0)]
        # What is farther is not there, however far a window lets one see.
        near = (end >= 0) & (wanted - end < FAR)
        found.distances.append(np.where(near, wanted - end, FAR))
        found.lengths.append(np.where(near, np.minimum(end - begin + 1, FAR), 0))
        left = np.where(end < 0, -1, begin - 1)
    return found


def _means(values: NDArray[np.float32], bases: slice, radius: int) -> NDArray[np.float32]:
    """Return the mean of values within a radius of bases, with 0 beyond the ends."""
    at = np.arange(bases.start, bases.stop)
    sums = np.pad(values.astype(np.int64).cumsum(1), ((0, 0), (1, 0)))  # whole numbers are exact
    first, last = np.maximum(at - radius, 0), np.minimum(at + radius + 1, values.shape[1])
    means: NDArray[np.float32] = (sums[:, last] - sums[:, first]) / np.float32(2 * radius + 1)
    return means.astype(np.float32)


def _best_mean(values: NDArray[np.float32], bases: slice, radius: int) -> NDArray[np.float32]:
    """Return the largest of the means whose stretches hold a base."""
    near, inner = around(values, bases, 2 * radius)
    means = _means(near, slice(0, near.shape[1]), radius)
    padded = np.pad(means, ((0, 0), (radius, radius)), constant_values=-np.inf)
    stretches = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=1)
    best: NDArray[np.float32] = stretches.max(-1)[:, inner]
    return best


def _composition_names(radii: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(f"{what} within {radius}" for radius in radii for what in ("GC", "CpG"))


def _g4_names() -> tuple[str, ...]:
    names = ["run of G", "bases of the run before"]
    for shortest, measured in ((2, ("distance to", "length of")), (3, ("distance to",))):
        names += [
            f"{what} run {number} of {shortest} G or more, {side}"
            for what in measured
            for side in ("before", "behind")
            for number in range(1, RUNS + 1)
        ]
    names += [f"{letter} within {radius}" for radius in LETTER_RADII for letter in "GC"]
    names += [f"G4Hunter within {radius}" for radius in G4HUNTER_RADII]
    names += [f"best G4Hunter of {2 * radius + 1}" for radius in STRETCH_RADII]
    names += [f"best G4Hunter of {2 * STRETCH_RADII[0] + 1}, other strand"]
    return (*names, *_composition_names(G4_COMPOSITION_RADII))


FEATURE_SETS: dict[str, FeatureSet] = {
    "zdna": FeatureSet(
        (*(f"Z-HUNT of {size}" for size in DINUCLEOTIDES), *_composition_names(COMPOSITION_RADII)),
        max(COMPOSITION_RADII),
        _measure_zdna,
    ),
    "g4": FeatureSet(_g4_names(), max(G4_COMPOSITION_RADII), _measure_g4),
}
"""Features by the task that they were made for."""
