"""Show a model the other strand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import COMPLEMENT


def reverse_complement(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The other strand of (..., length) token ids, read in its own direction."""
    return COMPLEMENT[tokens[..., ::-1]]


def reverse_half(
    tokens: NDArray[np.uint8], labels: NDArray[np.int8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Replace a random half of a batch by the other strand.

    Args:
        tokens: (B, length + 2 * flank) token ids.
        labels: (B, length) one label per base; the flanks are equally long, so they stay aligned.
        rng: draws B // 2 rows, or one more when B is odd and a coin says so.

    Returns:
        Copies of both.
    """
    count = (len(tokens) + int(rng.integers(2))) // 2
    rows = rng.permutation(len(tokens))[:count]
    tokens, labels = tokens.copy(), labels.copy()
    tokens[rows] = reverse_complement(tokens[rows])
    labels[rows] = labels[rows, ::-1]
    return tokens, labels
