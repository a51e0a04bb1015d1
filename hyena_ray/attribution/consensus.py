"""What several k-mer tables say together, by the study's per cent deviation and by ranks, and how
far they agree."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import kendalltau

from hyena_ray.errors import InputError

PERSISTENCE = 0.98
"""Of rank-biased overlap: the top 50 carry most of the weight."""


def consensus_ranking(
    tables: Mapping[str, pa.Table],
    *,
    by: Literal["rank", "deviation"] = "rank",
    positive_only: bool = False,
    column: str = "score",
) -> pa.Table:
    """Rank the k-mers that every method has by what the methods say together.

    A k-mer's deviation is 100 * (score - mean score) / mean score.  With signed scores the mean
    can lie near zero, or below it, where that explodes or turns round; the rank percentile, 100
    for a method's highest score and 0 for its lowest, ties sharing their mean, does not.

    Args:
        tables: method name to table with the columns `kmer` and `column`.
        by: what to sort by; `deviation` is the study's consensus.
        positive_only: keep only k-mers that score above zero under every method, as the study did
            for promoters.
        column: what a k-mer scores under a method.

    Returns:
        Columns `kmer`, `mean_dev` (per cent), `mean_rank` (percentile), both the mean over
        methods, then `dev_METHOD` and `rank_METHOD`; sorted by the chosen one falling, then k-mer.

    Raises:
        InputError: no table, or no k-mer that all of them have.

    Source: the consensus of the study.
    """
    kmers, scores = _shared(tables, column, positive_only=positive_only)
    columns: dict[str, NDArray[np.float64]] = {}
    for name, values in scores.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            columns[f"dev_{name}"] = 100 * (values - values.mean()) / values.mean()
        columns[f"rank_{name}"] = rank_percentile(values)
    mean_dev = np.mean([columns[f"dev_{name}"] for name in tables], axis=0)
    mean_rank = np.mean([columns[f"rank_{name}"] for name in tables], axis=0)
    # k-mers are sorted already, and the sort is stable.
    order = np.argsort(-(mean_rank if by == "rank" else mean_dev), kind="stable")
    return pa.table(
        {
            "kmer": np.array(kmers, object)[order],
            "mean_dev": mean_dev[order],
            "mean_rank": mean_rank[order],
            **{name: values[order] for name, values in columns.items()},
        }
    )


def agreement(tables: Mapping[str, pa.Table], *, column: str = "score") -> pa.Table:
    """How alike the rankings of each two methods, or seeds, are, over the k-mers that all have.

    Args:
        tables: two or more, by name, with the columns `kmer` and `column`.
        column: what a k-mer scores; the highest comes first.

    Returns:
        Columns `first`, `second` (names), `kmers` (int64, how many were compared), `kendall_tau`
        (tau-b: 1 for the same order, 0 for unrelated ones, -1 for opposite ones) and `rbo`
        (rank-biased overlap of the whole rankings, 1 for the same order, which weighs the top most:
        `PERSISTENCE`).

    Raises:
        InputError: no table, or no k-mer that all of them have.

    Source: Kendall 1945; Webber, Moffat & Zobel 2010, A similarity measure for indefinite rankings.
    """
    kmers, scores = _shared(tables, column)
    rows = [
        {
            "first": first,
            "second": second,
            "kmers": len(kmers),
            "kendall_tau": float(kendalltau(scores[first], scores[second]).statistic),
            "rbo": rank_biased_overlap(_order(scores[first]), _order(scores[second])),
        }
        for first, second in combinations(scores, 2)
    ]
    kinds = [pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64()]
    names = ["first", "second", "kmers", "kendall_tau", "rbo"]
    return pa.Table.from_pylist(rows, pa.schema(list(zip(names, kinds, strict=True))))


def rank_biased_overlap(
    first: NDArray[np.int64], second: NDArray[np.int64], persistence: float = PERSISTENCE
) -> float:
    """Overlap of two orders (n,) of the same items 0 to n - 1, each depth d weighing
    persistence**d, extrapolated from the last."""
    depth = np.arange(1, len(first) + 1)
    # An item is shared from the depth on where the later of the two has it.
    met = np.maximum(np.argsort(first), np.argsort(second))
    shared = np.cumsum(np.bincount(met, minlength=len(first))) / depth
    weight = persistence**depth
    return float(shared[-1] * weight[-1] + (1 - persistence) / persistence * (shared @ weight))


def _order(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Items from the highest value to the lowest, ties in their own order."""
    return np.argsort(-values, kind="stable")


def _shared(
    tables: Mapping[str, pa.Table], column: str, *, positive_only: bool = False
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """The k-mers that all tables have, sorted, and their values in each."""
    if not tables:
        raise InputError("consensus", None, "there is no table", "give at least one method")
    scores = {
        name: dict(zip(table["kmer"].to_pylist(), table[column].to_pylist(), strict=True))
        for name, table in tables.items()
    }
    shared = set.intersection(*(set(score) for score in scores.values()))
    if positive_only:
        shared = {kmer for kmer in shared if all(score[kmer] > 0 for score in scores.values())}
    if not shared:
        raise InputError(
            "consensus", ", ".join(tables), "the tables share no k-mer", "use one k for all methods"
        )
    kmers = sorted(shared)
    return kmers, {
        name: np.array([score[kmer] for kmer in kmers]) for name, score in scores.items()
    }


def rank_percentile(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """100 for the highest value, 0 for the lowest, ties their mean; a lone value is 50."""
    if len(values) == 1:
        return np.array([50.0])
    _, place, tied = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(tied) - (tied + 1) / 2
    return 100 * rank[place] / (len(values) - 1)
