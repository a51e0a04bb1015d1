"""Turn k-mer sums into the tables that people read: mean, spread, interval, significance."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from hyena_ray.attribution.kmers import KmerCounts, KmerSums

CONFIDENCE = 0.95

Ranking = Literal["shrunk", "score"]
"""What a table is sorted by."""


def kmer_table(sums: KmerSums, *, min_count: int = 1, by: Ranking = "shrunk") -> pa.Table:
    """Table of the k-mers inside true positives, best first.

    The window is the unit of sampling.  The standard error of a k-mer's mean is cluster-robust,
    se**2 = G / (G - 1) * sum over windows of (S - n * score)**2 / count**2, for G windows; interval
    and test use Student's t with G - 1 degrees of freedom.  The test asks whether the k-mer's mean
    differs from the mean over all k-mers inside true positives, which is the label-matched
    background; both means come from the same windows, and the standard error of the difference
    takes that into account.  q is p adjusted over the rows of the table.  What few windows say of a
    k-mer is drawn towards the mean of all, see `shrink`.

    Args:
        sums: sums over whole windows.
        min_count: k-mers with fewer occurrences are left out.
        by: what the rows are sorted by.

    Returns:
        Columns `kmer` (string), `count`, `windows` (int64), `score` (mean over occurrences, in
        logits), `shrunk`, `sd` (over occurrences, n - 1), `ci_low`, `ci_high` (95 %), `p_value`,
        `q_value` (float64); the highest first, then by k-mer.  A k-mer of one window has neither
        interval nor p-value, one of one occurrence no sd: null.

    Source: Cameron & Miller, A practitioner's guide to cluster-robust inference, 2015, for means
    as ratios; Benjamini & Hochberg 1995.
    """
    rows = np.flatnonzero(sums.count >= max(min_count, 1))
    count, windows = sums.count[rows].astype(np.float64), sums.windows[rows].astype(np.float64)
    score = sums.total[rows] / count
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (sums.squares[rows] - count * score**2) / (count - 1)
        low, high, p = _interval_and_test(sums, rows, count, windows, score)
    error = np.where(windows < 2, 0.0, high - score) / stdtrit(
        np.maximum(windows - 1, 1), (1 + CONFIDENCE) / 2
    )
    shrunk = shrink(score, error, windows)
    order = np.lexsort((rows, -(shrunk if by == "shrunk" else score)))
    columns = {
        "kmer": pa.array(kmer_names(sums.k, rows)[order]),
        "count": pa.array(sums.count[rows][order]),
        "windows": pa.array(sums.windows[rows][order]),
        "score": pa.array(score[order]),
        "shrunk": pa.array(shrunk[order]),
    }
    spread = {
        "sd": np.sqrt(np.maximum(variance, 0.0)),
        "ci_low": low,
        "ci_high": high,
        "p_value": p,
        "q_value": benjamini_hochberg(p),
    }
    for name, values in spread.items():
        columns[name] = pa.array(values[order], mask=~np.isfinite(values[order]))
    return pa.table(columns)


def _interval_and_test(
    sums: KmerSums,
    rows: NDArray[np.int64],
    count: NDArray[np.float64],
    windows: NDArray[np.float64],
    score: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bound of the mean, and p of its difference from the overall mean."""
    ss, sn, nn, s_t, s_n, n_t, n_n = sums.spread[:, rows]
    all_count, all_total, tt, t_n, n_all = sums.overall
    mean = all_total / all_count
    own = ss - 2 * score * sn + score**2 * nn
    both = s_t - mean * s_n - score * n_t + score * mean * n_n
    background = tt - 2 * mean * t_n + mean**2 * n_all
    correction = windows / (windows - 1)
    freedom = np.maximum(windows - 1, 1)
    # What cancels to the last bits is zero spread, for instance from windows that are alike.
    own = np.where(own > 1e-12 * ss, own, 0.0)
    error = np.sqrt(correction * own) / count
    half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    difference = own / count**2 - 2 * both / (count * all_count) + background / all_count**2
    scale = ss / count**2 + tt / all_count**2
    difference = np.where(difference > 1e-12 * scale, difference, np.nan)
    p = 2 * stdtr(freedom, -np.abs(score - mean) / np.sqrt(correction * difference))
    single = windows < 2
    return (
        np.where(single, np.nan, score - half),
        np.where(single, np.nan, score + half),
        np.where(single, np.nan, p),
    )


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
