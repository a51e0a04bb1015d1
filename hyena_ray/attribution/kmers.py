"""Fold per-base attribution into k-mer sums that add up across shards.

In: bases (B, L) uint8, scores (B, L) float32, true positives (B, L) bool.  Out: KmerSums.
Windows are the unit of sampling: the sums keep what a spread over windows needs, because the
k-mers of one window overlap, share its target and are not independent.  No Ray here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError

MAX_K = 12
"""Longest k-mer: 4**12 rows of sums are 1.5 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerConfig:
    k: int = 5
    """k-mer length in bases; the table has 4**k rows."""
    merge_strands: bool = False
    """Count a k-mer as the first, in the order of letters, of itself and its reverse complement."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise InputError("k", self.k, f"not a k-mer length from 1 to {MAX_K}", "change it")


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerSums:
    """Sums over the k-mers inside true positives.  Add them with `+`.

    Arrays have 4**k rows in lexicographic order.  Write s for the score of one occurrence, n and
    S for the number and summed score of a k-mer's occurrences in one window, N and T for those of
    all k-mers of that window.  A window must not be split between two sums that are added.
    """

    k: int
    count: NDArray[np.int64]
    """Occurrences."""
    windows: NDArray[np.int64]
    """Distinct windows with an occurrence."""
    total: NDArray[np.float64]
    """Sum of s."""
    squares: NDArray[np.float64]
    """Sum of s * s."""
    spread: NDArray[np.float64]
    """(7, 4**k): over windows, sums of S*S, S*n, n*n, S*T, S*N, n*T, n*N."""
    overall: NDArray[np.float64]
    """(5,): over windows, sums of N, T, T*T, T*N, N*N."""
    skipped: int
    """Positions where a k-mer could start, but it touches a base outside the true positives or an
    unknown one."""

    @classmethod
    def zero(cls, config: KmerConfig) -> KmerSums:
        rows = 4**config.k
        return cls(
            k=config.k,
            count=np.zeros(rows, np.int64),
            windows=np.zeros(rows, np.int64),
            total=np.zeros(rows),
            squares=np.zeros(rows),
            spread=np.zeros((7, rows)),
            overall=np.zeros(5),
            skipped=0,
        )

    def __add__(self, other: KmerSums) -> KmerSums:
        if self.k != other.k:
            raise InputError("k", other.k, f"cannot be added to sums of k {self.k}", "use one k")
        summed: dict[str, Any] = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name != "k"
        }
        return KmerSums(k=self.k, **summed)


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
    codes[~_all_of(bases < 4, k)] = -1
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


def _codes(bases: NDArray[np.uint8], config: KmerConfig) -> NDArray[np.int32]:
    """As `kmer_codes`, with strands merged where asked."""
    codes = kmer_codes(bases, config.k)
    if config.merge_strands:
        codes = np.where(codes < 0, codes, canonical_codes(config.k)[codes])
    return codes


def fold_kmers(
    bases: NDArray[np.uint8],
    scores: NDArray[np.float32],
    config: KmerConfig,
    mask: NDArray[np.bool_] | None = None,
) -> KmerSums:
    """Sum attribution over every k-mer of a batch of whole windows.

    Args:
        bases: (B, L) uint8, A C G T = 0 1 2 3, anything else 4.
        scores: (B, L) float32, signed, in logits.  A k-mer's score is the sum over its bases.
        mask: (B, L) bool, the bases to look at, in attribution the true positives; all by default.

    Returns:
        4**k rows in lexicographic order; k-mers that touch a 4 or a base outside the mask are
        counted as skipped.

    Raises:
        InputError: shapes differ, or L < k.

    Source: Algorithm 4 of the study; the sums over windows are those of a cluster-robust variance
    (Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015).
    """
    _same_shape(bases, scores=scores, mask=mask)
    # Pieces that stay in the cache are twice as fast; the sums of long k-mers do not fit anyway.
    piece = max(1, max(1 << 14, 4**config.k) // bases.shape[1])
    parts = (
        _fold_piece(
            bases[first : first + piece],
            scores[first : first + piece],
            config,
            None if mask is None else mask[first : first + piece],
        )
        for first in range(0, max(len(bases), 1), piece)
    )
    return reduce(add, parts)


def _fold_piece(
    bases: NDArray[np.uint8],
    scores: NDArray[np.float32],
    config: KmerConfig,
    mask: NDArray[np.bool_] | None,
) -> KmerSums:
    k = config.k
    rows = 4**k
    codes = _codes(bases, config)
    skip = codes < 0
    if mask is not None:
        skip |= ~_all_of(mask, k)
    # What is skipped is a k-mer of its own, one past the last, until the end.
    codes[skip] = rows
    # A cumulative sum would carry rounding along the window; k additions do not.
    wide = scores.astype(np.float64)
    values = wide[:, : codes.shape[1]].copy()
    for offset in range(1, k):
        values += wide[:, offset : offset + codes.shape[1]]

    # Sorting code and position in one integer brings the occurrences of a k-mer in a window
    # together, in the order of the sequence; it costs a tenth of a stable argsort.
    shift = codes.shape[1].bit_length()
    wide_key = np.int32 if rows.bit_length() + shift < 32 else np.int64
    key = (codes.astype(wide_key) << shift) | np.arange(codes.shape[1], dtype=wide_key)
    key.sort(axis=1)
    codes = key >> shift
    position = key & ((1 << shift) - 1)
    values = np.take_along_axis(values, position, axis=1).ravel()
    fresh = np.ones(codes.shape, bool)
    fresh[:, 1:] = codes[:, 1:] != codes[:, :-1]
    starts = np.flatnonzero(fresh)
    kmer, owner = codes.ravel()[starts], starts // codes.shape[1]
    kept = kmer < rows
    n = np.diff(starts, append=codes.size).astype(np.float64)
    s = np.where(kept, np.add.reduceat(values, starts), 0.0) if len(starts) else n
    n_all, s_all = (np.bincount(owner, part, len(bases)) for part in (n * kept, s))
    n_own, s_own = n_all[owner], s_all[owner]

    def summed(weights: NDArray[np.float64] | None) -> NDArray[Any]:
        return np.bincount(kmer, weights, rows + 1)[:rows]

    squares = np.add.reduceat(values * values, starts) if len(starts) else n
    products = (s * s, s * n, n * n, s * s_own, s * n_own, n * s_own, n * n_own)
    return KmerSums(
        k=k,
        count=summed(n).astype(np.int64),
        windows=summed(None),
        total=summed(s),
        squares=summed(squares),
        spread=np.stack([summed(product) for product in products]),
        overall=np.array([n_all.sum(), s_all.sum(), s_all @ s_all, s_all @ n_all, n_all @ n_all]),
        skipped=int(np.count_nonzero(skip)),
    )


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
    _same_shape(bases, true_positive=true_positive)
    codes = _codes(bases, config)
    known = codes >= 0
    inside = known & _all_of(true_positive, config.k)
    rows = 4**config.k
    return KmerCounts(
        config.k,
        np.bincount(codes[known], minlength=rows),
        np.bincount(codes[inside], minlength=rows),
    )


def _all_of(flags: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """(B, L) bool -> (B, L - k + 1): True where this and the next k - 1 are all True."""
    length = flags.shape[1] - k + 1
    every = flags[:, :length].copy()
    for offset in range(1, k):
        every &= flags[:, offset : offset + length]
    return every


def _same_shape(bases: NDArray[np.uint8], **others: NDArray[Any] | None) -> None:
    for name, array in others.items():
        if array is not None and array.shape != bases.shape:
            raise InputError(
                f"{name} of fold_kmers", array.shape, f"bases are {bases.shape}", "give one shape"
            )
