"""Of prepared data: how many windows each split has, from which contigs, and what was left out."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.report.blocks import Block, Figure, Headline, Section, Table, counted, in_a_sentence
from hyena_ray.report.drawing import SERIES, WIDTH, style, svg_of

if TYPE_CHECKING:
    from hyena_ray.report.contents import Contents

MOST_CONTIGS = 40
"""Bars of the figure: a draft genome has thousands."""


def prepared_answer(manifest: Manifest) -> list[Block]:
    """Windows of the shortest length, and how they were split."""
    length = min(manifest.lengths)
    sums = {
        split: [c for c in manifest.counts if (c.length, c.split) == (length, split)]
        for split in manifest.splits
    }
    what = "windows" if manifest.contigs else "sequences"
    first, *others = (
        f"{sum(c.positive + c.negative for c in of):,} {split}" for split, of in sums.items()
    )
    positive = sum(c.positive for of in sums.values() for c in of)
    every = sum(c.positive + c.negative for of in sums.values() for c in of)
    return [
        Headline(
            f"{every:,} {what}",
            f"of {length:,} bases, {positive:,} of them with a label of 1: "
            f"{in_a_sentence([first, *others])}.",
        )
    ]


def prepared(contents: Contents) -> Section | None:
    """Of a folder of prepare.py that was cut from a genome."""
    manifest = contents.prepared
    if manifest is None or not manifest.contigs:
        return None
    return Section("windows", "Windows", [_by_contig(manifest), _left_out(manifest)])


def _by_contig(manifest: Manifest) -> Figure:
    length = min(manifest.lengths)
    counts = [c for c in manifest.counts if c.length == length and c.positive + c.negative]
    positive: dict[str, dict[str, int]] = {}
    for count in counts:
        of = positive.setdefault(count.contig, dict.fromkeys(manifest.splits, 0))
        of[count.split] += count.positive
    names = sorted(positive, key=lambda name: -sum(positive[name].values()))
    shown = names[:MOST_CONTIGS]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.9 + 0.27 * len(shown)))
        axes = figure.add_subplot()
        places = range(len(shown))
        left = [0] * len(shown)
        for split, colour in zip(manifest.splits, cycle(SERIES), strict=False):
            widths = [positive[name][split] for name in shown]
            axes.barh(places, widths, left=left, color=colour, label=split)
            left = [begun + width for begun, width in zip(left, widths, strict=True)]
        axes.set_yticks(places, shown)
        axes.invert_yaxis()
        axes.set(xlabel=f"windows of {length:,} bases with a label of 1")
        axes.grid(axis="y", visible=False)
        axes.legend()
        svg = svg_of(figure, "contigs")
    more = len(names) - len(shown)
    return Figure(
        "contigs",
        svg,
        f"Labelled windows lie on {counted(len(names), 'contig')}, most of them on {names[0]}.",
        "By contig and split." + (f" The {more:,} with fewest are not drawn." if more else ""),
        Table(
            "Windows by contig and split",
            ["contig", "split", "with", "without", "there are without"],
            [
                [c.contig, c.split, f"{c.positive:,}", f"{c.negative:,}", f"{c.candidates:,}"]
                for c in counts
            ],
        ),
    )


def _left_out(manifest: Manifest) -> Table:
    return Table(
        "Tiles of the genome, and why some hold no window",
        ["length", "tiles", "more than half N", "on the blacklist"],
        [
            [f"{of.length:,}", f"{of.tiles:,}", f"{of.too_many_n:,}", f"{of.blacklisted:,}"]
            for of in manifest.dropped
        ],
    )
