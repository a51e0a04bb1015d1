"""Show a model the other strand, or windows cut short at random."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import COMPLEMENT


def reverse_complement(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The other strand of (..., length) token ids, read in its own direction."""
    return COMPLEMENT[tokens[..., ::-1]]


def random_half(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which rows of a batch of `count` are turned: half of them, or one more when `count` is odd
    and a coin says so."""
    half = (count + int(rng.integers(2))) // 2
    return rng.permutation(count)[:half]


def reverse_half(
    tokens: NDArray[np.uint8], labels: NDArray[np.int8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Replace a random half of a batch by the other strand.

    Args:
        tokens: (B, length + 2 * flank) token ids.
        labels: (B, length) one label per base; the flanks are equally long, so they stay aligned.
        rng: see `random_half`.

    Returns:
        Copies of both.
    """
    rows = random_half(len(tokens), rng)
    tokens, labels = tokens.copy(), labels.copy()
    tokens[rows] = reverse_complement(tokens[rows])
    labels[rows] = labels[rows, ::-1]
    return tokens, labels


def random_crop(
    tokens: NDArray[np.uint8], labels: NDArray[np.int8], shortest: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Cut a batch to one random length, every window at a random place of its own.

    What is cut off a window's side becomes its flank, so that flanks stay real bases.

    Args:
        tokens: (B, length + 2 * flank) token ids.
        labels: (B, length) one label per base.
        shortest: the new length is drawn from this to `length`.
        rng: draws the length and B offsets.

    Returns:
        (B, new length + 2 * flank) tokens and (B, new length) labels, copies.
    """
    length = labels.shape[1]
    cut = int(rng.integers(shortest, length + 1))
    offset = rng.integers(0, length - cut + 1, size=(len(labels), 1))
    columns = offset + np.arange(tokens.shape[1] - length + cut)
    return (
        np.take_along_axis(tokens, columns, 1),
        np.take_along_axis(labels, columns[:, :cut], 1),
    )
