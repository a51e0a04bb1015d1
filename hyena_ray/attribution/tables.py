"""K-mer tables: mean score, spread, confidence interval and significance of every k-mer.

Student's t is scipy's. Ours are the cluster-robust errors, since they must follow from sums that
add up exactly across shards; the shrinkage, which scipy and scikit-learn do not have; and the
Benjamini-Hochberg adjustment: scipy's `false_discovery_control` rounds the last bit of a q-value
otherwise, and a table's digest covers all bits.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.attribution.kmers import KmerCounts, KmerSums
from hyena_ray.attribution.settings import Background, Ranking

CONFIDENCE = 0.95
"""Coverage of the confidence intervals."""


def kmer_table(
    sums: KmerSums,
    *,
    min_count: int = 1,
    by: Ranking = "shrunken_score",
    background: Background = "inside",
) -> pa.Table:
    """Return the table of the k-mers inside true positives, best first.

    The window is the unit of sampling. The standard error of a k-mer's mean score is
    cluster-robust, se**2 = G / (G - 1) * sum over windows of (S - n * score)**2 / count**2, where G
    windows contain the k-mer, n times with summed score S. Interval and test use Student's t with
    G - 1 degrees of freedom. The test compares the mean with that of the background, and takes into
    account that both come from the same windows; its G is the smaller number of windows. q-values
    are adjusted over the rows of the table. `shrink` computes the shrunken score.

    Args:
        sums: Sums over whole windows; they include k-mers outside true positives where these are
            the background.
        min_count: Fewest occurrences of a k-mer that is listed.
        by: Column to sort by, highest value first; ties are in the order of the k-mers.
        background: What the p-value compares the mean score with.

    Returns:
        Columns `kmer` (string), `count`, `windows` (int64), `score` (mean over occurrences, in
        logits), `shrunken_score`, `sd` (over occurrences), `ci_low`, `ci_high` (95 %), `background`
        (its mean score), `p_value`, `q_value` (float64). Values that are undefined are null: `sd`
        of a single occurrence, the interval of a single window, and the p-value where the k-mer or
        its background occurs in fewer than two windows.

    Example:
        >>> bases = np.array([[0, 1, 0, 1], [0, 1, 1, 1]], np.uint8)
        >>> scores = np.array([[1, 3, 1, 3], [1, 2, 2, 2]], np.float32)
        >>> from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
        >>> table = kmer_table(fold_kmers(bases, scores, KmerConfig(k=1)), by="score")
        >>> table.select(["kmer", "count", "windows", "score"]).to_pylist()[0]
        {'kmer': 'C', 'count': 5, 'windows': 2, 'score': 2.4}

    Reference: Cameron & Miller 2015, A practitioner's guide to cluster-robust inference, for means
    as ratios; Benjamini & Hochberg 1995.
    """
    from scipy.special import stdtr

    rows = np.flatnonzero(sums.count >= max(min_count, 1))
    count, windows = sums.count[rows].astype(np.float64), sums.windows[rows].astype(np.float64)
    score = sums.total[rows] / count
    ss, sn, nn = sums.spread[:3, rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (sums.squares[rows] - count * score**2) / (count - 1)
        own = _scatter(ss, sn, nn, score) / count**2
        quantile = _t_quantile(windows)
        half = quantile * np.sqrt(windows / (windows - 1) * own)
        other = (_outside if background == "outside" else _inside)(sums, rows)
        both = _cross_scatter(*other.cross, score, other.mean) / (count * other.count)
        difference = own - 2 * both + other.scatter / other.count**2
        # What cancels to the last bits is zero spread, for instance from windows that are alike.
        scale = ss / count**2 + other.squares / other.count**2
        difference = np.where(difference > 1e-12 * scale, difference, np.nan)
        fewer = np.minimum(windows, other.windows)
        error = np.sqrt(fewer / (fewer - 1) * difference)
        p = 2 * stdtr(np.maximum(fewer - 1, 1), -np.abs(score - other.mean) / error)
    p = np.where(fewer < 2, np.nan, p)
    shrunken = shrink(score, np.where(windows < 2, 0.0, half / quantile), windows)
    order = np.lexsort((rows, -(shrunken if by == "shrunken_score" else score)))
    columns = {
        "kmer": pa.array(kmer_names(sums.k, rows)[order]),
        "count": pa.array(sums.count[rows][order]),
        "windows": pa.array(sums.windows[rows][order]),
        "score": pa.array(score[order]),
        "shrunken_score": pa.array(shrunken[order]),
    }
    nullable = {
        "sd": np.sqrt(np.maximum(variance, 0.0)),
        "ci_low": np.where(windows < 2, np.nan, score - half),
        "ci_high": np.where(windows < 2, np.nan, score + half),
        "background": other.mean,
        "p_value": p,
        "q_value": benjamini_hochberg(p),
    }
    for name, values in nullable.items():
        columns[name] = pa.array(values[order], mask=~np.isfinite(values[order]))
    return pa.table(columns)


class _Background(NamedTuple):
    """What the means of K k-mers are compared with; each field is a number or has shape (K,)."""

    count: Any
    """Occurrences."""
    windows: Any
    """Windows with an occurrence."""
    mean: Any
    """Mean score."""
    squares: Any
    """Sum over windows of the squared summed score."""
    scatter: Any
    """Sum over windows of (summed score - occurrences * mean)**2."""
    cross: tuple[Any, Any, Any, Any]
    """Sums over windows of the products with the k-mers' own: S S', S n', n S', n n'."""


def _inside(sums: KmerSums, rows: NDArray[np.int64]) -> _Background:
    count, total, tt, tn, nn = sums.overall
    mean = np.full(len(rows), total / count)
    s_t, s_n, n_t, n_n = sums.spread[3:, rows]
    # All k-mers together occur in every window in which one of them does.
    return _Background(
        count, sums.windows[rows], mean, tt, _scatter(tt, tn, nn, mean), (s_t, s_n, n_t, n_n)
    )


def _outside(sums: KmerSums, rows: NDArray[np.int64]) -> _Background:
    windows, count, total, ss, sn, nn, *cross = sums.outside[:, rows]
    mean = total / count
    scatter = _scatter(ss, sn, nn, mean)
    return _Background(count, windows, mean, ss, scatter, (cross[0], cross[1], cross[2], cross[3]))


def _scatter(ss: Any, sn: Any, nn: Any, mean: Any) -> Any:
    """Return the sum of (s - n * mean)**2, or 0 where it differs from 0 by rounding only."""
    scatter = ss - 2 * mean * sn + mean**2 * nn
    return np.where(scatter > 1e-12 * ss, scatter, 0.0)


def _cross_scatter(ss: Any, sn: Any, ns: Any, nn: Any, mean: Any, other_mean: Any) -> Any:
    """Return the sum of (s - n * mean) * (s' - n' * other_mean)."""
    return ss - other_mean * sn - mean * ns + mean * other_mean * nn


def _t_quantile(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quantile of Student's t that spans `CONFIDENCE` on both sides of a mean."""
    from scipy.special import stdtrit

    quantile: NDArray[np.float64] = stdtrit(np.maximum(windows - 1, 1), (1 + CONFIDENCE) / 2)
    return quantile


def shrink(
    score: NDArray[np.float64], error: NDArray[np.float64], windows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Predict the true means of k-mers from their scores; the fewer windows, the nearer to the
    mean.

    The model is one of random effects: the true means vary by tau around mu, and the mean of w
    windows varies by sigma / sqrt(w) around its true mean. One sigma is used for all k-mers, since
    the standard error of two or three windows says little by itself.

    Args:
        score: Mean scores, shape (K,).
        error: Standard errors of the scores, shape (K,); those of single windows are not read.
        windows: Number of windows of each k-mer, shape (K,).

    Returns:
        Best linear unbiased predictions, shape (K,).

    Example:
        >>> score, error = np.array([1.0, 3.0, 11.0]), np.array([0.5, 0.5, 0.0])
        >>> shrink(score, error, np.array([50.0, 50.0, 1.0])).round(1).tolist()
        [1.1, 3.0, 4.4]

    Reference: DerSimonian & Laird 1986 for tau; Robinson 1991, That BLUP is a good thing.
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
    predicted: NDArray[np.float64] = mean + (score - mean) * between * weight
    return predicted


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values for multiple testing: the false discovery rate at which each is significant.

    Args:
        p: p-values, shape (n,); NaN where there is none.

    Returns:
        q-values, shape (n,); NaN where there is no p-value, which does not count as a test either.

    Example:
        >>> benjamini_hochberg(np.array([0.01, np.nan, 0.04])).tolist()
        [0.02, nan, 0.04]
    """
    q = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    rank = np.arange(len(order), 0, -1)
    q[order] = np.minimum.accumulate(p[order] * len(order) / rank)
    return q


def true_positive_table(counts: KmerCounts, *, min_count: int = 1) -> pa.Table:
    """Return the table of the fraction of every k-mer's occurrences that is wholly true positive.

    Args:
        counts: Counts over all windows, with and without true positives.
        min_count: Fewest occurrences of a k-mer that is listed.

    Returns:
        Columns `kmer` (string), `tp_count`, `occurrences` (int64) and `importance` (float64, their
        ratio), sorted by falling importance, then k-mer.

    Reference: Bokhyan 2025, Algorithm 6.
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
    """Return the letters of k-mers.

    Args:
        k: Length of the k-mers.
        codes: Lexicographic numbers, shape (n,); see `kmer_codes`.

    Returns:
        Strings, shape (n,).

    Example:
        >>> kmer_names(3, np.array([0, 27])).tolist()
        ['AAA', 'CGT']
    """
    if k <= 6:
        every = np.array(
            ["".join(letters) for letters in itertools.product("ACGT", repeat=k)], object
        )
        return every[codes]
    return np.array(
        ["".join("ACGT"[code >> 2 * i & 3] for i in reversed(range(k))) for code in codes.tolist()],
        object,
    )
