"""Consensus of several k-mer tables, and how far their rankings agree.

Ranks and Kendall's tau are scipy's; rank-biased overlap is ours, since scipy does not have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.errors import InputError, require_choice, require_type

PERSISTENCE = 0.98
"""Parameter p of rank-biased overlap, at which the top 50 k-mers carry most of the weight."""
LEAST_TAU = 0.2
"""Kendall's tau below which two rankings are said to disagree."""


def consensus_ranking(
    tables: Mapping[str, pa.Table],
    *,
    by: Literal["rank", "deviation"] = "rank",
    positive_only: bool = False,
    column: str = "score",
    may_be_empty: bool = False,
) -> pa.Table:
    """Rank the k-mers that all methods list, by the mean over the methods.

    The deviation of a k-mer is 100 * (score - mean score) / mean score. The mean of signed scores
    may be near zero or negative, where the deviation explodes or changes its sign. The rank
    percentile does neither: it is 100 for a method's highest score and 0 for its lowest, and equal
    scores share their mean rank.

    Args:
        tables: Tables by name of the method, with columns `kmer` and `column`.
        by: Sort by mean `rank`, or by mean `deviation` as in the original work.
        positive_only: Keep only k-mers that score above zero under every method, as the original
            work did for promoters.
        column: Column that holds the score.
        may_be_empty: Return a table without rows where the tables share no k-mer.

    Returns:
        Columns `kmer`, `mean_dev` (per cent), `mean_rank` (percentile), both the mean over methods,
        and `dev_METHOD` and `rank_METHOD` for each; highest first, then by k-mer.

    Raises:
        InputError: There is no table, or no k-mer that all of them list, and it may not be empty;
            or a table lacks a column.

    Example:
        >>> ig = pa.table({"kmer": ["CG", "AA", "TT"], "score": [3.0, 1.0, 2.0]})
        >>> smoothgrad = pa.table({"kmer": ["CG", "AA"], "score": [0.5, 0.1]})
        >>> ranking = consensus_ranking({"ig": ig, "smoothgrad": smoothgrad})
        >>> ranking.select(["kmer", "mean_rank"]).to_pylist()
        [{'kmer': 'CG', 'mean_rank': 100.0}, {'kmer': 'AA', 'mean_rank': 0.0}]

    Reference: Bokhyan 2025, for the deviation.
    """
    require_choice(by, ("rank", "deviation"), "by", "order")
    kmers, scores = shared_scores(
        tables, column, positive_only=positive_only, may_be_empty=may_be_empty
    )
    columns: dict[str, NDArray[np.float64]] = {}
    for name, values in scores.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = values.sum() / len(values) if len(values) else np.nan
            columns[f"dev_{name}"] = 100 * (values - mean) / mean
        columns[f"rank_{name}"] = rank_percentile(values)
    mean_dev = np.mean([columns[f"dev_{name}"] for name in tables], axis=0)
    mean_rank = np.mean([columns[f"rank_{name}"] for name in tables], axis=0)
    # k-mers are sorted already, and the sort is stable.
    order = np.argsort(-(mean_rank if by == "rank" else mean_dev), kind="stable")
    return pa.table(
        {
            "kmer": pa.array(np.array(kmers, object)[order], pa.string()),
            "mean_dev": mean_dev[order],
            "mean_rank": mean_rank[order],
            **{name: values[order] for name, values in columns.items()},
        }
    )


def agreement(
    tables: Mapping[str, pa.Table], *, column: str = "score", may_be_empty: bool = False
) -> pa.Table:
    """Measure how similar the rankings of every two tables are, over the k-mers that all list.

    Args:
        tables: Two or more tables by name (a method or a seed), with columns `kmer` and `column`.
        column: Column that holds the score; the highest ranks first.
        may_be_empty: Return a table without rows where the tables share no k-mer.

    Returns:
        Columns `first`, `second` (names), `kmers` (int64, how many were compared), `kendall_tau`
        (tau-b: 1 for the same order, 0 for unrelated ones, -1 for opposite ones) and `rbo`
        (rank-biased overlap of the whole rankings: 1 for the same order; the top weighs most, see
        `PERSISTENCE`).

    Raises:
        InputError: There is no table, or no k-mer that all of them list, and it may not be empty.

    Reference: Kendall 1945; Webber, Moffat & Zobel 2010, A similarity measure for indefinite
    rankings.
    """
    from scipy.stats import kendalltau

    kmers, scores = shared_scores(tables, column, may_be_empty=may_be_empty)
    rows = [
        {
            "first": first,
            "second": second,
            "kmers": len(kmers),
            "kendall_tau": float(kendalltau(scores[first], scores[second]).statistic),
            "rbo": rank_biased_overlap(_ranking(scores[first]), _ranking(scores[second])),
        }
        for first, second in combinations(scores if kmers else (), 2)
    ]
    types = [pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64()]
    names = ["first", "second", "kmers", "kendall_tau", "rbo"]
    return pa.Table.from_pylist(rows, pa.schema(list(zip(names, types, strict=True))))


def disagreements(similarity: pa.Table, titles: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Warn of rankings that hardly agree, so that nobody takes the order of their k-mers for sure.

    Args:
        similarity: Table as `agreement` returns it.
        titles: Name of each table for a reader; None keeps the names.

    Returns:
        A sentence for each pair whose Kendall's tau is below `LEAST_TAU`.

    Example:
        >>> ig = pa.table({"kmer": ["AA", "CG", "TT"], "score": [1.0, 2.0, 3.0]})
        >>> ism = pa.table({"kmer": ["AA", "CG", "TT"], "score": [3.0, 2.0, 1.0]})
        >>> disagreements(agreement({"ig": ig, "ism": ism}))[0].partition(":")[0]
        'ig and ism rank the 3 k-mers differently'
    """
    shown = {} if titles is None else titles
    return tuple(
        f"{shown.get(row['first'], row['first'])} and {shown.get(row['second'], row['second'])} "
        f"rank the {row['kmers']} k-mers differently: Kendall's tau is {row['kendall_tau']:.2f}, "
        f"and below {LEAST_TAU} the order of one says little about that of the other"
        for row in similarity.to_pylist()
        if row["kendall_tau"] < LEAST_TAU
    )


def rank_biased_overlap(
    first: NDArray[np.int64], second: NDArray[np.int64], persistence: float = PERSISTENCE
) -> float:
    """Return the overlap of two rankings of the same items, where the top weighs most.

    Args:
        first: Items 0 to n - 1 in their order, shape (n,).
        second: The same items in another order, shape (n,).
        persistence: Depth d has weight persistence**d, from 0 to 1.

    Returns:
        Overlap from 0 to 1, extrapolated beyond the last depth.
    """
    depth = np.arange(1, len(first) + 1)
    # An item is shared from that depth on where the later of the two rankings has it.
    shared_from = np.maximum(np.argsort(first), np.argsort(second))
    overlap = np.cumsum(np.bincount(shared_from, minlength=len(first))) / depth
    weight = persistence**depth
    return float(overlap[-1] * weight[-1] + (1 - persistence) / persistence * (overlap @ weight))


def rank_percentile(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value in per cent: 100 for the highest, 0 for the lowest.

    Args:
        values: Values, shape (n,); equal ones share their mean rank.

    Returns:
        Percentiles, shape (n,); a single value has 50.
    """
    from scipy.stats import rankdata

    if len(values) == 1:
        return np.array([50.0])
    percentiles: NDArray[np.float64] = 100 * (rankdata(values) - 1) / (len(values) - 1)
    return percentiles


def _ranking(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the items from the highest value to the lowest, equal ones in their own order."""
    return np.argsort(-values, kind="stable")


def shared_scores(
    tables: Mapping[str, pa.Table],
    column: str,
    *,
    positive_only: bool = False,
    may_be_empty: bool = False,
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the k-mers that all tables list, and what they score in each.

    Args:
        tables: Tables by name, with columns `kmer` and `column`.
        column: Column that holds the score.
        positive_only: Keep only k-mers that score above zero in every table.
        may_be_empty: Return no k-mer where the tables share none.

    Returns:
        n k-mers in alphabetical order, and the scores by name of the table, each of shape (n,).

    Raises:
        InputError: There is no table, or no k-mer that all of them list, and it may not be empty.
    """
    remedy = 'give a table by name of the method, such as {"ig": table}'
    require_type(tables, Mapping, "tables", "is no mapping of tables", remedy)
    if not tables:
        raise InputError("consensus", None, "there is no table", "give at least one")
    for name, table in tables.items():
        place = f"tables: {name}"
        require_type(table, pa.Table, place, "is no Arrow table", "give pyarrow.Table.from_pandas")
        for wanted in ("kmer", column):
            require_choice(wanted, table.column_names, place, "column")
    scores = {
        name: dict(zip(table["kmer"].to_pylist(), table[column].to_pylist(), strict=True))
        for name, table in tables.items()
    }
    shared = set.intersection(*(set(score) for score in scores.values()))
    if positive_only:
        shared = {kmer for kmer in shared if all(score[kmer] > 0 for score in scores.values())}
    if not (shared or may_be_empty):
        raise InputError(
            "consensus", ", ".join(tables), "the tables share no k-mer", "use one k for all of them"
        )
    kmers = sorted(shared)
    return kmers, {
        name: np.array([score[kmer] for kmer in kmers]) for name, score in scores.items()
    }
