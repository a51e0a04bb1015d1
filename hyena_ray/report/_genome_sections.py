"""Results along a genome: prepared windows, predicted regions, perplexity of a pretraining."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import Count, Manifest
from hyena_ray.genome.region_shape import SHIFTS, RegionShape, signed
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.progress import count_noun, shortened_list
from hyena_ray.report._page import (
    MINUS,
    Block,
    Figure,
    Headline,
    Section,
    Table,
    between,
    genome_link,
    in_a_sentence,
    number,
)
from hyena_ray.report._plots import BLUE, MUTED, ORANGE, SERIES, WIDTH, style, svg_of
from hyena_ray.report.run_contents import PredictContents, PrepareContents, PretrainContents
from hyena_ray.training.pretrain_record import ALL, PretrainRecord

SHOWN_REGIONS = 25
"""Regions of the table of the surest."""
SHOWN_BASES = 40
"""Bases of a region in that table; of a longer one both ends."""
BARS = 40
"""Contigs of the figure of prepared windows: a draft genome has thousands."""
ROWS = 50
"""Contigs of the table of predicted regions."""


def prepared_headline(manifest: Manifest) -> list[Block]:
    """State how many training windows of the shortest length, and stretches, there are by split.

    Args:
        manifest: Manifest of the prepared data.
    """
    length = min(manifest.lengths)
    counts = [c for c in manifest.counts if c.length == length]
    if manifest.stretches is None:
        return [_counted(counts, "sequences", length)]
    stretches = manifest.stretches.counts
    blocks: list[Block] = [] if not counts else [_counted(counts, "training windows", length)]
    if stretches:
        blocks += [
            _counted(stretches, "stretches", stretches[0].length),
            "On the stretches models of every window length are scored.",
        ]
    return blocks


def _counted(counts: Sequence[Count], unit: str, length: int) -> Headline:
    return Headline(
        f"{_total(counts):,} {unit}",
        f"of {length:,} bases, {sum(c.positive for c in counts):,} of them with a label of 1: "
        f"{_by_split(counts)}.",
    )


def _total(counts: Sequence[Count]) -> int:
    return sum(count.positive + count.negative for count in counts)


def _by_split(counts: Sequence[Count]) -> str:
    splits = dict.fromkeys(count.split for count in counts)
    return in_a_sentence(
        f"{_total([c for c in counts if c.split == split]):,} {split}" for split in splits
    )


def prepared_section(contents: PrepareContents) -> Section | None:
    """Show windows by contig and split, and the tiles that were left out.

    Args:
        contents: What the folder of the prepared data holds.

    Returns:
        The section, or None for labelled sequences, which have no contigs.
    """
    manifest = contents.manifest
    if not manifest.contigs:
        return None
    of_stretches = () if manifest.stretches is None else (manifest.stretches.dropped,)
    dropped = Table(
        "Tiles of the genome, and why some hold no window",
        ["length", "tiles", "more than half N", "on the blacklist"],
        [
            [f"{row.length:,}", f"{row.tiles:,}", f"{row.too_many_n:,}", f"{row.blacklisted:,}"]
            for row in (*manifest.dropped, *of_stretches)
        ],
    )
    blocks: list[Block] = [_windows_by_contig(manifest), dropped]
    if manifest.regions is not None:
        blocks.append(f"Labels: {manifest.label_source}. {manifest.regions.lengths_text()}.")
        blocks += [f"{entry.text()}." for entry in manifest.label_coverage]
        blocks += [f"{track.text()}." for track in manifest.tracks]
        if manifest.regions.profiles:
            blocks.append(_region_edges(manifest.regions))
    return Section("windows", "Windows", blocks)


def _windows_by_contig(manifest: Manifest) -> Figure:
    length = min(manifest.lengths)
    training = [c for c in manifest.counts if c.length == length]
    stretches = () if manifest.stretches is None else manifest.stretches.counts
    counts = [c for c in (*training, *stretches) if c.positive + c.negative]
    positive: dict[str, dict[str, int]] = {}
    for count in counts:
        splits = positive.setdefault(count.contig, dict.fromkeys(manifest.splits, 0))
        splits[count.split] += count.positive
    names = sorted(positive, key=lambda name: -sum(positive[name].values()))
    shown = names[:BARS]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.9 + 0.27 * len(shown)))
        axes = figure.add_subplot()
        levels = range(len(shown))
        left = [0] * len(shown)
        for split, colour in zip(manifest.splits, cycle(SERIES), strict=False):
            widths = [positive[name][split] for name in shown]
            axes.barh(levels, widths, left=left, color=colour, label=split)
            left = [edge + width for edge, width in zip(left, widths, strict=True)]
        axes.set_yticks(levels, shown)
        axes.invert_yaxis()
        axes.set(xlabel="training windows, and held-out stretches, with a label of 1")
        axes.grid(axis="y", visible=False)
        axes.legend()
        svg = svg_of(figure, "contigs")
    more = len(names) - len(shown)
    return Figure(
        "contigs",
        svg,
        f"{count_noun(len(names), 'contig')} hold labelled windows, {names[0]} the most.",
        "By contig and split." + (f" The {more:,} with fewest are not drawn." if more else ""),
        Table(
            "Windows and stretches by contig and split",
            ["contig", "split", "bases", "positive", "negative", "negatives available"],
            [
                [
                    c.contig,
                    c.split,
                    f"{c.length:,}",
                    f"{c.positive:,}",
                    f"{c.negative:,}",
                    f"{c.candidates:,}",
                ]
                for c in counts
            ],
        ),
    )


def _region_edges(shape: RegionShape) -> Figure:
    """Draw how many regions begin and end with their structure, and would if an edge was moved."""
    shifts = [signed(shift).replace("-", MINUS) for shift in SHIFTS]
    decisive = shape.profiles[0]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 2.4))
        panels = figure.subplots(1, len(decisive.edges), sharey=True)
        for axes, (name, counts) in zip(panels, decisive.edges.items(), strict=True):
            colours = [MUTED if shift else BLUE for shift in SHIFTS]
            axes.bar(range(len(SHIFTS)), [n / shape.profiled for n in counts], color=colours)
            axes.set_xticks(range(len(SHIFTS)), shifts)
            axes.set(xlabel=f"bases that the {name} is moved")
        panels[0].set(ylabel="fraction of regions")
        svg = svg_of(figure, "edges")
    finding = shape.shift_text() or (
        f"No moved edge has {decisive.structure} in clearly more regions than the edges as labelled"
    )
    return Figure(
        "edges",
        svg,
        f"{finding}.",
        f"Fraction of {shape.profiled:,} regions with {decisive.structure} exactly at an edge: "
        "blue as labelled, grey if the edge were moved to the left (negative) or to the right. "
        "Where a grey bar is much higher, the coordinates of the file are shifted.",
        Table(
            "Regions with a structure exactly at an edge that is moved",
            ["structure", "edge", *shifts],
            [
                [profile.structure, name, *(f"{n / shape.profiled:.1%}" for n in counts)]
                for profile in shape.profiles
                for name, counts in profile.edges.items()
            ],
        ),
    )


def regions_headline(record: PredictionRecord) -> list[Block]:
    """State how much of the genome is called, and how much of that may be right.

    Args:
        record: Manifest of the prediction.
    """
    settings = record.regions_settings
    blocks: list[Block] = [
        Headline(
            f"{count_noun(record.regions, 'region')}",
            f"on {count_noun(record.contigs, 'contig')}, {number(record.per_mb, 1)} per Mb: "
            f"{record.called:,} bases have a probability of at least {settings.threshold:.3g}, "
            f"{record.share:.3%} of the {record.scored:,} that are not N.",
        )
    ]
    if record.expected is None:
        blocks.append(
            "How many of them are right is not known: the folder of the model holds no evaluation."
        )
    else:
        expected = record.expected
        blocks.append(
            f"Of the called bases {_percentage(expected.precision, expected.precision_interval)} "
            f"may be right, at a recall of "
            f"{_percentage(expected.recall, expected.recall_interval)}: an estimate on the "
            f"{expected.split} split of the model's data ({shortened_list(expected.contigs)}), "
            f"where {expected.prevalence:.3%} of the bases have a label."
        )
    if record.reached is not None:
        reached = record.reached
        there = reached.there
        blocks.append(
            f"A precision of {reached.wanted:.0%} was asked for. On the validation split the "
            f"threshold {reached.threshold:.3g} has "
            f"{_percentage(there.precision, there.precision_interval)}, at a recall of "
            f"{_percentage(there.recall, there.recall_interval)}; the model's own threshold "
            f"{reached.own_threshold:.3g} has a recall of {reached.own_recall:.0%} there."
        )
    if record.repeats is not None:
        blocks.append(
            f"Soft-masked, as repeats are, by half or more: {count_noun(record.repeats, 'region')}."
        )
    return blocks


def _percentage(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{value:.0%} ({low:.0%} to {high:.0%})"


def regions_section(contents: PredictContents) -> Section:
    """Show how long and how sure the predicted regions are, and where they are.

    Args:
        contents: What the folder of the prediction holds.
    """
    blocks: list[Block] = []
    regions = contents.regions
    if regions.num_rows:
        threshold = contents.record.regions_settings.threshold
        blocks += [_lengths(regions), _probabilities(regions, threshold), _surest(contents)]
    blocks.append(_regions_by_contig(contents.contigs))
    return Section("regions", "Regions of the genome", blocks)


def _lengths(regions: pa.Table) -> Figure:
    lengths = regions["length"].to_numpy()
    edges = np.unique(np.geomspace(1, max(2, lengths.max() + 1), 24).astype(np.int64))
    svg, counts = _histogram("lengths", lengths, edges, "bases of a region")
    low, middle, high = np.quantile(lengths, (0.1, 0.5, 0.9))
    bins = [
        f"{first:,}" if first == end - 1 else f"{first:,} to {end - 1:,}"
        for first, end in pairwise(edges)
    ]
    return Figure(
        "lengths",
        svg,
        f"Half of the regions have {middle:,.0f} bases or fewer; eight of ten have {low:,.0f} to "
        f"{high:,.0f}.",
        "Lengths of the regions, on a logarithmic axis.",
        Table("Regions by length", ["bases", "regions"], list(zip(bins, counts, strict=True))),
    )


def _probabilities(regions: pa.Table, threshold: float) -> Figure:
    highest = regions["max"].to_numpy()
    edges = np.linspace(min(threshold, highest.min()), 1, 21)
    svg, counts = _histogram("probabilities", highest, edges, "highest probability in a region")
    sure = int((highest >= 0.5).sum())
    bins = [between(first, last, 2) for first, last in pairwise(edges)]
    return Figure(
        "probabilities",
        svg,
        f"{sure:,} of {count_noun(len(highest), 'region')} reach a probability of 0.5.",
        "How sure the model is at the summit of a region. Probabilities are calibrated for the "
        "prevalence of the contigs that the model was validated on: on others they are a rank.",
        Table(
            "Regions by highest probability",
            ["probability", "regions"],
            list(zip(bins, counts, strict=True)),
        ),
    )


def _histogram(
    name: str, values: NDArray[Any], edges: NDArray[Any], label: str
) -> tuple[str, list[str]]:
    """Return a histogram as SVG, and its counts; integer edges get a logarithmic axis."""
    counts, _ = np.histogram(values, edges)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.0))
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE, edgecolor="none")
        axes.set(xlabel=label, ylabel="regions")
        if np.issubdtype(edges.dtype, np.integer):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda at, _: f"{at:,.0f}")
        return svg_of(figure, name), [f"{count:,}" for count in counts]


def _surest(contents: PredictContents) -> Table:
    regions = contents.regions
    rows = regions.take(pc.sort_indices(regions, [("rank", "ascending")])[:SHOWN_REGIONS])
    masked = rows["soft_masked"].null_count < rows.num_rows
    return Table(
        f"The {rows.num_rows} regions with the highest mean probability (0-based, half-open"
        + ("; lower case: soft-masked)" if masked else ")"),
        ["rank", "region", "name", "bases", "mean", "highest", "sequence"],
        [
            [
                f"{row['rank']:,}",
                _place(row, contents.assembly),
                row["name"],
                f"{row['length']:,}",
                number(row["mean"]),
                number(row["max"]),
                _shortened(row["sequence"]),
            ]
            for row in rows.to_pylist()
        ],
    )


def _place(region: Mapping[str, Any], assembly: str | None) -> str:
    contig, start, end = region["contig"], region["start"], region["end"]
    if assembly is None:
        return f"{contig}:{start:,}-{end:,}"
    return genome_link(assembly, contig, start, end)


def _shortened(sequence: str) -> str:
    """Return a sequence that fits a table; the whole one is in the CSV file."""
    if len(sequence) <= SHOWN_BASES:
        return sequence
    half = SHOWN_BASES // 2
    return f"{sequence[:half]}...{sequence[-half:]}"


def _regions_by_contig(contigs: pa.Table) -> Table:
    order = pc.sort_indices(contigs, [("scored", "descending")])
    more = contigs.num_rows - ROWS
    masked = contigs["repeats"].null_count < contigs.num_rows
    heads = ["contig", "scored bases", "regions", "bases in regions", "regions per Mb"]
    return Table(
        "Regions by contig" + (f", without the {more:,} shortest" if more > 0 else ""),
        heads + ["in repeats"] * masked,
        [
            [
                row["contig"],
                f"{row['scored']:,}",
                f"{row['regions']:,}",
                f"{row['in_regions']:,}",
                number(row["regions_per_mb"], 1),
                *([f"{row['repeats']:,}"] if masked else []),
            ]
            for row in contigs.take(order[:ROWS]).to_pylist()
        ],
    )


def perplexity_headline(record: PretrainRecord) -> list[Block]:
    """State the held-out perplexity, and which Markov models it is better than.

    Args:
        record: Manifest of the pretraining.
    """
    contigs = {contig.name: contig.use for contig in record.provenance.contigs}
    left_out = shortened_list(name for name, use in contigs.items() if use == "left_out")
    trained = shortened_list(name for name, use in contigs.items() if use == "trained")
    data = f"Trained on {trained}; " + (
        f"nothing of {left_out} was read." if left_out else "no contig was left out."
    )
    perplexity = record.history[-1].perplexity
    if not perplexity:
        return ["Nothing was held out: there is no perplexity.", data]
    value = perplexity[ALL]
    target = "the next base" if record.settings.objective == "next_base" else "masked bases"
    names = shortened_list(name for name in perplexity if name != ALL)
    return [
        Headline(f"Perplexity {number(value)}", f"of {target}, on held-out windows of {names}."),
        _markov_sentence(record, value),
        data,
    ]


def _markov_sentence(record: PretrainRecord, value: float) -> str:
    if record.settings.objective != "next_base":
        return (
            "Masked bases are predicted from both sides, so this cannot be compared with Markov "
            "models."
        )
    better = [order for order, model in record.markov.items() if model[ALL] < value]
    beaten = [order for order, model in record.markov.items() if model[ALL] >= value]
    if not better:
        return f"It is lower than that of every Markov model, of orders {in_a_sentence(beaten)}."
    if not beaten:
        return f"Every Markov model, of orders {in_a_sentence(better)}, has a lower one."
    return (
        f"It is lower than that of Markov models of order {in_a_sentence(beaten)}, and higher than "
        f"that of order {in_a_sentence(better)}."
    )


def perplexity_section(contents: PretrainContents) -> Section | None:
    """Show held-out perplexity in the course of a pretraining, next to Markov models.

    Args:
        contents: What the folder of the pretraining holds.

    Returns:
        The section, or None where nothing was held out.
    """
    record = contents.record
    if not record.history[-1].perplexity:
        return None
    blocks: list[Block] = [_perplexity_curve(record), _perplexity_by_contig(record)]
    return Section("perplexity", "Held-out perplexity", blocks)


def _perplexity_curve(record: PretrainRecord) -> Figure:
    steps = [entry.step for entry in record.history]
    values = [entry.perplexity[ALL] for entry in record.history]
    markov = record.markov if record.settings.objective == "next_base" else {}
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.6))
        axes = figure.add_subplot()
        axes.plot(steps, values, "o-", color=BLUE, markersize=4.5, label="model")
        for order, model in markov.items():
            axes.axhline(model[ALL], color=MUTED, linewidth=1, linestyle="--")
            axes.annotate(
                order,
                (1, model[ALL]),
                (3, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                color=MUTED,
            )
        for stage in record.settings.stages()[1:]:
            axes.axvline(stage.first, color=ORANGE, linewidth=1, linestyle=":")
        axes.set(xlabel="step", ylabel="perplexity on held-out windows")
        svg = svg_of(figure, "perplexity")
    lengths = in_a_sentence(f"{stage.length:,}" for stage in record.settings.stages())
    dashed = "Dashed: Markov models, by order. " if markov else ""
    return Figure(
        "perplexity",
        svg,
        f"Perplexity on held-out windows changes from {number(values[0])} after {steps[0]:,} steps "
        f"to {number(values[-1])} after {steps[-1]:,}.",
        f"All held-out windows together. {dashed}Dotted: where windows became longer ({lengths} "
        "bases).",
        Table(
            "Perplexity by step",
            ["step", "training length", "training", "held out"],
            [
                [
                    f"{entry.step:,}",
                    f"{entry.length:,}",
                    # The exponential of the mean loss in nats.
                    number(math.exp(entry.train_loss)),
                    number(entry.perplexity[ALL]),
                ]
                for entry in record.history
            ],
        ),
    )


def _perplexity_by_contig(record: PretrainRecord) -> Table:
    perplexity = record.history[-1].perplexity
    names = [name for name in perplexity if name != ALL] + [ALL]
    return Table(
        "Perplexity by contig: of the model, and of Markov models of the next base by order",
        ["contig", "model", *(f"order {order}" for order in record.markov)],
        [
            [
                name,
                number(perplexity[name]),
                *(number(model[name]) for model in record.markov.values()),
            ]
            for name in names
        ],
    )
