"""K-mers of windows: their codes, their counts, and sums of attribution over them.

The window is the unit of sampling: k-mers of one window overlap, share its target and are not
independent, so the sums keep what a spread over windows needs. Counts are integers and sums are
float64, and both add up across shards in the order of the plan. That is why they are ours, and no
group-by of a library: tables must not depend on how the work was divided.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache, reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.rotations import group_moments, window_moments
from hyena_ray.attribution.settings import MAX_K
from hyena_ray.errors import InputError
from hyena_ray.summaries import summary


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerConfig:
    """Which k-mers are counted, and which are counted as one."""

    k: int = 5
    """Length of the k-mers, in bases; sums have 4**k rows."""
    merge_strands: bool = False
    """Count a k-mer together with its reverse complement, under the alphabetically first of the
    two."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise InputError("k", self.k, f"not a k-mer length from 1 to {MAX_K}", "change it")


class KmerCounts(NamedTuple):
    """Occurrences of every k-mer, all of them and those wholly inside true positives."""

    k: int
    """Length of the k-mers, in bases."""
    occurrences: NDArray[np.int64]
    """Occurrences, shape (4**k,), k-mers in lexicographic order."""
    tp_count: NDArray[np.int64]
    """Occurrences whose bases are all true positives, shape (4**k,)."""

    def __repr__(self) -> str:
        return summary(self)

    @classmethod
    def zero(cls, config: KmerConfig) -> KmerCounts:
        """Return the counts of no window.

        Args:
            config: k-mer length.
        """
        rows = 4**config.k
        return cls(config.k, np.zeros(rows, np.int64), np.zeros(rows, np.int64))

    def plus(self, other: KmerCounts) -> KmerCounts:
        """Return the counts of both; the `+` of a NamedTuple would chain them.

        Args:
            other: Counts of other windows, of the same k.
        """
        return KmerCounts(
            self.k, self.occurrences + other.occurrences, self.tp_count + other.tp_count
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KmerSums:
    """Sums of attribution over the k-mers inside true positives, and what chance would give.

    Sums of different windows add up with `+`; a window must not be divided between two of them.
    Arrays have 4**k rows, k-mers in lexicographic order. In the descriptions below, s is the score
    of one occurrence; n and S are the number and the summed score of a k-mer's occurrences inside
    the true positives of one window.
    """

    k: int
    """Length of the k-mers, in bases."""
    count: NDArray[np.int64]
    """Occurrences, shape (4**k,)."""
    windows: NDArray[np.int64]
    """Windows with at least one occurrence, shape (4**k,)."""
    total: NDArray[np.float64]
    """Sum of s, shape (4**k,)."""
    squares: NDArray[np.float64]
    """Sum of s * s, shape (4**k,)."""
    spread: NDArray[np.float64]
    """Sums over windows of S*S, S*n and n*n, shape (3, 4**k)."""
    by_chance: NDArray[np.float64]
    """Sums over windows of the mean, the variance and the third central moment of S over all
    rotations of the window's scores, shape (3, 4**k)."""
    log_rotations: NDArray[np.float64]
    """Sum over the windows with an occurrence of the logarithm of their number of rotations,
    shape (4**k,)."""
    skipped: int
    """Positions at which a k-mer would fit, but contains an unknown base or one outside the true
    positives."""

    def __repr__(self) -> str:
        return summary(self)

    @classmethod
    def zero(cls, config: KmerConfig) -> KmerSums:
        """Return the sums of no window.

        Args:
            config: k-mer length.
        """
        rows = 4**config.k
        return cls(
            k=config.k,
            count=np.zeros(rows, np.int64),
            windows=np.zeros(rows, np.int64),
            total=np.zeros(rows),
            squares=np.zeros(rows),
            spread=np.zeros((3, rows)),
            by_chance=np.zeros((3, rows)),
            log_rotations=np.zeros(rows),
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


def kmer_codes(bases: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
    """Return the lexicographic number of the k-mer that starts at every position.

    Args:
        bases: Base codes, shape (B, L), uint8; A C G T = 0 1 2 3, anything else 4.
        k: Length of the k-mers.

    Returns:
        Codes from 0 to 4**k - 1, shape (B, L - k + 1), int32; -1 where the k-mer contains an
        unknown base.

    Raises:
        InputError: L < k.

    Example:
        >>> kmer_codes(np.array([[0, 1, 3, 4]], np.uint8), 2).tolist()
        [[1, 7, -1]]
    """
    length = bases.shape[1] - k + 1
    if length < 1:
        raise InputError("k", k, f"longer than a window of {bases.shape[1]} bases", "lower it")
    digits = (bases & 3).astype(np.int32)
    codes = digits[:, :length].copy()
    for offset in range(1, k):
        codes <<= 2
        codes |= digits[:, offset : offset + length]
    codes[~_all_set(bases < 4, k)] = -1
    return codes


@cache
def canonical_codes(k: int) -> NDArray[np.int32]:
    """Return the lower of the codes of each k-mer and its reverse complement.

    Args:
        k: Length of the k-mers.

    Returns:
        Codes, shape (4**k,), int32.
    """
    codes = np.arange(4**k, dtype=np.int32)
    reverse, rest = np.zeros_like(codes), codes.copy()
    for _ in range(k):
        reverse = (reverse << 2) | (3 - (rest & 3))
        rest >>= 2
    return np.minimum(codes, reverse)


def count_kmers(
    bases: NDArray[np.uint8], true_positive: NDArray[np.bool_], config: KmerConfig
) -> KmerCounts:
    """Count every k-mer of a batch of windows, and those whose bases are all true positives.

    Args:
        bases: Base codes, shape (B, L), uint8; A C G T = 0 1 2 3, anything else 4.
        true_positive: Bases that are labelled and predicted 1, shape (B, L), bool.
        config: k-mer length and whether reverse complements are merged.

    Returns:
        Counts of 4**k k-mers.

    Raises:
        InputError: The shapes differ, or L < k.

    Reference: Bokhyan 2025, Algorithm 6.
    """
    _check_shapes("count_kmers", bases, true_positive=true_positive)
    codes = _counted_codes(bases, config)
    known = codes >= 0
    inside = known & _all_set(true_positive, config.k)
    rows = 4**config.k
    return KmerCounts(
        config.k,
        np.bincount(codes[known], minlength=rows),
        np.bincount(codes[inside], minlength=rows),
    )


def fold_kmers(
    bases: NDArray[np.uint8],
    scores: NDArray[np.float32],
    config: KmerConfig,
    mask: NDArray[np.bool_] | None = None,
) -> KmerSums:
    """Sum per-base attribution over every k-mer of a batch of whole windows.

    K-mers that contain an unknown base, or a base outside the mask, are counted in `skipped` and
    contribute to no row. What a row would have by chance is that of all rotations of a window's
    scores, those outside the mask included, with 0 where a k-mer contains an unknown base.

    Args:
        bases: Base codes, shape (B, L), uint8; A C G T = 0 1 2 3, anything else 4.
        scores: Signed attribution in logits, shape (B, L), float32. The score of a k-mer is the sum
            over its bases.
        config: k-mer length and whether reverse complements are merged.
        mask: True positives, shape (B, L), bool; None counts every base. Rows without any are not
            looked at, and may hold NaN scores.

    Returns:
        Sums for 4**k k-mers in lexicographic order.

    Raises:
        InputError: The shapes differ, or L < k.

    Example:
        >>> bases = np.array([[0, 1, 4, 2, 3]], np.uint8)  # ACNGT
        >>> sums = fold_kmers(bases, np.ones((1, 5), np.float32), KmerConfig(k=2))
        >>> int(sums.count.sum()), sums.skipped, float(sums.total.max())
        (2, 2, 2.0)

    Reference: Bokhyan 2025, Algorithm 4. The sums over windows are those of a cluster-robust
    variance: Cameron & Miller 2015, A practitioner's guide to cluster-robust inference.
    """
    _check_shapes("fold_kmers", bases, scores=scores, mask=mask)
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
    """Treat every occurrence as the only one of its k-mer in its window, then add repeats."""
    k = config.k
    rows = 4**k
    codes = _counted_codes(bases, config)
    known = codes >= 0
    inside = known if mask is None else known & _all_set(mask, k)
    skipped = int(codes.size - inside.sum())
    used = np.flatnonzero(inside.any(axis=1))
    codes, known, inside = codes[used], known[used], inside[used]
    # A cumulative sum would carry rounding along the window; k additions do not.
    wide = scores[used].astype(np.float64)
    values = wide[:, : codes.shape[1]].copy()
    for offset in range(1, k):
        values += wide[:, offset : offset + codes.shape[1]]
    values = np.where(known, values, 0.0)

    def sum_by_kmer(kmer: NDArray[Any], *weights: NDArray[Any]) -> NDArray[np.float64]:
        # Without any occurrence, bincount returns integers.
        return np.stack([np.bincount(kmer, weight, rows) for weight in weights], dtype=np.float64)

    kmer, s = codes[inside], values[inside]
    count = np.bincount(kmer, minlength=rows)
    total, squares = sum_by_kmer(kmer, s, s * s)
    repeats = _find_repeats(np.where(inside, codes, rows), values, rows)
    again, s_s, s_n, n_n = sum_by_kmer(repeats.code, *repeats.excess())
    windows = count - again.astype(np.int64)
    alone = inside & ~repeats.repeated
    owner, _ = np.nonzero(alone)
    by_chance = sum_by_kmer(codes[alone], *window_moments(values)[:, owner])
    by_chance += sum_by_kmer(repeats.code, *repeats.moments)
    return KmerSums(
        k=k,
        count=count,
        windows=windows,
        total=total,
        squares=squares,
        spread=np.stack([squares + s_s, total + s_n, count + n_n]),
        by_chance=by_chance,
        log_rotations=windows * np.log(codes.shape[1]),
        skipped=skipped,
    )


class _Repeats(NamedTuple):
    """k-mers that occur more than once in a window, as G groups of k-mer and window."""

    repeated: NDArray[np.bool_]
    """Whether the k-mer at a position is in a group, shape (B, P)."""
    code: NDArray[np.int64]
    """Code of the k-mer, shape (G,)."""
    n: NDArray[np.float64]
    """Number of occurrences, shape (G,)."""
    s: NDArray[np.float64]
    """Sum of the scores, shape (G,)."""
    squares: NDArray[np.float64]
    """Sum of the squared scores, shape (G,)."""
    moments: NDArray[np.float64]
    """Cumulants of the sum of the scores over all rotations, shape (3, G)."""

    def excess(self) -> tuple[NDArray[np.float64], ...]:
        """Return by how much n, s * s, s * n and n * n exceed the sums over single occurrences."""
        return (
            self.n - 1,
            self.s**2 - self.squares,
            self.s * (self.n - 1),
            self.n * (self.n - 1),
        )


def _find_repeats(
    codes: NDArray[np.integer[Any]], values: NDArray[np.float64], end: int
) -> _Repeats:
    """Group the k-mers that occur more than once in a window.

    Args:
        codes: Code of the k-mer at each position, shape (B, P); `end` where none is counted.
        values: Scores of all k-mers, counted or not, shape (B, P).
        end: Number of k-mers.
    """
    # Sorting code and position in one integer brings the occurrences of a k-mer in a window
    # together, in the order of the sequence; it costs a tenth of a stable argsort.
    shift = codes.shape[1].bit_length()
    wide = np.int32 if end.bit_length() + shift < 32 else np.int64
    key = (codes.astype(wide) << shift) | np.arange(codes.shape[1], dtype=wide)
    key.sort(axis=1)
    kmer = key >> shift
    alike = (kmer[:, 1:] == kmer[:, :-1]) & (kmer[:, 1:] < end)
    chosen = np.zeros(key.shape, bool)
    chosen[:, :-1] = alike
    chosen[:, 1:] |= alike
    owner = np.repeat(np.arange(len(key)), chosen.sum(axis=1))
    code, position = kmer[chosen], (key[chosen] & ((1 << shift) - 1)).astype(np.int64)
    repeated = np.zeros(key.shape, bool)
    repeated[owner, position] = True
    is_first = np.ones(len(code), bool)
    is_first[1:] = (code[1:] != code[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(is_first)
    if not len(starts):
        none = np.zeros(0)
        return _Repeats(repeated, starts, none, none, none, np.zeros((3, 0)))
    scores = values[owner, position]
    return _Repeats(
        repeated,
        code[starts].astype(np.int64),
        np.diff(starts, append=len(code)).astype(np.float64),
        np.add.reduceat(scores, starts),
        np.add.reduceat(scores * scores, starts),
        group_moments(values, owner, position, starts),
    )


def _counted_codes(bases: NDArray[np.uint8], config: KmerConfig) -> NDArray[np.int32]:
    """Return `kmer_codes`, canonical ones where strands are merged."""
    codes = kmer_codes(bases, config.k)
    if config.merge_strands:
        codes = np.where(codes < 0, codes, canonical_codes(config.k)[codes])
    return codes


def _all_set(flags: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
    """Return where a flag and the next k - 1 are all set, shape (B, L - k + 1) of (B, L)."""
    length = flags.shape[1] - k + 1
    every = flags[:, :length].copy()
    for offset in range(1, k):
        every &= flags[:, offset : offset + length]
    return every


def _check_shapes(caller: str, bases: NDArray[np.uint8], **others: NDArray[Any] | None) -> None:
    for name, array in others.items():
        if array is not None and array.shape != bases.shape:
            raise InputError(
                f"{name} of {caller}", array.shape, f"bases are {bases.shape}", "give one shape"
            )
