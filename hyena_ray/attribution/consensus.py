"""Agreement of several k-mer tables: the study's per cent deviation, and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.errors import InputError


def consensus_ranking(
    tables: Mapping[str, pa.Table],
    *,
    by: Literal["rank", "deviation"] = "rank",
    positive_only: bool = False,
) -> pa.Table:
    """Rank the k-mers that every method has by what the methods say together.

    A k-mer's deviation is 100 * (score - mean score) / mean score.  With signed scores the mean
    can lie near zero, or below it, where that explodes or turns round; the rank percentile, 100
    for a method's highest score and 0 for its lowest, ties sharing their mean, does not.

    Args:
        tables: method name to table with the columns `kmer` and `score`.
        by: what to sort by; `deviation` is the study's consensus.
        positive_only: keep only k-mers that score above zero under every method, as the study did
            for promoters.

    Returns:
        Columns `kmer`, `mean_dev` (per cent), `mean_rank` (percentile), both the mean over
        methods, then `dev_METHOD` and `rank_METHOD`; sorted by the chosen one falling, then k-mer.

    Raises:
        InputError: no table, or no k-mer that all of them have.

    Source: the consensus of the study.
    """
    if not tables:
        raise InputError("consensus", None, "there is no table", "give at least one method")
    scores = {
        name: dict(zip(table["kmer"].to_pylist(), table["score"].to_pylist(), strict=True))
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
    columns: dict[str, NDArray[np.float64]] = {}
    for name, score in scores.items():
        values = np.array([score[kmer] for kmer in kmers])
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


def rank_percentile(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """100 for the highest value, 0 for the lowest, ties their mean; a lone value is 50."""
    if len(values) == 1:
        return np.array([50.0])
    _, place, tied = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(tied) - (tied + 1) / 2
    return 100 * rank[place] / (len(values) - 1)
