"""Counter-based random numbers: each is a function of its key, not of the numbers drawn before.

Work that is distributed, resumed or done in another order therefore draws the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""Random 64-bit words."""
_GOLDEN = 0x9E3779B97F4A7C15


def derive_key(*numbers: int) -> int:
    """Derive one key in [0, 2^64) from several numbers.

    Args:
        numbers: Non-negative numbers; their order matters.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def mixed(words: Words, key: int | Words) -> Words:
    """Hash words with a key into random words.

    Args:
        words: Words to hash, uint64.
        key: A number, or one for each word (uint64, of a shape that broadcasts with that of
            `words`); another key gives other words.

    Reference: the finaliser of SplitMix64 (Steele et al. 2014).
    """
    if isinstance(key, int):
        key = np.array([key % 2**64], np.uint64)
    z = words + (key + np.uint64(1)) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Words = z ^ (z >> np.uint64(31))
    return result
