"""K-mers over several models: mean, spread, ranks, and how far the models agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hyena_ray.attribution.consensus import disagreements
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.model_spread import SIGNIFICANT
from hyena_ray.progress import count_noun
from hyena_ray.report._kmer_sections import BARS, ROWS, kmer_axis
from hyena_ray.report._page import Block, Figure, Section, Table, brief, first_rows, number
from hyena_ray.report._plots import BLUE, MUTED, WIDTH, style, svg_of
from hyena_ray.report.run_contents import CombineContents


def models_section(contents: CombineContents) -> Section:
    """Show which k-mers several models rely on, and whether they rank them alike.

    Args:
        contents: What the run's folder holds.
    """
    blocks: list[Block] = []
    for method, table in contents.tables.items():
        pairs = contents.agreement.filter(pc.equal(contents.agreement["method"], method))
        title = METHODS[method].title
        blocks += [f"Warning: {title}: {note}." for note in disagreements(pairs)]
        blocks.append(_ranks(method, table, contents.models))
    blocks.append(_agreement(contents.agreement))
    return Section("models", f"K-mers of {count_noun(len(contents.models), 'model')}", blocks)


def _ranks(method: str, table: pa.Table, models: tuple[str, ...]) -> Figure:
    rows: list[dict[str, Any]] = table.slice(0, BARS).to_pylist()
    name, title = f"models-{method.replace('_', '-')}", METHODS[method].title
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.8 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        for level, row in enumerate(reversed(rows)):
            scores = [row[f"score_{model}"] for model in models]
            axes.plot([min(scores), max(scores)], [level, level], color=MUTED, linewidth=1)
            axes.plot(scores, np.full(len(scores), level), "o", color=BLUE, markersize=4, alpha=0.6)
            axes.plot(row["score"], level, "D", color=BLUE, markersize=6)
        kmer_axis(axes, rows)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("mean score of an occurrence, logits")
        svg = svg_of(figure, name)
    first = rows[0]
    everywhere = sum(row["significant"] == len(models) for row in rows)
    heads = {
        "kmer": "k-mer",
        "score": "score",
        "sd": "SD over models",
        "mean_rank": "mean rank",
        "best_rank": "best rank",
        "worst_rank": "worst rank",
        "significant": f"models with q < {SIGNIFICANT}",
    }
    return Figure(
        name,
        svg,
        f"{title}: {first['kmer']} ranks first over {count_noun(len(models), 'model')}, between "
        f"{number(first['best_rank'], 0)} and {number(first['worst_rank'], 0)} of "
        f"{table.num_rows:,}; {everywhere} of the first {len(rows)} are significant in all models.",
        "Scores of the k-mers that all models list, ordered by mean rank: a circle for each model, "
        "a diamond for their mean.",
        first_rows(f"k-mers over models by {title}", table, heads, rows=ROWS),
    )


def _agreement(table: pa.Table) -> Table:
    rows = [
        [
            METHODS[row["method"]].title,
            f"{row['first']} and {row['second']}",
            number(row["kendall_tau"], 2),
            number(row["rbo"], 2),
            brief(row["kmers"]),
        ]
        for row in table.to_pylist()
    ]
    return Table(
        "Agreement of the models: 1 is the same order, tau 0 an unrelated one",
        ["method", "models", "Kendall's tau", "rank-biased overlap", "k-mers"],
        rows,
    )
