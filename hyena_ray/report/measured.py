"""How the model does on the test windows: all metrics, precision and recall, reliability."""

from __future__ import annotations

from typing import Any

from scipy.stats import binomtest

from hyena_ray.report.blocks import Block, Figure, Section, Table, between, number
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import BLUE, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.tuning.comparison import METRICS

_SHOWN = 12
"""Points of a curve in its table."""


def measured(contents: Contents) -> Section | None:
    """Of a folder that holds an evaluation."""
    found = contents.evaluation
    if found is None:
        return None
    blocks: list[Block] = [] if found.curve is None else [_precision_recall(found)]
    blocks += [_reliability(found), _metrics(found)]
    title = "On the test windows" if found.split == "test" else f"On the windows of {found.split}"
    return Section("measured", title, blocks)


def _square(new_figure: Any) -> tuple[Any, Any]:
    figure = new_figure(figsize=(WIDTH, 4.2))
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    return figure, axes


def _precision_recall(found: Evaluation) -> Figure:
    curve, of = found.curve, found.metrics
    assert curve is not None
    with style() as new_figure:
        figure, axes = _square(new_figure)
        axes.plot(curve.recall, curve.precision, color=BLUE)
        axes.axhline(found.prevalence, color=MUTED, linestyle="--", linewidth=1.2)
        axes.annotate(
            "by chance", (0.01, found.prevalence), (0, 4), textcoords="offset points", color=MUTED
        )
        axes.plot(of.recall, of.precision, "o", color=ORANGE, markersize=8)
        axes.annotate(
            f"threshold {of.threshold:.2f}",
            (of.recall, of.precision),
            (-8, -14),
            textcoords="offset points",
            ha="right",
        )
        axes.set(xlabel="recall", ylabel="precision")
        svg = svg_of(figure, "precision-recall")
    low, high = found.intervals["average_precision"]
    step = -(-len(curve.recall) // _SHOWN)
    rows = [
        [number(curve.threshold[at], 4), number(curve.recall[at]), number(curve.precision[at])]
        for at in range(0, len(curve.recall), step)
    ]
    return Figure(
        "precision-recall",
        svg,
        f"Average precision {number(of.average_precision)} ({between(low, high)}), by chance "
        f"{number(found.prevalence)}; at the threshold precision {number(of.precision)} and recall "
        f"{number(of.recall)}.",
        "Precision and recall at every threshold, at the share of positives of these windows. The "
        "point is the threshold that the validation windows chose.",
        Table("Precision and recall by threshold", ["threshold", "recall", "precision"], rows),
    )


def _reliability(found: Evaluation) -> Figure:
    curve = found.calibration
    intervals = [
        binomtest(round(share * count), count).proportion_ci(method="wilson")
        for share, count in zip(curve.observed, curve.labels, strict=True)
    ]
    with style() as new_figure:
        figure, axes = _square(new_figure)
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2)
        axes.plot(curve.predicted, curve.observed, "o-", color=BLUE, markersize=6)
        for at, edges in zip(curve.predicted, intervals, strict=True):
            axes.plot([at, at], edges, color=BLUE, linewidth=1.2)
        axes.set(xlabel="predicted probability", ylabel="share that is labelled")
        svg = svg_of(figure, "reliability")
    bins = list(zip(curve.predicted, curve.observed, curve.labels, intervals, strict=True))
    rows = [
        [number(predicted), number(observed), between(*edges), f"{labels:,}"]
        for predicted, observed, labels, edges in bins
    ]
    inner = [row for row in bins if 0.1 <= row[0] <= 0.9]
    total = sum(labels for _, _, labels, _ in inner)
    gap = sum(labels * (seen - said) for said, seen, labels, _ in inner) / max(1, total)
    tendency = "too low" if gap > 0.05 else "too high" if gap < -0.05 else "about right"
    return Figure(
        "reliability",
        svg,
        f"Brier score {number(curve.brier, 4)}; probabilities between 0.1 and 0.9 are {tendency}.",
        "Share of labels that are 1 against predicted probability, in bins of equal width; on the "
        "dashed line a probability means what it says. Upright lines: 95 % intervals of Wilson, "
        "which take labels as independent. A genome has fewer positives than these "
        "windows, so there all shares are lower.",
        Table("Reliability", ["predicted", "observed", "95 % interval", "labels"], rows),
    )


def _metrics(found: Evaluation) -> Table:
    rows = []
    for name, title in METRICS.items():
        if (value := getattr(found.metrics, name, None)) is not None:
            interval = found.intervals.get(name)
            rows.append([title, number(value), "" if interval is None else between(*interval)])
    if found.genome is not None:
        rows.append(
            [
                f"AP, genome ({found.genome.prevalence:.3%} of its bases are labelled)",
                number(found.genome.average_precision),
                between(*found.intervals["average_precision_genome"]),
            ]
        )
    if found.regions is not None:
        rows.append(["regions found", number(found.regions.recall), ""])
        rows.append(["called runs that touch a region", number(found.regions.precision), ""])
    rows += [
        ["threshold", number(found.metrics.threshold), ""],
        ["loss", number(found.metrics.loss, 4), ""],
    ]
    title = f"All metrics; intervals are from {found.replicates:,} draws of {found.blocks} blocks"
    return Table(title, ["metric", "value", "95 % interval"], rows)
