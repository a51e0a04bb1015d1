"""One k-mer table of several models, such as seeds or folds: mean, spread and stability of ranks.

The mean over models says more than one of them, and the range of a k-mer's ranks says whether its
place in a table is a finding or the chance of one training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from hyena_ray.attribution.consensus import shared_scores

SIGNIFICANT = 0.05
"""q-value below which a k-mer counts as significant in one model."""


def spread_over_models(tables: Mapping[str, pa.Table], *, column: str = "score") -> pa.Table:
    """Return the k-mers that all models list, best mean rank first.

    Args:
        tables: k-mer tables by name of the model, of the same method; see `kmer_table`.
        column: Column by which k-mers are ranked within a model, the highest first.

    Returns:
        Columns `kmer`; `score`, `sd` (mean and standard deviation of the models' scores, in logits;
        `sd` of a single model is null); `significant` (int64, models in which q < `SIGNIFICANT`);
        `mean_rank`, `best_rank`, `worst_rank` (1 is a model's highest, equal ones share their
        mean); and `score_MODEL`, `rank_MODEL` for each model. Equal mean ranks are in the order of
        the k-mers.

    Raises:
        InputError: There is no table, or no k-mer that all of them list.

    Example:
        >>> one = pa.table({"kmer": ["AA", "CG"], "score": [1.0, 3.0], "q_value": [0.9, 0.01]})
        >>> two = pa.table({"kmer": ["AA", "CG"], "score": [1.0, 2.0], "q_value": [0.01, 0.02]})
        >>> table = spread_over_models({"seed0": one, "seed1": two})
        >>> table.select(["kmer", "score", "significant", "mean_rank"]).to_pylist()[0]
        {'kmer': 'CG', 'score': 2.5, 'significant': 2, 'mean_rank': 1.0}
    """
    from scipy.stats import rankdata

    kmers, ranked_by = shared_scores(tables, column)
    _, scores = shared_scores(tables, "score")
    _, q_values = shared_scores(tables, "q_value")
    ranks = {name: rankdata(-values) for name, values in ranked_by.items()}
    every_score, every_rank = np.stack([*scores.values()]), np.stack([*ranks.values()])
    several = len(tables) > 1
    columns = {
        "kmer": np.array(kmers, object),
        "score": every_score.mean(axis=0),
        "sd": every_score.std(axis=0, ddof=1) if several else np.full(len(kmers), np.nan),
        "significant": np.sum([q < SIGNIFICANT for q in q_values.values()], axis=0),
        "mean_rank": every_rank.mean(axis=0),
        "best_rank": every_rank.min(axis=0),
        "worst_rank": every_rank.max(axis=0),
        **{f"score_{name}": values for name, values in scores.items()},
        **{f"rank_{name}": values for name, values in ranks.items()},
    }
    # k-mers are sorted already, and the sort is stable.
    order = np.argsort(columns["mean_rank"], kind="stable")
    return pa.table(
        {name: pa.array(values[order], from_pandas=True) for name, values in columns.items()}
    )
