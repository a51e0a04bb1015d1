"""The k-mers: bars with intervals for each method, what the methods say together, logos."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from scipy.stats import binomtest

from hyena_ray.attribution.methods import METHODS
from hyena_ray.report.blocks import (
    Block,
    Figure,
    Section,
    Table,
    between,
    brief,
    grid,
    in_a_sentence,
    number,
)
from hyena_ray.report.contents import Contents, Kmers
from hyena_ray.report.drawing import BLUE, GOLD, INK, MUTED, SERIES, WIDTH, style, svg_of
from hyena_ray.report.logos import logos

SHOWN = 15
"""k-mers of a figure."""
LISTED = 25
"""k-mers of a table."""


def kmers(contents: Contents) -> Section | None:
    """Of a folder with an attribution."""
    found = contents.kmers
    if found is None:
        return None
    blocks: list[Block] = []
    if found.consensus is not None:
        blocks.append(_consensus(found, found.consensus))
    blocks += [_scores(name, table, found) for name, table in found.methods.items()]
    if found.tp is not None:
        blocks.append(_true_positives(found.tp))
    if found.agreement is not None:
        blocks.append(_agreement(found.agreement))
    blocks += logos(contents)
    return Section("kmers", "Short motifs that the model relies on", blocks)


def _bars(rows: list[dict[str, Any]], value: str, low: str, high: str, colour: str) -> Any:
    """Horizontal bars with whiskers, the first row on top; axes for the caller to finish."""
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.8 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        for place, row in enumerate(reversed(rows)):
            axes.barh(place, row[value], color=colour, height=0.7)
            if row[low] is not None:
                edges = [row[low], row[high]]
                axes.plot(edges, [place, place], color=INK, linewidth=1.3)
        axes.set_yticks(range(len(rows)), [row["kmer"] for row in reversed(rows)])
        for label in axes.get_yticklabels():
            label.set_family("DejaVu Sans Mono")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    return axes


def _scores(name: str, table: pa.Table, found: Kmers) -> Figure:
    rows = table.slice(0, SHOWN).to_pylist()
    title = METHODS[name].title
    axes = _bars(rows, "score", "ci_low", "ci_high", BLUE)
    with style():
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("mean score of an occurrence, logits")
        if "background" in table.column_names:
            for place, row in enumerate(reversed(rows)):
                if row["background"] is not None:
                    axes.plot(row["background"], place, "d", color=GOLD, markersize=5)
        svg = svg_of(axes.figure, f"kmers-{name.replace('_', '-')}")
    heads = {
        "kmer": "k-mer",
        "score": "score",
        "ci_low": "95 % from",
        "ci_high": "to",
        "count": "occurrences",
        "windows": "windows",
        "shrunken_score": "shrunken score",
        "background": "background",
        "q_value": "q",
    }
    heads = {key: head for key, head in heads.items() if key in table.column_names}
    sure = sum(row["q_value"] is not None and row["q_value"] < 0.05 for row in rows)
    where = "outside" if found.plan.settings.background == "outside" else "inside"
    first = rows[0]
    interval = (
        "" if first["ci_low"] is None else f" ({between(first['ci_low'], first['ci_high'], 2)})"
    )
    return Figure(
        f"kmers-{name.replace('_', '-')}",
        svg,
        f"{title}: {first['kmer']} stands first, score {number(first['score'], 2)}{interval}; "
        f"{sure} of the first {len(rows)} differ from their background at q < 0.05.",
        "Mean score of the k-mers inside true positives, with 95 % intervals over windows; ordered "
        "by the score drawn towards the mean where windows are few. "
        f"Diamonds: background, the same {where} true positives.",
        grid(f"k-mers by {title}", table, heads, rows=LISTED),
    )


def _true_positives(table: pa.Table) -> Figure:
    rows = table.slice(0, SHOWN).to_pylist()
    for row in rows:
        test = binomtest(row["tp_count"], row["occurrences"])
        row["low"], row["high"] = test.proportion_ci(method="wilson")
    axes = _bars(rows, "importance", "low", "high", SERIES[2])
    with style():
        axes.set_title("True positives", loc="left", fontsize=10)
        axes.set(xlabel="share of occurrences inside true positives", xlim=(0, None))
        svg = svg_of(axes.figure, "kmers-tp")
    first = rows[0]
    cells = [
        [
            row["kmer"],
            number(row["importance"]),
            between(row["low"], row["high"]),
            f"{row['tp_count']:,}",
            f"{row['occurrences']:,}",
        ]
        for row in rows
    ]
    return Figure(
        "kmers-tp",
        svg,
        f"True positives: {first['importance']:.0%} of the {first['occurrences']:,} occurrences of "
        f"{first['kmer']} lie inside true positives.",
        "Share of all occurrences that lie wholly inside true positives, with 95 % intervals of "
        "Wilson, which take occurrences as independent.",
        Table(
            "k-mers by true positives",
            ["k-mer", "share", "95 % interval", "inside", "occurrences"],
            cells,
        ),
    )


def _consensus(found: Kmers, table: pa.Table) -> Figure:
    rows = table.slice(0, SHOWN).to_pylist()
    names = list(found.methods)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 1.2 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        places = range(len(rows))
        for place, row in enumerate(reversed(rows)):
            ranks = [row[f"rank_{name}"] for name in names]
            axes.plot([min(ranks), max(ranks)], [place, place], color=MUTED, linewidth=1)
        for name, colour, marker in zip(names, SERIES * 2, "osD^v<>pP*", strict=False):
            values = [row[f"rank_{name}"] for row in reversed(rows)]
            axes.plot(values, places, marker, color=colour, markersize=6, label=METHODS[name].title)
        axes.set_yticks(places, [row["kmer"] for row in reversed(rows)])
        for label in axes.get_yticklabels():
            label.set_family("DejaVu Sans Mono")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("rank percentile; 100 is a method's highest")
        figure.legend(loc="outside upper left", ncols=2)
        svg = svg_of(figure, "consensus")
    heads = {"kmer": "k-mer", "mean_rank": "mean rank", "mean_dev": "mean deviation, %"}
    heads |= {f"rank_{name}": f"rank, {METHODS[name].title}" for name in names}
    return Figure(
        "consensus",
        svg,
        f"All methods together put {in_a_sentence(row['kmer'] for row in rows[:3])} first.",
        f"Rank percentile of the k-mers under each method, ordered by {_order(found)}. Where marks "
        "lie apart, the methods disagree.",
        grid("Consensus of the methods", table, heads, rows=LISTED),
    )


def _order(found: Kmers) -> str:
    by_rank = found.plan.settings.consensus == "rank"
    return "their mean" if by_rank else "the mean per cent deviation, as in the study"


def _agreement(table: pa.Table) -> Table:
    rows = [
        [
            f"{METHODS[row['first']].title} and {METHODS[row['second']].title}",
            number(row["kendall_tau"], 2),
            number(row["rbo"], 2),
            brief(row["kmers"]),
        ]
        for row in table.to_pylist()
    ]
    return Table(
        "Agreement of the methods: 1 is the same order, tau 0 an unrelated one",
        ["methods", "Kendall's tau", "rank-biased overlap", "k-mers"],
        rows,
    )
