"""Some windows base by base: scores as letters, with the true region and what was found of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.targets import POSITIVE
from hyena_ray.report.blocks import Block, Figure, Section, Table, counted, in_a_sentence, number
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import BLUE, LETTERS, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.sample import Sample

EXAMPLES = 4
METHODS_SHOWN = 2
ROW = 50
"""Bases of a line, so that letters can be read on a phone."""
MOST = 100
"""Bases of a window that are drawn, about its true positives."""
BESIDE = 5
"""Bases that are to be seen on each side of what is marked."""
_TABLE = 10
"""Bases in the table of a window, those with the highest scores."""


def windows(contents: Contents) -> Section | None:
    """Of a folder with an attribution."""
    found, task = contents.kmers, contents.task
    if found is None or not found.sample.scores or not len(found.sample.bases):
        return None
    sample = found.sample
    several = task is None or task.kind == "base"
    rows = chosen_windows(sample)
    said: Block = (
        f"{counted(len(rows), 'window')} of {len(sample.bases):,} with a true positive, out of "
        f"{sample.read:,} read of {sample.of:,}: those whose summed score lies at "
        "even quantiles of all, so neither the best nor the worst. Positions are 0-based."
        if several
        else f"{counted(len(rows), 'sequence')} of {len(sample.bases):,} true positives."
    )
    figures = [_window(sample, int(row), at) for at, row in enumerate(rows, start=1)]
    return Section("windows", "Windows base by base", [said, *figures])


def chosen_windows(sample: Sample) -> NDArray[np.int64]:
    """(at most `EXAMPLES`,) rows, by quantiles of the summed score of the first method: a choice
    that nobody made by hand."""
    total = next(iter(sample.scores.values())).sum(axis=1)
    order = np.argsort(total, kind="stable")
    at = np.linspace(0, len(order) - 1, min(EXAMPLES, len(order)) + 2)[1:-1]
    return np.unique(order[np.round(at).astype(np.int64)])


def part_shown(marked: NDArray[np.bool_]) -> slice:
    """A line, or as many as what is marked takes up to `MOST` bases, of the (W,) of a window; with
    the middle of what is marked amid."""
    places = np.flatnonzero(marked)
    size = ROW if np.ptp(places) + 2 * BESIDE < ROW else MOST
    size = min(size, len(marked))
    middle = int(places[0] + places[-1]) // 2
    first = min(max(0, middle - size // 2), len(marked) - size)
    return slice(first, first + size)


def _window(sample: Sample, row: int, at: int) -> Figure:
    labels = None
    if sample.labels is not None and sample.labels.shape[1] == sample.bases.shape[1]:
        labels = sample.labels[row] == POSITIVE
    marked = sample.true_positive[row]
    shown = part_shown(marked if labels is None else marked | labels)
    names = list(sample.scores)[:METHODS_SHOWN]
    svg = _drawn(sample, row, shown, labels, names, f"window-{at}")
    scores = sample.scores[names[0]][row]
    place = _place(sample, row, shown)
    letters = "".join("ACGTN"[base] for base in sample.bases[row])
    best = np.argsort(-scores, kind="stable")[:_TABLE]
    cells = [
        [
            letters[base],
            f"{int(base) + (int(sample.start[row]) if len(sample.start) else 0):,}",
            *(number(float(sample.scores[name][row, base]), 2) for name in names),
            "yes" if sample.true_positive[row, base] else "no",
            *([] if labels is None else ["yes" if labels[base] else "no"]),
        ]
        for base in np.sort(best)
    ]
    positive = sample.true_positive[row]
    size = np.abs(scores)
    share = size[positive].sum() / size.sum() if size.any() else 0.0
    of = "" if labels is None else f" of {int(labels.sum())} labelled bases"
    return Figure(
        f"window-{at}",
        svg,
        f"{place}: {int(positive.sum())}{of} found, which carry {share:.0%} of the "
        f"absolute {METHODS[names[0]].title} scores.",
        "Letters as high as their score, in logits, of "
        f"{in_a_sentence(METHODS[name].title for name in names)}. "
        + ("Lines below: what is labelled, and" if labels is not None else "Line below:")
        + " what of it the model finds.",
        Table(
            f"The {len(cells)} bases with the highest scores",
            [
                "base",
                "position, from 0",
                *(METHODS[name].title for name in names),
                "true positive",
                *([] if labels is None else ["labelled"]),
            ],
            cells,
        ),
    )


def _place(sample: Sample, row: int, shown: slice) -> str:
    if not len(sample.start) or (sample.labels is not None and sample.labels.shape[1] == 1):
        return f"Sequence {sample.start[row] + 1:,}" if len(sample.start) else "A window"
    first = int(sample.start[row])
    return f"{sample.contig[row]}:{first + shown.start:,}-{first + shown.stop:,}"


def _drawn(
    sample: Sample,
    row: int,
    shown: slice,
    labels: NDArray[np.bool_] | None,
    names: list[str],
    name: str,
) -> str:
    lines = range(shown.start, shown.stop, ROW)
    heights = [*([1.0] * len(names)), 0.45, 0.3]
    with style() as new_figure:
        height = len(lines) * (0.95 * len(names) + 0.7)
        figure = new_figure(figsize=(WIDTH, height), layout="none")
        # What a layout engine would find out by drawing everything twice.
        figure.subplots_adjust(
            left=0.13, right=0.995, bottom=0.02 / height, top=1 - 0.2 / height, hspace=0.45
        )
        grid = figure.subplots(
            len(lines) * len(heights), 1, squeeze=False, height_ratios=heights * len(lines)
        )[:, 0]
        for at, first in enumerate(lines):
            of_line = grid[at * len(heights) : (at + 1) * len(heights)]
            part = slice(first, min(first + ROW, shown.stop))
            for axes, method in zip(of_line, names, strict=False):
                scores = sample.scores[method][row]
                _letters(axes, sample.bases[row, part], scores[part])
                whole = scores[shown]
                axes.set_ylim(min(0.0, float(whole.min())), max(1e-6, float(whole.max())))
                axes.set_xlim(-0.5, ROW - 0.5)
                axes.set_xticks([])
                axes.locator_params(axis="y", nbins=3)
                axes.set_title(METHODS[method].title, loc="left", fontsize=8, pad=2, color=MUTED)
                axes.spines["bottom"].set_visible(False)
            marks = [("found", sample.true_positive[row], BLUE)]
            if labels is not None:
                marks.append(("labelled", labels, ORANGE))
            start = int(sample.start[row]) if len(sample.start) else 0
            of_line[-1].axis("off")  # keeps lines apart
            _marks(of_line[-2], marks, part, start)
        return svg_of(figure, name)


def _letters(axes: Any, bases: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
    """One letter a base, where `logomaker.Logo` would draw the three of height nothing as well."""
    from logomaker import Glyph

    for place, (base, score) in enumerate(zip(bases.tolist(), scores.tolist(), strict=True)):
        if base < 4:
            letter = "ACGT"[base]
            Glyph(
                place,
                letter,
                ax=axes,
                floor=min(score, 0.0),
                ceiling=max(score, 0.0),
                color=LETTERS[letter],
                flip=score < 0,
                font_name="DejaVu Sans",
            )
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.grid(visible=False)


def _marks(
    axes: Any, marks: list[tuple[str, NDArray[np.bool_], str]], part: slice, start: int
) -> None:
    """Lines under the letters that are marked, and the position of the first and every tenth."""
    for level, (_, marked, colour) in enumerate(marks):
        runs = np.flatnonzero(np.diff(np.pad(marked[part].astype(np.int8), 1)))
        for first, last in runs.reshape(-1, 2):
            axes.plot(
                [first - 0.4, last - 0.6],
                [level, level],
                color=colour,
                linewidth=4,
                solid_capstyle="butt",
            )
    axes.set(xlim=(-0.5, ROW - 0.5), ylim=(-0.7, len(marks) - 0.3), yticks=())
    axes.set_yticks(range(len(marks)), [name for name, *_ in marks], fontsize=7.5)
    ticks = range(0, part.stop - part.start, 10)
    axes.set_xticks(ticks, [f"{start + part.start + tick:,}" for tick in ticks], fontsize=7.5)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
