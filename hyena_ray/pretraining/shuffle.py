"""A random order of n things without a list of them: any part of it, at once, in any process.

A permutation of the 48 million windows of 64 bases in a human genome would take 400 MB and seconds
in every process that draws from it, and again after every resume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_ROUNDS = 6


def mixed(words: Words, key: int) -> Words:
    """Random words, fixed by each word and the key.

    Source: the finaliser of SplitMix64 (Steele et al. 2014).
    """
    z = words + np.uint64((key * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """One key of several numbers, in [0, 2^64)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def permuted(indices: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    """Where a permutation of `count` things sends these indices.

    Args:
        indices: each in [0, count).
        count: of all things, at least 1.
        key: of the permutation; all of them differ.

    Source: Black and Rogaway 2002, a Feistel network on the next power of four and a walk along its
    cycle until it comes back into the range.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    found = indices.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        left, right = found[outside] >> np.uint64(half), found[outside] & low
        for number in range(_ROUNDS):
            left, right = right, left ^ (mixed(right, key + number) & low)
        found[outside] = (left << np.uint64(half)) | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)
