"""K-mers of windows: their codes, how often they occur, and sums of attribution over them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache, reduce
from operator import add
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


def kmer_codes_of_config(bases: NDArray[np.uint8], config: KmerConfig) -> NDArray[np.int32]:
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
    codes = kmer_codes_of_config(bases, config)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerSums:
    """Sums over the k-mers inside true positives, and over those outside.  Add them with `+`.

    Arrays have 4**k rows in lexicographic order.  Write s for the score of one occurrence, n and
    S for the number and summed score of a k-mer's occurrences inside the true positives of one
    window, N and T for those of all k-mers inside them, n' and S' for the same k-mer outside.  A
    window must not be split between two sums that are added.
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
    outside: NDArray[np.float64]
    """(10, 4**k), or (10, 0) where they were not asked for: windows with n' > 0, and over them sums
    of n', S', S'*S', S'*n', n'*n', S*S', S*n', n*S', n*n'."""
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
            outside=np.zeros((10, rows if config.outside else 0)),
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
        mask: (B, L) bool, the true positives; by default every base is one. In a row without any
            nothing is looked at, so that its scores may be NaN.

    Returns:
        4**k rows in lexicographic order; k-mers that touch a 4 or a base outside the mask are
        counted as skipped, and those that touch no base of the mask are outside.

    Raises:
        InputError: shapes differ, or L < k.

    Source: Algorithm 4 of the study; the sums over windows are those of a cluster-robust variance
    (Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015).
    """
    check_shapes(bases, scores=scores, mask=mask)
    # Pieces that stay in the cache are twice as fast; the sums of long k-mers do not fit anyway.
    piece = max(1, max(1 << 15, 4**config.k) // bases.shape[1])
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
    """Sums over occurrences, each of which stands for its k-mer in its window, and then what those
    that are not alone add."""
    k = config.k
    rows = 4**k
    codes = kmer_codes_of_config(bases, config)
    known = codes >= 0
    inside, outside = known, np.zeros_like(known)
    if mask is not None:
        inside = known & all_of(mask, k)
        if config.outside:
            outside = known & all_of(~mask, k) & mask.any(axis=1, keepdims=True)
    # A cumulative sum would carry rounding along the window; k additions do not.
    wide = scores.astype(np.float64)
    values = wide[:, : codes.shape[1]].copy()
    for offset in range(1, k):
        values += wide[:, offset : offset + codes.shape[1]]

    def summed(kmer: NDArray[Any], *weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([np.bincount(kmer, each, rows) for each in weights])

    kmer, s = codes[inside], values[inside]
    in_window = inside.sum(axis=1)
    owner = np.repeat(np.arange(len(bases)), in_window)
    n_all, s_all = in_window.astype(np.float64), np.where(inside, values, 0.0).sum(axis=1)
    n_own, s_own = n_all[owner], s_all[owner]
    count = np.bincount(kmer, minlength=rows)
    total, squares, *with_all = summed(kmer, s, s * s, s * s_own, s * n_own, s_own, n_own)
    groups = _repeats(np.where(inside | outside, 2 * codes + outside, 2 * rows), values, 2 * rows)
    within, without = (_Groups(*(each[groups.code % 2 == i] for each in groups)) for i in (0, 1))
    again, s_s, s_n, n_n = summed(within.code // 2, *within.added())
    sums = KmerSums(
        k=k,
        count=count,
        windows=count - again.astype(np.int64),
        total=total,
        squares=squares,
        spread=np.stack([squares + s_s, total + s_n, count + n_n, *with_all]),
        overall=np.array([n_all.sum(), s_all.sum(), s_all @ s_all, s_all @ n_all, n_all @ n_all]),
        outside=np.zeros((10, rows if config.outside else 0)),
        skipped=int(codes.size - in_window.sum()),
    )
    if config.outside:
        kmer, s = codes[outside], values[outside]
        n_out, s_out, squares = summed(kmer, np.ones_like(s), s, s * s)
        again, s_s, s_n, n_n = summed(without.code // 2, *without.added())
        own = [n_out - again, n_out, s_out, squares + s_s, s_out + s_n, n_out + n_n]
        # Of the same k-mer on both sides of a window's true positives, those outside follow.
        pair = np.flatnonzero(np.diff(groups.code) * (groups.code[:-1] % 2 == 0) == 1)
        pair = pair[groups.owner[pair] == groups.owner[pair + 1]]
        one, other = (_Groups(*(each[rows] for each in groups)) for rows in (pair, pair + 1))
        crossed = (a * b for a in (one.s, one.n) for b in (other.s, other.n))
        sums.outside[:] = [*own, *summed(one.code // 2, *crossed)]
    return sums


class _Groups(NamedTuple):
    """Occurrences of one k-mer in one window, G such groups."""

    code: NDArray[np.int64]
    """(G,) twice the k-mer, and 1 more where they are outside."""
    owner: NDArray[np.int64]
    """(G,) the window."""
    n: NDArray[np.float64]
    """(G,) their number."""
    s: NDArray[np.float64]
    """(G,) their summed score."""
    squares: NDArray[np.float64]
    """(G,) the sum of the squares of their scores."""

    def added(self) -> tuple[NDArray[np.float64], ...]:
        """What n, s * s, s * n and n * n have beyond the same of each occurrence by itself."""
        return (
            self.n - 1,
            self.s**2 - self.squares,
            self.s * (self.n - 1),
            self.n * (self.n - 1),
        )


def _repeats(codes: NDArray[np.integer[Any]], values: NDArray[np.float64], end: int) -> _Groups:
    """The groups of k-mers that stand more than once in a window, inside or outside.

    Args:
        codes: (B, P) twice the k-mer that starts at a position, and 1 more outside; `end` for none.
        values: (B, P) scores.
    """
    # Sorting code and position in one integer brings the occurrences of a k-mer in a window
    # together, in the order of the sequence; it costs a tenth of a stable argsort.
    shift = codes.shape[1].bit_length()
    wide = np.int32 if end.bit_length() + shift < 32 else np.int64
    key = (codes.astype(wide) << shift) | np.arange(codes.shape[1], dtype=wide)
    key.sort(axis=1)
    kmer = key >> (shift + 1)
    alike = (kmer[:, 1:] == kmer[:, :-1]) & (kmer[:, 1:] < end // 2)
    several = np.zeros(key.shape, bool)
    several[:, :-1] = alike
    several[:, 1:] |= alike
    owner = np.repeat(np.arange(len(key)), several.sum(axis=1))
    code, position = key[several] >> shift, key[several] & ((1 << shift) - 1)
    each = values[owner, position]
    fresh = np.ones(len(code), bool)
    fresh[1:] = (code[1:] != code[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(fresh)
    if not len(starts):
        return _Groups(starts, starts, *(np.zeros(0),) * 3)
    return _Groups(
        code[starts].astype(np.int64),
        owner[starts],
        np.diff(starts, append=len(code)).astype(np.float64),
        np.add.reduceat(each, starts),
        np.add.reduceat(each * each, starts),
    )
