"""K-mer tables: mean score, spread, confidence interval and significance of every k-mer.

Student's t and the adjustment of p-values are scipy's. Ours are the cluster-robust errors, since
they must follow from sums that add up across shards, and the shrinkage, which scipy and
scikit-learn do not have.
"""

from __future__ import annotations

import itertools
from typing import get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.attribution.kmers import KmerCounts, KmerSums
from hyena_ray.attribution.rotations import rotation_p_values
from hyena_ray.attribution.settings import Ranking
from hyena_ray.errors import require_choice, require_type

CONFIDENCE = 0.95
"""Coverage of the confidence intervals."""


def kmer_table(sums: KmerSums, *, min_count: int = 1, by: Ranking = "shrunken_score") -> pa.Table:
    """Return the table of the k-mers inside true positives, best first.

    The window is the unit of sampling. The standard error of a k-mer's mean score is
    cluster-robust, se**2 = G / (G - 1) * sum over windows of (S - n * score)**2 / count**2, where G
    windows contain the k-mer, n times with summed score S. The interval uses Student's t with G - 1
    degrees of freedom.

    The background is the mean score that the same occurrences have when the scores of every window
    are rotated against its sequence, and the p-value the probability that they are then as far from
    it (see `rotations`). q-values are adjusted over the rows of the table. `shrink` computes the
    shrunken score.

    Args:
        sums: Sums over whole windows.
        min_count: Fewest occurrences of a k-mer that is listed.
        by: Column to sort by, highest value first; ties are in the order of the k-mers.

    Returns:
        Columns `kmer` (string), `count`, `windows` (int64), `score` (mean over occurrences, in
        logits), `shrunken_score`, `sd` (over occurrences), `ci_low`, `ci_high` (95 %),
        `background`, `p_value`, `q_value` (float64). `sd` of a single occurrence and the interval
        of a single window are null.

    Raises:
        InputError: These are no sums, or there is no such column to sort by.

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
    remedy = "give fold_kmers(...), or use WindowAttribution.kmer_table"
    require_type(sums, KmerSums, "sums", "are no sums of k-mers", remedy)
    require_type(min_count, int, "min_count", "is no number", "give 1 or more")
    require_choice(by, get_args(Ranking), "by", "column to sort by")
    from scipy.special import stdtrit
    from scipy.stats import false_discovery_control

    rows = np.flatnonzero(sums.count >= max(min_count, 1))
    count, windows = sums.count[rows].astype(np.float64), sums.windows[rows].astype(np.float64)
    score = sums.total[rows] / count
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (sums.squares[rows] - count * score**2) / (count - 1)
        error = np.sqrt(windows / (windows - 1) * _scatter(sums.spread[:, rows], score)) / count
        half = stdtrit(np.maximum(windows - 1, 1), (1 + CONFIDENCE) / 2) * error
    several = windows > 1
    background = sums.by_chance[0, rows] / count
    p = rotation_p_values(sums.total[rows], sums.by_chance[:, rows], sums.log_rotations[rows])
    shrunken = shrink(score, np.where(several, error, 0.0), windows, background)
    order = np.lexsort((rows, -(shrunken if by == "shrunken_score" else score)))
    columns = {
        "kmer": kmer_names(sums.k, rows),
        "count": sums.count[rows],
        "windows": sums.windows[rows],
        "score": score,
        "shrunken_score": shrunken,
        "sd": np.where(count > 1, np.sqrt(np.maximum(variance, 0.0)), np.nan),
        "ci_low": np.where(several, score - half, np.nan),
        "ci_high": np.where(several, score + half, np.nan),
        "background": background,
        "p_value": p,
        "q_value": false_discovery_control(p),
    }
    return pa.table(
        {name: pa.array(values[order], from_pandas=True) for name, values in columns.items()}
    )


def _scatter(spread: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of (s - n * mean)**2, or 0 where it differs from 0 by rounding only."""
    ss, sn, nn = spread
    scatter = ss - 2 * mean * sn + mean**2 * nn
    return np.where(scatter > 1e-12 * ss, scatter, 0.0)


def shrink(
    score: NDArray[np.float64],
    error: NDArray[np.float64],
    windows: NDArray[np.float64],
    background: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Predict the true means of k-mers; the fewer windows, the nearer to the background.

    The model is one of random effects: the true means vary by tau around the background, and the
    mean of w windows varies by sigma / sqrt(w) around its true mean. One sigma is used for all
    k-mers, since the standard error of two or three windows says little by itself. The background
    is what is expected of a k-mer of which nothing is known. The mean of all k-mers would not do:
    those that the model relies on are seen most and score alike, so that all others would be drawn
    up to them.

    Args:
        score: Mean scores, shape (K,).
        error: Standard errors of the scores, shape (K,); those of single windows are not read.
        windows: Number of windows of each k-mer, shape (K,).
        background: Mean scores by chance, shape (K,).

    Returns:
        Best linear unbiased predictions, shape (K,).

    Example:
        >>> score, error = np.array([1.0, 3.0, 11.0]), np.array([0.5, 0.5, 0.0])
        >>> shrink(score, error, np.array([50.0, 50.0, 1.0]), np.zeros(3)).round(1).tolist()
        [1.0, 3.0, 8.3]

    Reference: Robinson 1991, That BLUP is a good thing.
    """
    freedom = (windows - 1).sum()
    if not freedom:
        return score.copy()
    within = ((windows - 1) * windows * error**2).sum() / freedom / windows
    if not within.any():
        return score.copy()
    distance = score - background
    between = max(0.0, float((distance**2 - within).mean()))
    predicted: NDArray[np.float64] = background + distance * between / (within + between)
    return predicted


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
