"""Turn k-mer sums into the tables that people read: mean, spread, interval, significance."""

from __future__ import annotations

import itertools
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from hyena_ray.attribution.kmers import KmerCounts, KmerSums

CONFIDENCE = 0.95

Ranking = Literal["shrunken_score", "score"]
"""What a table is sorted by."""
Background = Literal["outside", "inside"]
"""What a k-mer's mean score is tested against: that of the same k-mer outside the true positives of
the same windows, or of all k-mers inside them."""


def kmer_table(
    sums: KmerSums,
    *,
    min_count: int = 1,
    by: Ranking = "shrunken_score",
    background: Background = "inside",
) -> pa.Table:
    """Table of the k-mers inside true positives, best first.

    The window is the unit of sampling.  The standard error of a k-mer's mean is cluster-robust,
    se**2 = G / (G - 1) * sum over windows of (S - n * score)**2 / count**2, for G windows; interval
    and test use Student's t with G - 1 degrees of freedom.  The test asks whether the k-mer's mean
    differs from that of the background, and its standard error takes into account that both come
    from the same windows; G is then the smaller number of windows.  q is p adjusted over the rows
    of the table.  What few windows say of a k-mer is drawn towards the mean of all, see `shrink`.

    Args:
        sums: sums over whole windows; with those outside for that background.
        min_count: k-mers with fewer occurrences are left out.
        by: what the rows are sorted by.
        background: of the test.

    Returns:
        Columns `kmer` (string), `count`, `windows` (int64), `score` (mean over occurrences, in
        logits), `shrunken_score`, `sd` (over occurrences, n - 1), `ci_low`, `ci_high` (95 %),
        `background` (its mean score), `p_value`, `q_value` (float64); the highest first, then by
        k-mer.  A k-mer of one window has neither interval nor p-value, nor has p-value one whose
        background stands in fewer than two, and one of one occurrence no sd: null.

    Source: Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015, for means
    as ratios; Benjamini & Hochberg 1995.
    """
    rows = np.flatnonzero(sums.count >= max(min_count, 1))
    count, windows = sums.count[rows].astype(np.float64), sums.windows[rows].astype(np.float64)
    score = sums.total[rows] / count
    ss, sn, nn = sums.spread[:3, rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (sums.squares[rows] - count * score**2) / (count - 1)
        own = _scatter(ss, sn, nn, score) / count**2
        half = _quantile(windows) * np.sqrt(windows / (windows - 1) * own)
        beside = _outside(sums, rows) if background == "outside" else _inside(sums, rows)
        both = _cross(*beside.cross, score, beside.mean) / (count * beside.count)
        difference = own - 2 * both + beside.scatter / beside.count**2
        # What cancels to the last bits is zero spread, for instance from windows that are alike.
        scale = ss / count**2 + beside.squares / beside.count**2
        difference = np.where(difference > 1e-12 * scale, difference, np.nan)
        fewer = np.minimum(windows, beside.windows)
        error = np.sqrt(fewer / (fewer - 1) * difference)
        p = 2 * stdtr(np.maximum(fewer - 1, 1), -np.abs(score - beside.mean) / error)
    p = np.where(fewer < 2, np.nan, p)
    known = np.where(windows < 2, 0.0, half / _quantile(windows))
    shrunk = shrink(score, known, windows)
    order = np.lexsort((rows, -(shrunk if by == "shrunken_score" else score)))
    columns = {
        "kmer": pa.array(kmer_names(sums.k, rows)[order]),
        "count": pa.array(sums.count[rows][order]),
        "windows": pa.array(sums.windows[rows][order]),
        "score": pa.array(score[order]),
        "shrunken_score": pa.array(shrunk[order]),
    }
    spread = {
        "sd": np.sqrt(np.maximum(variance, 0.0)),
        "ci_low": np.where(windows < 2, np.nan, score - half),
        "ci_high": np.where(windows < 2, np.nan, score + half),
        "background": beside.mean,
        "p_value": p,
        "q_value": benjamini_hochberg(p),
    }
    for name, values in spread.items():
        columns[name] = pa.array(values[order], mask=~np.isfinite(values[order]))
    return pa.table(columns)


class _Background(NamedTuple):
    """What the means of K k-mers are tested against; numbers, or (K,)."""

    count: Any
    """Occurrences."""
    windows: Any
    mean: Any
    """Score."""
    squares: Any
    """Over windows, the sum of the squares of their summed scores."""
    scatter: Any
    """Over windows, the sum of (summed score - occurrences * mean)**2."""
    cross: tuple[Any, Any, Any, Any]
    """Over windows, sums of products with the k-mers': S S', S n', n S', n n'."""


def _inside(sums: KmerSums, rows: NDArray[np.int64]) -> _Background:
    count, total, tt, tn, nn = sums.overall
    mean = np.full(len(rows), total / count)
    s_t, s_n, n_t, n_n = sums.spread[3:, rows]
    # It stands in every window in which the k-mer does.
    return _Background(
        count, sums.windows[rows], mean, tt, _scatter(tt, tn, nn, mean), (s_t, s_n, n_t, n_n)
    )


def _outside(sums: KmerSums, rows: NDArray[np.int64]) -> _Background:
    windows, count, total, ss, sn, nn, *cross = sums.outside[:, rows]
    mean = total / count
    scatter = _scatter(ss, sn, nn, mean)
    return _Background(count, windows, mean, ss, scatter, (cross[0], cross[1], cross[2], cross[3]))


def _scatter(ss: Any, sn: Any, nn: Any, mean: Any) -> Any:
    """Sum of (s - n * mean)**2, nothing where it is so only to the last bits."""
    found = ss - 2 * mean * sn + mean**2 * nn
    return np.where(found > 1e-12 * ss, found, 0.0)


def _cross(ss: Any, sn: Any, ns: Any, nn: Any, mean: Any, other: Any) -> Any:
    """Sum of (s - n * mean) * (s' - n' * other)."""
    return ss - other * sn - mean * ns + mean * other * nn


def _quantile(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of Student's t, to both sides of the mean of so many windows."""
    found: NDArray[np.float64] = stdtrit(np.maximum(windows - 1, 1), (1 + CONFIDENCE) / 2)
    return found


def shrink(
    score: NDArray[np.float64], error: NDArray[np.float64], windows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Best linear predictions of the k-mers' true means: each score is drawn towards the mean of
    all by as much as its windows are few.

    The model is that of random effects: true means vary by tau about mu, and the mean of w windows
    about its true mean by sigma / sqrt(w), with one sigma for all, since the standard error of two
    or three windows says little by itself.

    Args:
        score: (K,) means.
        error: (K,) their standard errors; those of single windows are not read.
        windows: (K,) number of windows.

    Source: DerSimonian & Laird 1986 for tau; Robinson 1991, That BLUP is a good thing.
    """
    freedom = (windows - 1).sum()
    if len(score) < 2 or not freedom:
        return score.copy()
    within = ((windows - 1) * windows * error**2).sum() / freedom / windows
    if not within.any():
        return score.copy()
    weight = 1 / within
    mean = (weight * score).sum() / weight.sum()
    excess = (weight * (score - mean) ** 2).sum() - (len(score) - 1)
    between = max(0.0, excess / (weight.sum() - (weight**2).sum() / weight.sum()))
    weight = 1 / (within + between)
    mean = (weight * score).sum() / weight.sum()
    result: NDArray[np.float64] = mean + (score - mean) * between * weight
    return result


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest false discovery rate at which each p would be called; NaN stays out and NaN."""
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    rank = np.arange(len(order), 0, -1)
    q[order] = np.minimum.accumulate(p[order] * len(order) / rank)
    return q


def true_positive_table(counts: KmerCounts, *, min_count: int = 1) -> pa.Table:
    """Table of the share of every k-mer's occurrences that are wholly true positive.

    Args:
        counts: over all windows.
        min_count: k-mers with fewer occurrences are left out.

    Returns:
        Columns `kmer` (string), `tp_count`, `occurrences` (int64), `importance` (float64,
        tp_count / occurrences) of the k-mers that occur; sorted by falling importance, then k-mer.

    Source: Algorithm 6 of the study.
    """
    rows = np.flatnonzero(counts.occurrences >= max(min_count, 1))
    importance = counts.tp_count[rows] / counts.occurrences[rows]
    order = np.lexsort((rows, -importance))
    return pa.table(
        {
            "kmer": pa.array(kmer_names(counts.k, rows)[order]),
            "tp_count": pa.array(counts.tp_count[rows][order]),
            "occurrences": pa.array(counts.occurrences[rows][order]),
            "importance": pa.array(importance[order]),
        }
    )


def kmer_names(k: int, codes: NDArray[np.int64]) -> NDArray[np.object_]:
    """Letters of k-mers given by their lexicographic number."""
    if k <= 6:
        every = np.array(
            ["".join(letters) for letters in itertools.product("ACGT", repeat=k)], object
        )
        return every[codes]
    return np.array(
        ["".join("ACGT"[code >> 2 * i & 3] for i in reversed(range(k))) for code in codes.tolist()],
        object,
    )
