"""k-mers of windows: their numbers, and how often each stands inside true positives.

In: bases (B, L) uint8, true positives (B, L) bool.  Out: KmerCounts.  No Ray here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError

MAX_K = 12
"""Longest k-mer: 4**12 rows of sums are 1.6 GB, and 3 GB with those outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerConfig:
    k: int = 5
    """k-mer length in bases; the table has 4**k rows."""
    merge_strands: bool = False
    """Count a k-mer as the first, in the order of letters, of itself and its reverse complement."""
    outside: bool = False
    """Sum the k-mers outside true positives too, in windows that have some."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise InputError("k", self.k, f"not a k-mer length from 1 to {MAX_K}", "change it")


class KmerCounts(NamedTuple):
    """How often every k-mer occurs, and how often wholly inside true positives."""

    k: int
    occurrences: NDArray[np.int64]
    tp_count: NDArray[np.int64]

    @classmethod
    def zero(cls, config: KmerConfig) -> KmerCounts:
        rows = 4**config.k
        return cls(config.k, np.zeros(rows, np.int64), np.zeros(rows, np.int64))

    def plus(self, other: KmerCounts) -> KmerCounts:
        """Counts of both; a NamedTuple's `+` would chain them."""
        return KmerCounts(
            self.k, self.occurrences + other.occurrences, self.tp_count + other.tp_count
        )


def kmer_codes(bases: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
    """Lexicographic number of the k-mer that starts at every base, -1 where it touches a 4.

    Args:
        bases: (B, L) uint8, A C G T = 0 1 2 3, anything else 4.

    Returns:
        (B, L - k + 1) int32.

    Raises:
        InputError: L < k.
    """
    length = bases.shape[1] - k + 1
    if length < 1:
        raise InputError("k", k, f"longer than a window of {bases.shape[1]} bases", "lower it")
    digits = (bases & 3).astype(np.int32)
    codes = digits[:, :length].copy()
    for offset in range(1, k):
        codes <<= 2
        codes |= digits[:, offset : offset + length]
    codes[~all_of(bases < 4, k)] = -1
    return codes


@cache
def canonical_codes(k: int) -> NDArray[np.int32]:
    """(4**k,) the lower of the numbers of each k-mer and its reverse complement."""
    codes = np.arange(4**k, dtype=np.int32)
    reverse, rest = np.zeros_like(codes), codes.copy()
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (rest & 3))
        rest >>= 2
    return np.minimum(codes, reverse)


def codes_of_kmers(bases: NDArray[np.uint8], config: KmerConfig) -> NDArray[np.int32]:
    """As `kmer_codes`, with strands merged where asked."""
    codes = kmer_codes(bases, config.k)
    if config.merge_strands:
        codes = np.where(codes < 0, codes, canonical_codes(config.k)[codes])
    return codes


def count_kmers(
    bases: NDArray[np.uint8], true_positive: NDArray[np.bool_], config: KmerConfig
) -> KmerCounts:
    """Count every k-mer of a batch, and those whose bases are all true positives.

    Args:
        bases: (B, L) uint8, A C G T = 0 1 2 3, anything else 4.
        true_positive: (B, L) bool, prediction 1 and label 1.

    Raises:
        InputError: shapes differ, or L < k.

    Source: Algorithm 6 of the study.
    """
    check_shapes(bases, true_positive=true_positive)
    codes = codes_of_kmers(bases, config)
    known = codes >= 0
    inside = known & all_of(true_positive, config.k)
    rows = 4**config.k
    return KmerCounts(
        config.k,
        np.bincount(codes[known], minlength=rows),
        np.bincount(codes[inside], minlength=rows),
    )


def all_of(flags: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """(B, L) bool -> (B, L - k + 1): True where this and the next k - 1 are all True."""
    length = flags.shape[1] - k + 1
    every = flags[:, :length].copy()
    for offset in range(1, k):
        every &= flags[:, offset : offset + length]
    return every


def check_shapes(bases: NDArray[np.uint8], **others: NDArray[Any] | None) -> None:
    for name, array in others.items():
        if array is not None and array.shape != bases.shape:
            raise InputError(
                f"{name} of fold_kmers", array.shape, f"bases are {bases.shape}", "give one shape"
            )
