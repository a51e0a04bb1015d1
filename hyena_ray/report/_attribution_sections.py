"""Attribution base by base, and checks of whether its scores can be believed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.logo import draw_letters
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.targets import POSITIVE
from hyena_ray.progress import count_noun
from hyena_ray.report._page import Figure, Section, Table, genome_link, in_a_sentence, number
from hyena_ray.report._plots import BLUE, LETTERS, MUTED, ORANGE, SERIES, WIDTH, style, svg_of
from hyena_ray.report.run_contents import RunContents, SanityResults, WindowSample

EXAMPLES = 4
"""Windows that are drawn."""
METHODS_SHOWN = 2
"""Methods of a window's drawing."""
ROW = 50
"""Bases of a line, few enough that letters can be read on a phone."""
MOST_BASES = 100
"""Bases of a window that are drawn at most, around its true positives."""
CONTEXT = 5
"""Bases that are drawn on each side of what is marked, where the window has them."""
BEST_BASES = 10
"""Bases of a window's table, those with the highest scores."""
ALIKE = 0.3
"""Rank correlation past which the scores of a model that learnt nothing count as alike."""


def window_section(contents: RunContents) -> Section | None:
    """Show some windows base by base: scores as letters, labels and true positives as lines.

    Args:
        contents: What the run's folder holds, with the attribution given along with it.

    Returns:
        The section, or None where no window with scores was read.
    """
    attribution, task = contents.attribution, contents.task
    if attribution is None or not attribution.sample.scores or not len(attribution.sample.bases):
        return None
    sample = attribution.sample
    rows = chosen_windows(sample)
    if task is None or task.kind == "base":
        selection = (
            f"{count_noun(len(rows), 'window')} of {len(sample.bases):,} with a true positive, "
            f"from {sample.windows_read:,} read of {sample.windows_attributed:,}: those whose "
            "summed score is at even quantiles of all, so neither the best nor the worst. "
            "Positions are 0-based."
        )
    else:
        selection = f"{count_noun(len(rows), 'sequence')} of {len(sample.bases):,} true positives."
    figures = [
        _window(sample, int(row), f"window-{at}", contents.assembly)
        for at, row in enumerate(rows, start=1)
    ]
    return Section("windows", "Windows base by base", [selection, *figures])


def chosen_windows(sample: WindowSample) -> NDArray[np.int64]:
    """Choose windows at even quantiles of the summed score of the first method.

    Args:
        sample: Attributed windows, at least one of them.

    Returns:
        Ascending rows of the sample, at most `EXAMPLES` of them.
    """
    total = next(iter(sample.scores.values())).sum(axis=1)
    order = np.argsort(total, kind="stable")
    at = np.linspace(0, len(order) - 1, min(EXAMPLES, len(order)) + 2)[1:-1]
    return np.unique(order[np.round(at).astype(np.int64)])


def part_shown(marked: NDArray[np.bool_]) -> slice:
    """Choose the bases of a window that are drawn, with what is marked in the middle.

    Args:
        marked: Whether a base is marked, shape (W,); at least one is.

    Returns:
        `ROW` bases, or `MOST_BASES` where the marks need more, or the whole of a shorter window.
    """
    marks = np.flatnonzero(marked)
    size = ROW if np.ptp(marks) + 2 * CONTEXT < ROW else MOST_BASES
    size = min(size, len(marked))
    middle = int(marks[0] + marks[-1]) // 2
    first = min(max(0, middle - size // 2), len(marked) - size)
    return slice(first, first + size)


def _window(sample: WindowSample, row: int, name: str, assembly: str | None) -> Figure:
    # The label of a whole sequence marks no base.
    labels = None if _are_sequences(sample) else sample.labels[row] == POSITIVE
    positive = sample.true_positive[row]
    shown = part_shown(positive if labels is None else positive | labels)
    methods = list(sample.scores)[:METHODS_SHOWN]
    titles = [METHODS[method].title for method in methods]
    size = np.abs(sample.scores[methods[0]][row])
    fraction = size[positive].sum() / size.sum() if size.any() else 0.0
    total = "" if labels is None else f" of {int(labels.sum())} labelled bases"
    place = None
    if assembly is not None and labels is not None:
        first = int(sample.start[row])
        ends = first + shown.start, first + shown.stop
        place = genome_link(assembly, sample.contig[row], *ends)
    return Figure(
        name,
        _draw_window(sample, row, shown, labels, methods, name),
        f"{_location(sample, row, shown)}: {int(positive.sum())}{total} found, which carry "
        f"{fraction:.0%} of the absolute {titles[0]} scores.",
        f"Letters as high as their score, in logits, of {in_a_sentence(titles)}. "
        + ("Line below:" if labels is None else "Lines below: the labelled bases, and")
        + " those that the model finds.",
        _best_bases(sample, row, labels, methods),
        place,
    )


def _are_sequences(sample: WindowSample) -> bool:
    return bool(sample.labels.shape[1] != sample.bases.shape[1])


def _best_bases(
    sample: WindowSample, row: int, labels: NDArray[np.bool_] | None, methods: list[str]
) -> Table:
    best = np.argsort(-sample.scores[methods[0]][row], kind="stable")[:BEST_BASES]
    start = int(sample.start[row])
    cells = [
        [
            "ACGTN"[sample.bases[row, base]],
            f"{int(base) + start:,}",
            *(number(float(sample.scores[method][row, base]), 2) for method in methods),
            "yes" if sample.true_positive[row, base] else "no",
            *([] if labels is None else ["yes" if labels[base] else "no"]),
        ]
        for base in np.sort(best)
    ]
    titles = [METHODS[method].title for method in methods]
    heads = ["base", "position, from 0", *titles, "true positive"]
    return Table(
        f"The {len(cells)} bases with the highest scores",
        heads if labels is None else [*heads, "labelled"],
        cells,
    )


def _location(sample: WindowSample, row: int, shown: slice) -> str:
    first = int(sample.start[row])
    if _are_sequences(sample):
        return f"Sequence {first + 1:,}"
    return f"{sample.contig[row]}:{first + shown.start:,}-{first + shown.stop:,}"


def _draw_window(
    sample: WindowSample,
    row: int,
    shown: slice,
    labels: NDArray[np.bool_] | None,
    methods: list[str],
    name: str,
) -> str:
    lines = range(shown.start, shown.stop, ROW)
    # Of each line: one panel for each method, one for the marks, one to keep lines apart.
    heights = [*([1.0] * len(methods)), 0.45, 0.3]
    marks = [("found", sample.true_positive[row], BLUE)]
    if labels is not None:
        marks.append(("labelled", labels, ORANGE))
    start = 0 if labels is None else int(sample.start[row])  # of a sequence, its row in the file
    with style() as new_figure:
        height = len(lines) * (0.95 * len(methods) + 0.7)
        figure = new_figure(figsize=(WIDTH, height), layout="none")
        # A layout engine would find these values by drawing everything twice.
        figure.subplots_adjust(
            left=0.13, right=0.995, bottom=0.02 / height, top=1 - 0.2 / height, hspace=0.45
        )
        panels = figure.subplots(
            len(lines) * len(heights), 1, squeeze=False, height_ratios=heights * len(lines)
        )[:, 0]
        for at, first in enumerate(lines):
            line = panels[at * len(heights) : (at + 1) * len(heights)]
            part = slice(first, min(first + ROW, shown.stop))
            for axes, method in zip(line, methods, strict=False):
                scores = sample.scores[method][row]
                draw_letters(axes, sample.bases[row, part], scores[part], LETTERS, MUTED)
                low, high = float(scores[shown].min()), float(scores[shown].max())
                axes.set(xlim=(-0.5, ROW - 0.5), ylim=(min(0.0, low), max(1e-6, high)), xticks=[])
                axes.locator_params(axis="y", nbins=3)
                axes.set_title(METHODS[method].title, loc="left", fontsize=8, pad=2, color=MUTED)
                axes.spines["bottom"].set_visible(False)
            _draw_marks(line[-2], marks, part, start)
            line[-1].axis("off")
        return svg_of(figure, name)


def _draw_marks(
    axes: Any, marks: list[tuple[str, NDArray[np.bool_], str]], part: slice, start: int
) -> None:
    """Underline marked bases, and number every base whose position is a multiple of ten."""
    for level, (_, marked, colour) in enumerate(marks):
        runs = np.flatnonzero(np.diff(np.pad(marked[part].astype(np.int8), 1)))
        for first, end in runs.reshape(-1, 2):
            axes.plot(
                [first - 0.4, end - 0.6],
                [level, level],
                color=colour,
                linewidth=4,
                solid_capstyle="butt",
            )
    axes.set(xlim=(-0.5, ROW - 0.5), ylim=(-0.7, len(marks) - 0.3))
    axes.set_yticks(range(len(marks)), [name for name, *_ in marks], fontsize=7.5)
    ticks = range(-(start + part.start) % 10, part.stop - part.start, 10)
    axes.set_xticks(ticks, [f"{start + part.start + tick:,}" for tick in ticks], fontsize=7.5)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


def sanity_section(contents: RunContents) -> Section | None:
    """Show faithfulness curves, models that learnt nothing, and planted k-mers.

    Args:
        contents: What the run's folder holds, with the sanity checks given along with it.

    Returns:
        The section, or None where there are no sanity checks.
    """
    sanity = contents.sanity
    if sanity is None:
        return None
    return Section(
        "checks",
        "Can the scores be believed?",
        [
            _faithfulness(sanity, "deletion", "Bases are taken out", "falls", "lower"),
            _faithfulness(sanity, "insertion", "Bases are put back", "rises", "higher"),
            _sanity_table(sanity),
        ],
    )


def _faithfulness(
    sanity: SanityResults, curve: str, action: str, change: str, better: str
) -> Figure:
    first = sanity.checks[0]
    titles = [METHODS[check.method].title for check in sanity.checks]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.4))
        axes = figure.add_subplot()
        for check, title, colour, line in zip(
            sanity.checks, titles, SERIES * 2, ("-", "--", "-.", ":") * 3, strict=False
        ):
            axes.plot(
                check.curves.share, getattr(check.curves, curve), line, color=colour, label=title
            )
        axes.plot(
            first.by_chance.share,
            getattr(first.by_chance, curve),
            color=MUTED,
            linewidth=1.2,
            label="random order",
        )
        axes.set(xlabel="fraction of bases", ylabel="fraction of the target", xlim=(0, 1))
        axes.legend()
        svg = svg_of(figure, curve)
    area = number(getattr(first.curves, f"{curve}_area"))
    chance = number(getattr(first.by_chance, f"{curve}_area"))
    rows = [
        [
            f"{first.curves.share[at]:.0%}",
            *(number(getattr(check.curves, curve)[at], 2) for check in sanity.checks),
            number(getattr(first.by_chance, curve)[at], 2),
        ]
        for at in range(0, len(first.curves.share), 2)
    ]
    return Figure(
        curve,
        svg,
        f"{action} from the highest score down, and the target {change}: area {area} by "
        f"{titles[0]}, {chance} in random order.",
        f"Mean over {first.windows:,} windows of what is left of the target, as a fraction of the "
        "target with all bases; replacements come from a dinucleotide shuffle. A "
        f"{better} area is better.",
        Table(f"Target by fraction of bases, {curve}", ["fraction", *titles, "random order"], rows),
    )


def _sanity_table(sanity: SanityResults) -> Table:
    rows = [
        [
            METHODS[check.method].title,
            number(check.curves.deletion_area),
            number(check.curves.insertion_area),
            _correlation(check.random_weights),
            _correlation(check.random_labels),
            number(check.planted_auroc),
        ]
        for check in sanity.checks
    ]
    chance = sanity.checks[0].by_chance
    rows.append(
        ["random order", number(chance.deletion_area), number(chance.insertion_area), "", "", ""]
    )
    return Table(
        "Areas; rank correlation with the scores of models that learnt nothing, which should be "
        "near 0; AUROC of the scores for planted k-mers",
        ["method", "deletion", "insertion", "random weights", "random labels", "planted, AUROC"],
        rows,
    )


def _correlation(value: float | None) -> str:
    alike = value is not None and abs(value) > ALIKE
    return f"{number(value)}{' (alike)' if alike else ''}"
