"""The null distribution of a k-mer's score: the scores of its windows, rotated.

Do a k-mer's occurrences inside true positives score more, or less, than other places of the same
windows? By chance, the scores of a window begin anywhere in it with the same probability: they are
rotated as on a circle, each window for itself, while its sequence and its true positives stay. What
the scores of a window look like, and how the occurrences are spaced in it, is thereby kept.

All rotations of a window can be enumerated, so that nothing is drawn: mean, variance and third
central moment of a k-mer's summed score are exact, and since windows are independent, they add up
over windows and shards. A Pearson type III distribution with these moments gives the p-value; scipy
has it. The enumeration is ours, because tables must follow from sums that add up across shards.

Reference: Larson & Owen 2015, Moment based gene set tests, for p-values of a permutation test from
its exact moments.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16
"""Rotated sums that are computed at once, few enough to stay in the cache."""


def window_moments(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the moments of the score that one occurrence has over all rotations of a window.

    Args:
        values: Score of the k-mer at each of P positions, shape (B, P).

    Returns:
        Mean, variance and third central moment, shape (3, B).

    Example:
        >>> window_moments(np.array([[0.0, 0.0, 3.0]])).ravel().tolist()
        [1.0, 2.0, 2.0]
    """
    mean = values.mean(axis=1)
    return _moments(mean, values - mean[:, None])


def group_moments(
    values: NDArray[np.float64],
    owner: NDArray[np.int64],
    position: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the moments of the summed score of several occurrences in the same window.

    They are not those of independent occurrences: a rotation moves all of them together.

    Args:
        values: Score of the k-mer at each of P positions, shape (B, P).
        owner: Window of each occurrence, shape (n,).
        position: Position of each occurrence, shape (n,).
        starts: Occurrence at which each of G groups begins, ascending from 0, shape (G,); the
            occurrences of a group follow each other and share their window.

    Returns:
        Mean, variance and third central moment, shape (3, G).

    Example:
        >>> both, one = np.array([0, 0]), np.array([0])
        >>> group_moments(np.array([[0.0, 0.0, 3.0]]), both, np.array([0, 1]), one).ravel().tolist()
        [2.0, 2.0, -2.0]
    """
    length = values.shape[1]
    mean = values.mean(axis=1)
    centred = values - mean[:, None]
    rotated = np.lib.stride_tricks.sliding_window_view(
        np.concatenate([centred, centred], axis=1), length, axis=1
    )
    sizes = np.diff(starts, append=len(owner))
    step = max(BLOCK // length, 1)
    parts = [np.zeros((3, 0))]
    for first in range(0, len(starts), step):
        start, size = starts[first : first + step], sizes[first : first + step]
        sums = rotated[owner[start], position[start]]
        for number in range(1, int(size.max())):
            longer = np.flatnonzero(size > number)
            occurrence = start[longer] + number
            sums[longer] += rotated[owner[occurrence], position[occurrence]]
        parts.append(_moments(size * mean[owner[start]], sums))
    return np.concatenate(parts, axis=1)


def _moments(mean: NDArray[np.float64], centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean as it is, and the moments of values that are centred already."""
    squares = centred * centred
    return np.stack([mean, squares.mean(axis=1), (squares * centred).mean(axis=1)])


def rotation_p_values(
    total: NDArray[np.float64],
    moments: NDArray[np.float64],
    log_rotations: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the probability that rotated scores are as far from their mean, two-sided.

    Args:
        total: Summed score of each k-mer, shape (K,).
        moments: Mean, variance and third central moment of that sum over rotations, each summed
            over windows, shape (3, K).
        log_rotations: Logarithm of the number of ways to rotate the k-mer's windows, shape (K,).
            The scores as they are is one of them, so that no p-value is below one in as many.

    Returns:
        p-values, shape (K,), above 0; 1 where all rotations give the same sum.

    Example:
        >>> moments = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
        >>> rotation_p_values(np.array([0.0, 9.0]), moments, np.array([5.0, 5.0])).round(4).tolist()
        [1.0, 0.0067]
    """
    from scipy.stats import pearson3

    mean, variance, third = moments
    # What cancels to the last bits is no spread.
    spread = np.sqrt(np.where(variance > 1e-12 * mean**2, variance, 0.0))
    varies = spread > 0
    p = np.ones(len(total))
    distance = np.abs(total[varies] - mean[varies]) / spread[varies]
    null = pearson3(third[varies] / spread[varies] ** 3)
    p[varies] = null.sf(distance) + null.cdf(-distance)
    floor = np.maximum(np.exp(-log_rotations), np.finfo(np.float64).tiny)
    return np.clip(p, np.minimum(floor, 1.0), 1.0)
