"""Sequence logos: of the best k-mers, laid over each other, and of the true positives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyena_ray.report.alignment import (
    Family,
    align_sites,
    base_counts,
    families,
    information,
)
from hyena_ray.report.blocks import Block, Figure, Table, counted, number
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import LETTERS, WIDTH, style, svg_of
from hyena_ray.report.sample import Sample

TOP = 20
"""k-mers that are laid over each other."""
FAMILIES = 3
"""Of which logos are drawn, where they have at least two k-mers."""
SITE = 12
"""Bases of a site inside true positives."""
MARGIN = 6
"""Bases that a site may move to each side of the middle of its run."""
SEED = 0
"""Of the shuffle that sites are compared with."""


def logos(contents: Contents) -> list[Block]:
    """Of a folder with an attribution; nothing where too little is there to be laid over."""
    found, task = contents.kmers, contents.task
    assert found is not None
    strands = task.both_strands if task is not None else False
    best = found.consensus or next(iter(found.methods.values()), found.tp)
    assert best is not None
    whose = "the consensus" if found.consensus is not None else "the first table"
    groups = families(best["kmer"].slice(0, TOP).to_pylist(), strands=strands)
    large = [group for group in groups if len(group.kmers) > 1][:FAMILIES]
    blocks: list[Block] = [
        _family(group, at, len(large), whose) for at, group in enumerate(large, start=1)
    ]
    sites = _sites(found.sample, strands=strands)
    return blocks if sites is None else [*blocks, sites]


def draw_logo(axes: Any, heights: NDArray[np.float64]) -> None:
    """Letters A C G T of the (width, 4) heights, which may be negative."""
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


def _logo(counts: NDArray[np.float64], name: str, first: int) -> str:
    """SVG of counts (width, 4), in bits."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 1.9))
        axes = figure.add_subplot()
        draw_logo(axes, share * information(counts)[:, None])
        axes.set(ylim=(0, 2), yticks=(0, 1, 2), ylabel="bits")
        axes.set_xticks(range(len(counts)), range(first, first + len(counts)))
        axes.tick_params(length=0)
        return svg_of(figure, name)


def _letters(counts: NDArray[np.float64]) -> str:
    """The most frequent base at each position."""
    return "".join("ACGT"[base] for base in counts.argmax(axis=1))


def _family(group: Family, at: int, of: int, whose: str) -> Figure:
    codes = np.array([["ACGT.".index(sign) for sign in row] for row in group.placed], np.uint8)
    # The k-mers of a family count alike: how often each occurs stands in the tables.
    counts = base_counts(codes)
    name = f"family-{at}"
    rows = [[kmer, placed] for kmer, placed in zip(group.kmers, group.placed, strict=True)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 1.9))
        axes = figure.add_subplot()
        draw_logo(axes, share * (counts.sum(axis=1) / len(codes))[:, None])
        axes.set(ylim=(0, 1), yticks=(0, 0.5, 1), ylabel="share of k-mers")
        axes.set_xticks(range(len(counts)), range(1, len(counts) + 1))
        axes.tick_params(length=0)
        svg = svg_of(figure, name)
    return Figure(
        name,
        svg,
        f"Family {at} of {of}: {counted(len(rows), 'k-mer')} around {_letters(counts)}.",
        f"The first {TOP} k-mers of {whose}, laid over the best of each family; letters have the "
        "height of their share. Where strands are alike, a k-mer may stand as its reverse "
        "complement.",
        Table(f"k-mers of family {at}", ["k-mer", "as it is laid"], rows),
    )


def _sites(sample: Sample, *, strands: bool) -> Figure | None:
    """Logo of the true positives; None where they are too few, or whole sequences."""
    pieces = true_positive_pieces(sample)
    if len(pieces) < 5:
        return None
    found = align_sites(pieces, SITE, strands=strands)
    rng = np.random.default_rng(SEED)
    chance = align_sites(rng.permuted(pieces, axis=1), SITE, strands=strands)
    counts = base_counts(found.bases)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return Figure(
        "true-positives",
        _logo(counts, "true-positives", 1),
        f"{counted(len(pieces), 'run')} of true positives look like {_letters(counts)}: "
        f"{number(found.information, 1)} bits, and {number(chance.information, 1)} bits when the "
        "bases of each are shuffled.",
        f"The {SITE} bases around the middle of each run of true positives, moved by up to "
        f"{MARGIN} bases to look most like each other, and turned round where strands are alike. "
        "Moving alone makes a logo: compare with the bits of shuffled bases.",
        Table(
            "Share of bases by position",
            ["position", "A", "C", "G", "T"],
            [
                [str(at), *(number(value, 2) for value in row)]
                for at, row in enumerate(share, start=1)
            ],
        ),
    )


def true_positive_pieces(sample: Sample) -> NDArray[np.uint8]:
    """(n, SITE + 2 * MARGIN) bases about the middle of each run of true positives, of those that
    have so many on both sides inside their window; none of whole sequences."""
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
