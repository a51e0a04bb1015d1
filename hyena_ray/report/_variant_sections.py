"""Effects of variants: how large they are, the strongest ones, and these base by base."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from hyena_ray.attribution.logo import draw_letters
from hyena_ray.genome.variant_alleles import encoded
from hyena_ray.prediction.variant_record import VariantRecord
from hyena_ray.progress import count_noun
from hyena_ray.report._page import (
    Block,
    Figure,
    Headline,
    Section,
    Table,
    between,
    genome_link,
    number,
)
from hyena_ray.report._plots import BLUE, LETTERS, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.run_contents import VariantContents

SHOWN = 25
"""Alleles of the table of the strongest."""
DRAWN = 6
"""Alleles that are drawn base by base."""
ROW = 50
"""Bases that are drawn, around the allele; few enough that letters can be read on a phone."""
LONGEST = 20
"""Letters of an allele in a table; of a longer one the first ones."""


def variants_headline(record: VariantRecord) -> list[Block]:
    """State how many alleles were scored, and how many calls they change.

    Args:
        record: Manifest of the scores.
    """
    skipped = record.alleles - record.scored
    blocks: list[Block] = [
        Headline(
            f"{count_noun(record.gained, 'call')} gained, {record.lost:,} lost",
            f"by {count_noun(record.scored, 'allele')}, at a probability of "
            f"{record.threshold:.3g}; {skipped:,} of {record.alleles:,} could not be scored.",
        )
    ]
    if record.mismatches:
        blocks.append(
            f"Warning: {count_noun(record.mismatches, 'reference allele')} of "
            f"{count_noun(record.rows, 'row')} are not what the genome has."
        )
    return blocks


def variants_section(contents: VariantContents) -> Section:
    """Show how large the changes are, the strongest alleles, and what was skipped.

    Args:
        contents: What the folder of the scores holds.
    """
    blocks: list[Block] = [_changes(contents), _strongest(contents)]
    drawn = contents.profiles.slice(0, DRAWN).to_pylist()
    pairs = [(one, contents.table.slice(one["number"], 1).to_pylist()[0]) for one in drawn]
    blocks += [
        _pair(contents, profile, row, f"variant-{row['rank']}")
        for profile, row in pairs
        if row["summed_change"]
    ]
    if contents.record.skipped:
        skipped = contents.record.skipped.items()
        rows_of = [[reason, f"{count:,}"] for reason, count in skipped]
        blocks.append(Table("Alleles that were skipped", ["reason", "alleles"], rows_of))
    return Section("variants", "Effects of the variants", blocks)


def _changes(contents: VariantContents) -> Figure:
    changes = contents.table["change"].to_numpy()
    edges = np.linspace(-1, 1, 41)
    counts, _ = np.histogram(changes, edges)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.0))
        axes = figure.add_subplot()
        colours = [ORANGE if edge < -1e-9 else BLUE for edge in edges[:-1]]
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours)
        axes.set_yscale("symlog", linthresh=1)
        axes.set(xlabel="change of the highest probability", ylabel="alleles")
        svg = svg_of(figure, "changes")
    large = int((np.abs(changes) >= 0.1).sum())
    return Figure(
        "changes",
        svg,
        f"{large:,} of {count_noun(len(changes), 'allele')} change the highest probability of "
        "their window by 0.1 or more.",
        "Alleles by the change of the highest probability, on a logarithmic axis.",
        Table(
            "Alleles by change",
            ["change", "alleles"],
            [
                [between(float(low), float(low) + 0.05, 2), f"{count:,}"]
                for low, count in zip(edges[:-1], counts, strict=True)
                if count
            ],
        ),
    )


def _strongest(contents: VariantContents) -> Table:
    order = pc.sort_indices(contents.table, [("rank", "ascending")])[:SHOWN]
    several = contents.record.models > 1
    heads = ["rank", "position, from 1", "allele", "reference", "alternative", "change"]
    heads += ["spread"] * several + ["change of the sum", "call"]
    near = "region_distance" in contents.table.column_names
    rows = []
    for row in contents.table.take(order).to_pylist():
        cells = [f"{row['rank']:,}", _place(contents, row), _change(row)]
        cells += [number(row[name]) for name in ("highest_ref", "highest_alt", "change")]
        cells += [number(row["change_sd"])] * several
        cells += [number(row["summed_change"], 2), row["call"]]
        if near:
            distance = row["region_distance"]
            cells.append("" if distance is None else f"{distance:,}")
        rows.append(cells)
    return Table(
        f"The {len(rows)} alleles with the largest change of the summed log-odds",
        heads + ["bases to a region"] * near,
        rows,
    )


def _place(contents: VariantContents, row: dict[str, Any]) -> str:
    contig, position = row["contig"], row["position"]
    if contents.assembly is None:
        return f"{contig}:{position:,}"
    return genome_link(contents.assembly, contig, position - 1, position - 1 + len(row["ref"]))


def _change(row: dict[str, Any]) -> str:
    ref, alt = (
        text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
        for text in (row["ref"], row["alt"])
    )
    return f"{ref} to {alt}"


def _pair(
    contents: VariantContents, profile: dict[str, Any], row: dict[str, Any], name: str
) -> Figure:
    """Draw both windows of an allele, a letter for each base as high as its probability."""
    before = profile["before"]
    sizes = len(profile["replaced"]), len(profile["replacement"])
    middle = before + max(sizes) // 2
    window = len(profile["ref"])
    first = min(max(0, middle - ROW // 2), max(0, window - ROW))
    shown = slice(first, min(first + ROW, window))
    highest = max(row["highest_ref"], row["highest_alt"], 0.01)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 2.4))
        panels = figure.subplots(2, 1)
        for axes, which, size in zip(panels, ("ref", "alt"), sizes, strict=True):
            bases, scores = (
                encoded(profile[f"{which}_bases"])[shown],
                _filled(profile[which])[shown],
            )
            axes.axvspan(
                before - shown.start - 0.5,
                before + size - shown.start - 0.5,
                color=MUTED,
                alpha=0.25,
            )
            draw_letters(axes, bases, scores, LETTERS, MUTED)
            axes.set(xlim=(-0.5, ROW - 0.5), ylim=(0, highest), xticks=[])
            title = "reference" if which == "ref" else "alternative"
            axes.set_title(title, loc="left", fontsize=8, pad=2, color=MUTED)
        start = profile["start"] + shown.start
        ticks = range(-start % 10, shown.stop - shown.start, 10)
        # Behind an insertion or a deletion the letters below have moved, and these have not.
        panels[0].set_xticks(ticks, [f"{start + tick:,}" for tick in ticks], fontsize=7.5)
        svg = svg_of(figure, name)
    place = _place(contents, row)
    return Figure(
        name,
        svg,
        f"{place}, {_change(row)}: the highest probability goes from "
        f"{number(row['highest_ref'])} to {number(row['highest_alt'])}.",
        "Letters as high as the probability of their base; the allele is shaded. Positions are "
        "those of the reference, 0-based.",
    )


def _filled(scores: list[float]) -> NDArray[np.float32]:
    return np.nan_to_num(np.array(scores, np.float32))
