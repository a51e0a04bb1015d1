"""K-mers that the model relies on: scores by method, their consensus, families and logos."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import binomtest

from hyena_ray.attribution.consensus import disagreements
from hyena_ray.attribution.methods import METHODS
from hyena_ray.progress import count_noun
from hyena_ray.report._alignment import (
    Family,
    align_sites,
    base_counts,
    group_kmers,
    information,
)
from hyena_ray.report._page import (
    ORIGINAL_WORK,
    Block,
    Figure,
    Section,
    Table,
    between,
    brief,
    first_rows,
    in_a_sentence,
    number,
)
from hyena_ray.report._plots import (
    BLUE,
    GOLD,
    INK,
    LETTERS,
    MUTED,
    SERIES,
    WIDTH,
    style,
    svg_of,
)
from hyena_ray.report.run_contents import AttributionResults, RunContents, WindowSample
from hyena_ray.runs.table_file import why_empty

BARS = 15
"""K-mers of a figure."""
ROWS = 25
"""K-mers of a table."""
ALIGNED_KMERS = 20
"""K-mers, the best first, that are grouped into families."""
FAMILIES = 3
"""Families of at least two k-mers whose logo is drawn."""
SITE = 12
"""Bases of a site inside true positives."""
MARGIN = 6
"""Bases by which a site may move to each side of the middle of its run."""
LEAST_RUNS = 5
"""Runs of true positives that a logo needs."""
SEED = 0
"""Seed of the shuffle that sites are compared with."""


def kmer_section(contents: RunContents) -> Section | None:
    """Show the k-mers of every method, what the methods agree on, and logos.

    Args:
        contents: What the run's folder holds, with the attribution given along with it.

    Returns:
        The section, or None where there is no attribution.
    """
    attribution = contents.attribution
    if attribution is None:
        return None
    blocks: list[Block] = []
    references: tuple[str, ...] = ()
    if attribution.consensus is not None:
        blocks += disagreement_notes(attribution)
        by_rank = attribution.plan.settings.consensus == "rank"
        references = () if by_rank else (ORIGINAL_WORK,)
        if attribution.consensus.num_rows:
            blocks.append(_consensus(attribution, attribution.consensus, by_rank=by_rank))
    blocks += _reasons(attribution)
    blocks += _tracks(attribution)
    blocks += [_scores(name, of) for name, of in attribution.methods.items() if of.num_rows]
    if attribution.tp is not None and attribution.tp.num_rows:
        blocks.append(_true_positives(attribution.tp))
    if attribution.agreement is not None and attribution.agreement.num_rows:
        blocks.append(_agreement(attribution.agreement))
    strands = contents.task is not None and contents.task.both_strands
    blocks += _families(attribution, strands=strands)
    blocks += _sites(attribution.sample, strands=strands)
    return Section("kmers", "Short motifs that the model relies on", blocks, references)


def _reasons(attribution: AttributionResults) -> list[Block]:
    """Say why tables are empty, each reason once."""
    tables = (attribution.consensus, *attribution.methods.values(), attribution.tp)
    given = (why_empty(table) for table in tables if table is not None)
    return [f"No k-mer can be listed. {reason}." for reason in dict.fromkeys(filter(None, given))]


def _tracks(attribution: AttributionResults) -> list[Block]:
    """Say how much of the scores are those of tracks, for a model that reads any."""
    blocks: list[Block] = []
    for name, table in attribution.methods.items():
        summary = json.loads((table.schema.metadata or {}).get(b"convergence", b"{}"))
        if share := summary.get("tracks_mean"):
            blocks.append(
                f"{METHODS[name].title}: {share:.0%} of the scores are those of the tracks that "
                "the model reads beside the letters. Tracks are measured from the letters, and a "
                "k-mer has the scores of both."
            )
    return blocks


def method_titles(attribution: AttributionResults) -> str:
    """Return the methods of the consensus, as an enumeration.

    Args:
        attribution: The attribution.
    """
    return in_a_sentence(METHODS[name].title for name in attribution.methods)


def disagreement_notes(attribution: AttributionResults) -> list[str]:
    """Return a warning for each pair of methods that rank the k-mers differently.

    Args:
        attribution: The attribution.
    """
    if attribution.agreement is None:
        return []
    titles = {name: METHODS[name].title for name in attribution.methods}
    return [f"Warning: {note}." for note in disagreements(attribution.agreement, titles)]


def kmer_axis(axes: Any, rows: list[dict[str, Any]]) -> None:
    """Write the k-mers of the rows on the vertical axis, the first on top.

    Args:
        axes: Axes of matplotlib.
        rows: Rows of a k-mer table.
    """
    axes.set_yticks(range(len(rows)), [row["kmer"] for row in reversed(rows)])
    for label in axes.get_yticklabels():
        label.set_family("DejaVu Sans Mono")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _bars(rows: list[dict[str, Any]], value: str, low: str, high: str, colour: str) -> Any:
    """Draw horizontal bars with intervals, the first row on top; the caller finishes the axes."""
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.8 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        for level, row in enumerate(reversed(rows)):
            axes.barh(level, row[value], color=colour, height=0.7)
            if row[low] is not None:
                axes.plot([row[low], row[high]], [level, level], color=INK, linewidth=1.3)
        kmer_axis(axes, rows)
    return axes


def _scores(name: str, table: pa.Table) -> Figure:
    rows = table.slice(0, BARS).to_pylist()
    title = METHODS[name].title
    axes = _bars(rows, "score", "ci_low", "ci_high", BLUE)
    with style():
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("mean score of an occurrence, logits")
        for level, row in enumerate(reversed(rows)):
            axes.plot(row["background"], level, "d", color=GOLD, markersize=5)
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
        "p_value": "p",
        "q_value": "q",
    }
    significant = sum(row["q_value"] < 0.05 for row in rows)
    first = rows[0]
    interval = (
        "" if first["ci_low"] is None else f" ({between(first['ci_low'], first['ci_high'], 2)})"
    )
    return Figure(
        f"kmers-{name.replace('_', '-')}",
        svg,
        f"{title}: {first['kmer']} ranks first, score {number(first['score'], 2)}{interval}; "
        f"{significant} of the first {len(rows)} have more than by chance at q < 0.05.",
        "Mean score of the k-mers inside true positives, with 95 % intervals over windows, ordered "
        "by shrunken score: where windows are few, the score is drawn towards that of any k-mer by "
        "chance. Diamonds: background, the mean that the k-mer would have if the scores of every "
        "window began anywhere else in it, to which p and q refer.",
        first_rows(f"k-mers by {title}", table, heads, rows=ROWS),
    )


def _true_positives(table: pa.Table) -> Figure:
    rows = table.slice(0, BARS).to_pylist()
    for row in rows:
        test = binomtest(row["tp_count"], row["occurrences"])
        row["low"], row["high"] = test.proportion_ci(method="wilson")
    axes = _bars(rows, "importance", "low", "high", SERIES[2])
    with style():
        axes.set_title("True positives", loc="left", fontsize=10)
        axes.set(xlabel="fraction of occurrences inside true positives", xlim=(0, None))
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
        f"{first['kmer']} are inside true positives.",
        "Fraction of all occurrences that are wholly inside true positives, with 95 % intervals of "
        "Wilson, which take occurrences as independent.",
        Table(
            "k-mers by true positives",
            ["k-mer", "fraction", "95 % interval", "inside", "occurrences"],
            cells,
        ),
    )


def _consensus(attribution: AttributionResults, table: pa.Table, *, by_rank: bool) -> Figure:
    rows = table.slice(0, BARS).to_pylist()
    names = list(attribution.methods)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 1.2 + 0.24 * len(rows)))
        axes = figure.add_subplot()
        levels = range(len(rows))
        for level, row in enumerate(reversed(rows)):
            ranks = [row[f"rank_{name}"] for name in names]
            axes.plot([min(ranks), max(ranks)], [level, level], color=MUTED, linewidth=1)
        for name, colour, marker in zip(names, SERIES * 2, "osD^v<>pP*", strict=False):
            values = [row[f"rank_{name}"] for row in reversed(rows)]
            axes.plot(values, levels, marker, color=colour, markersize=6, label=METHODS[name].title)
        kmer_axis(axes, rows)
        axes.set_xlabel("rank percentile; 100 is a method's highest")
        figure.legend(loc="outside upper left", ncols=2)
        svg = svg_of(figure, "consensus")
    heads = {"kmer": "k-mer", "mean_rank": "mean rank", "mean_dev": "mean deviation, %"}
    heads |= {f"rank_{name}": f"rank, {METHODS[name].title}" for name in names}
    order = "their mean" if by_rank else "the mean per cent deviation, as in the original work"
    return Figure(
        "consensus",
        svg,
        f"Together, {method_titles(attribution)} rank "
        f"{in_a_sentence(row['kmer'] for row in rows[:3])} first.",
        f"Rank percentile of the k-mers under each method, ordered by {order}. Where marks are far "
        "apart, the methods disagree.",
        first_rows(f"Consensus of {method_titles(attribution)}", table, heads, rows=ROWS),
    )


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


def draw_logo(axes: Any, heights: NDArray[np.float64]) -> None:
    """Draw a logo.

    Args:
        axes: Axes of matplotlib.
        heights: Heights of the letters A C G T, shape (width, 4); they may be negative.
    """
    import logomaker

    frame = pd.DataFrame(heights, columns=list("ACGT"))
    logomaker.Logo(
        frame,
        ax=axes,
        color_scheme=LETTERS,
        font_name="DejaVu Sans",
        show_spines=False,
        baseline_width=0,
    )
    axes.grid(visible=False)


def _logo_svg(name: str, heights: NDArray[np.float64], high: int, label: str) -> str:
    """Draw a logo with heights from 0 to `high`, positions from 1."""
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 1.9))
        axes = figure.add_subplot()
        draw_logo(axes, heights)
        axes.set(ylim=(0, high), yticks=(0, high / 2, high), ylabel=label)
        axes.set_xticks(range(len(heights)), range(1, len(heights) + 1))
        axes.tick_params(length=0)
        return svg_of(figure, name)


def _frequencies(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    frequencies: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return frequencies


def _majority(counts: NDArray[np.float64]) -> str:
    """Return the most frequent base at each position."""
    return "".join("ACGT"[base] for base in counts.argmax(axis=1))


def _families(attribution: AttributionResults, *, strands: bool) -> list[Figure]:
    ranking = attribution.ranking
    assert ranking is not None
    source = "the consensus" if attribution.consensus is not None else "the first table"
    families = group_kmers(ranking["kmer"].slice(0, ALIGNED_KMERS).to_pylist(), strands=strands)
    large = [family for family in families if len(family.kmers) > 1][:FAMILIES]
    return [
        _family_logo(family, at, len(large), source) for at, family in enumerate(large, start=1)
    ]


def _family_logo(family: Family, at: int, families: int, source: str) -> Figure:
    codes = np.array([["ACGT.".index(sign) for sign in row] for row in family.aligned], np.uint8)
    # All k-mers of a family weigh the same: how often each occurs is in the tables.
    counts = base_counts(codes)
    coverage = counts.sum(axis=1, keepdims=True) / len(codes)
    name = f"family-{at}"
    rows = [[kmer, aligned] for kmer, aligned in zip(family.kmers, family.aligned, strict=True)]
    return Figure(
        name,
        _logo_svg(name, _frequencies(counts) * coverage, 1, "fraction of k-mers"),
        f"Family {at} of {families}: {count_noun(len(rows), 'k-mer')} around {_majority(counts)}.",
        f"The first {ALIGNED_KMERS} k-mers of {source}, aligned with the best of each family; "
        "letters are as high as their frequency. Where both strands are alike, a k-mer may be "
        "aligned as its reverse complement.",
        Table(f"k-mers of family {at}", ["k-mer", "aligned"], rows),
    )


def _sites(sample: WindowSample, *, strands: bool) -> list[Figure]:
    """Draw the logo of the true positives; none where they are too few, or whole sequences."""
    pieces = true_positive_pieces(sample)
    if len(pieces) < LEAST_RUNS:
        return []
    sites = align_sites(pieces, SITE, strands=strands)
    rng = np.random.default_rng(SEED)
    shuffled = align_sites(rng.permuted(pieces, axis=1), SITE, strands=strands)
    counts = base_counts(sites.bases)
    heights = _frequencies(counts) * information(counts)[:, None]
    figure = Figure(
        "true-positives",
        _logo_svg("true-positives", heights, 2, "bits"),
        f"{count_noun(len(pieces), 'run')} of true positives look like {_majority(counts)}: "
        f"{number(sites.information, 1)} bits, and {number(shuffled.information, 1)} bits when the "
        "bases of each are shuffled.",
        f"The {SITE} bases around the middle of each run of true positives, moved by up to "
        f"{MARGIN} bases to resemble each other most, and reverse-complemented where both strands "
        "are alike. Moving alone makes a logo: compare with the bits of shuffled bases.",
        Table(
            "Frequency of bases by position",
            ["position", "A", "C", "G", "T"],
            [
                [str(at), *(number(value, 2) for value in row)]
                for at, row in enumerate(_frequencies(counts), start=1)
            ],
        ),
    )
    return [figure]


def true_positive_pieces(sample: WindowSample) -> NDArray[np.uint8]:
    """Return the bases around the middle of each run of true positives.

    Runs too close to an end of their window are left out, and so are whole sequences.

    Args:
        sample: Attributed windows.

    Returns:
        Base codes, shape (n, SITE + 2 * MARGIN).
    """
    width = SITE + 2 * MARGIN
    length = sample.bases.shape[1]
    if sample.true_positive.all():
        return np.zeros((0, width), np.uint8)
    padded = np.pad(sample.true_positive.astype(np.int8), ((0, 0), (1, 1)))
    row, begin = np.nonzero(np.diff(padded, axis=1) == 1)
    _, end = np.nonzero(np.diff(padded, axis=1) == -1)
    first = (begin + end) // 2 - width // 2
    kept = np.flatnonzero((first >= 0) & (first + width <= length))
    pieces: NDArray[np.uint8] = sample.bases[row[kept, None], first[kept, None] + np.arange(width)]
    return pieces
