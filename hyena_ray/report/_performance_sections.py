"""How good the model is: metrics and curves on a split, and learning curves."""

from __future__ import annotations

from typing import Any

import optuna

from hyena_ray.progress import count_noun
from hyena_ray.report._page import Block, Figure, Section, Table, between, number
from hyena_ray.report._plots import BLUE, GREEN, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.run_contents import ScoredContents, TrainContents, TuneContents
from hyena_ray.search.stored_study import STATES
from hyena_ray.training.enrichment import SHIFTS
from hyena_ray.training.errors_by_kind import Errors
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.reliability import TOP, Reliability
from hyena_ray.workflows.comparison_table import METRIC_TITLES

CURVE_ROWS = 12
"""Points of the precision-recall curve in its table."""
_STATE_COLOURS = {
    "complete": BLUE,
    "stopped early": MUTED,
    "failed": ORANGE,
    "unfinished": GREEN,
}


def evaluation_section(contents: ScoredContents) -> Section | None:
    """Show precision and recall, reliability and all metrics on the split that was scored.

    Args:
        contents: What the run's folder holds.

    Returns:
        The section, or None where the model was not scored.
    """
    evaluation = contents.evaluation
    if evaluation is None:
        return None
    blocks: list[Block] = [
        _precision_recall(evaluation),
        _reliability(evaluation),
        _top_reliability(evaluation),
        _metrics(evaluation),
    ]
    if evaluation.enrichment:
        blocks.append(_enrichment(evaluation))
    if evaluation.tracts:
        blocks.append(_tracts(evaluation))
    if evaluation.errors is not None:
        blocks.append(_errors(evaluation.errors))
    if len(evaluation.by_contig) > 1:
        blocks.append(_contigs(evaluation))
    return Section("evaluation", f"On the {evaluation.split} data", blocks)


def _unit_square(new_figure: Any) -> tuple[Any, Any]:
    figure = new_figure(figsize=(WIDTH, 4.2))
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
    return figure, axes


def _precision_recall(evaluation: Evaluation) -> Figure:
    curve, metrics = evaluation.curve, evaluation.metrics
    with style() as new_figure:
        figure, axes = _unit_square(new_figure)
        axes.plot(curve.recall, curve.precision, color=BLUE)
        axes.axhline(evaluation.prevalence, color=MUTED, linestyle="--", linewidth=1.2)
        axes.annotate(
            "by chance",
            (0.01, evaluation.prevalence),
            (0, 4),
            textcoords="offset points",
            color=MUTED,
        )
        axes.plot(metrics.recall, metrics.precision, "o", color=ORANGE, markersize=8)
        axes.annotate(
            f"threshold {metrics.threshold:.2f}",
            (metrics.recall, metrics.precision),
            (-8, -14),
            textcoords="offset points",
            ha="right",
        )
        axes.set(xlabel="recall", ylabel="precision")
        svg = svg_of(figure, "precision-recall")
    low, high = evaluation.intervals["average_precision"]
    step = -(-len(curve.recall) // CURVE_ROWS)
    rows = [
        [number(curve.threshold[at], 4), number(curve.recall[at]), number(curve.precision[at])]
        for at in range(0, len(curve.recall), step)
    ]
    return Figure(
        "precision-recall",
        svg,
        f"Average precision {number(metrics.average_precision)} ({between(low, high)}), by chance "
        f"{number(evaluation.prevalence)}; at the threshold precision {number(metrics.precision)} "
        f"and recall {number(metrics.recall)}.",
        "Precision and recall at every threshold, at the prevalence of the scored contigs or "
        "sequences. The point is the threshold that the validation data chose.",
        Table("Precision and recall by threshold", ["threshold", "recall", "precision"], rows),
    )


def _reliability(evaluation: Evaluation) -> Figure:
    calibration = evaluation.calibration
    curve = calibration.curve
    with style() as new_figure:
        figure, axes = _unit_square(new_figure)
        _draw_reliability(axes, curve)
        svg = svg_of(figure, "reliability")
    inner = [
        (labels, observed - predicted)
        for predicted, observed, labels in zip(
            curve.predicted, curve.observed, curve.labels, strict=True
        )
        if 0.1 <= predicted <= 0.9
    ]
    gap = sum(labels * off for labels, off in inner) / max(1, sum(labels for labels, _ in inner))
    tendency = "too low" if gap > 0.05 else "too high" if gap < -0.05 else "about right"
    return Figure(
        "reliability",
        svg,
        f"Brier score {number(calibration.brier, 5)}, of the prevalence alone "
        f"{number(calibration.brier_of_prevalence, 5)}; probabilities between 0.1 and 0.9 are "
        f"{tendency}.",
        "Fraction of labels that are 1 against predicted probability, in bins of equal width; on "
        f"the dashed line a probability is the fraction that it predicts. {_VERTICAL}",
        _reliability_table("Reliability", curve),
    )


def _top_reliability(evaluation: Evaluation) -> Figure:
    curve = evaluation.calibration.top
    what = "bases" if evaluation.regions is not None else "sequences"
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 4.2))
        axes = figure.add_subplot()
        most = 1.05 * max(*curve.predicted, *(high for _, high in curve.intervals), 1e-3)
        axes.set(xlim=(0, most), ylim=(0, most))
        _draw_reliability(axes, curve)
        svg = svg_of(figure, "top-reliability")
    within = sum(
        low <= predicted <= high
        for predicted, (low, high) in zip(curve.predicted, curve.intervals, strict=True)
    )
    return Figure(
        "top-reliability",
        svg,
        f"In {within} of {count_noun(len(curve.predicted), 'bin')} of the {TOP:.0%} of the {what} "
        "with the highest probabilities, the fraction with a label is the predicted one, within "
        "its interval.",
        f"The {what} that a scan calls, in bins of equal weight at the prevalence of the scored "
        f"contigs or sequences. {_VERTICAL}",
        _reliability_table(f"Reliability of the highest {TOP:.0%}", curve),
    )


_VERTICAL = "Vertical lines: 95 % intervals, from draws of blocks of neighbours."


def _draw_reliability(axes: Any, curve: Reliability) -> None:
    """Draw a reliability curve within the limits of the axes."""
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1.2)
    axes.plot(curve.predicted, curve.observed, "o-", color=BLUE, markersize=6)
    for predicted, edges in zip(curve.predicted, curve.intervals, strict=True):
        axes.plot([predicted, predicted], edges, color=BLUE, linewidth=1.2)
    axes.set(xlabel="predicted probability", ylabel="fraction labelled")


def _reliability_table(title: str, curve: Reliability) -> Table:
    columns = (curve.predicted, curve.observed, curve.intervals, curve.labels)
    rows = [
        [number(predicted), number(observed), between(*edges), f"{labels:,}"]
        for predicted, observed, edges, labels in zip(*columns, strict=True)
    ]
    return Table(title, ["predicted", "observed", "95 % interval", "labels"], rows)


def _metrics(evaluation: Evaluation) -> Table:
    rows = []
    for name, title in METRIC_TITLES.items():
        if (value := getattr(evaluation.metrics, name, None)) is not None:
            interval = evaluation.intervals.get(name)
            rows.append([title, number(value), "" if interval is None else between(*interval)])
    if evaluation.tiles is not None:
        for name, value in evaluation.tiles.metrics._asdict().items():
            if f"tile_{name}" in METRIC_TITLES:
                interval = evaluation.tiles.intervals.get(name)
                shown = "" if interval is None else between(*interval)
                rows.append([METRIC_TITLES[f"tile_{name}"], number(value), shown])
    if evaluation.regions is not None:
        rows.append(["regions found", number(evaluation.regions.recall), ""])
        rows.append(
            ["called regions that touch a labelled one", number(evaluation.regions.precision), ""]
        )
        rows.append(["false calls per Mb", number(evaluation.regions.false_per_mb, 1), ""])
    rows += [
        ["threshold", number(evaluation.metrics.threshold), ""],
        ["loss", number(evaluation.metrics.loss, 4), ""],
    ]
    return Table(
        f"All metrics; intervals are from {evaluation.replicates:,} draws of {evaluation.blocks} "
        "blocks",
        ["metric", "value", "95 % interval"],
        rows,
    )


def _tracts(evaluation: Evaluation) -> Table:
    return Table(
        "Labelled against unlabelled tracts, as called by an untrained predictor",
        ["predictor, score of at least", "tracts", "labelled", "ROC-AUC", "AP"],
        [
            [
                f"{row.predictor}, {row.threshold:g}",
                f"{row.tracts:,.0f}",
                f"{row.labelled:,}",
                f"{number(row.roc_auc)} ({between(*row.intervals['roc_auc'])})",
                f"{number(row.average_precision)} ({between(*row.intervals['average_precision'])})",
            ]
            for row in evaluation.tracts
        ],
    )


def _errors(errors: Errors) -> Table:
    tracts = "" if errors.predictor is None else f"; tracts are those of {errors.predictor} from "
    tracts += "" if errors.threshold is None else f"{errors.threshold:g}"
    kinds = [("called, no label", kind) for kind in errors.false]
    kinds += [("region not wholly called", kind) for kind in errors.missed]
    return Table(
        f"Errors by kind; an edge is within {errors.margin} bases of a region{tracts}",
        ["error", "kind", "runs", "per Mb", "bases", "share of such bases"],
        [
            [
                error,
                kind.kind,
                f"{kind.runs:,.0f}",
                number(kind.per_mb, 1),
                f"{kind.bases:,.0f}",
                f"{kind.share:.0%}",
            ]
            for error, kind in kinds
        ],
    )


def _enrichment(evaluation: Evaluation) -> Table:
    return Table(
        "Enrichment of calls in the regions: share of their bases that is called, over that of all "
        f"bases; {SHIFTS} shifts of the regions along their contigs",
        ["called from", "bases called", "of the regions", "fold", "shifted regions", "p"],
        [
            [
                number(row.threshold, 4),
                f"{row.called:.3%}",
                f"{row.inside:.2%}",
                f"{number(row.fold, 2)} ({between(*row.interval)})",
                between(*row.shifted),
                number(row.p_value),
            ]
            for row in evaluation.enrichment
        ],
    )


def _contigs(evaluation: Evaluation) -> Table:
    return Table(
        "By contig, at the prevalence of each",
        ["contig", "AP", "precision", "recall", "regions found", "false calls per Mb"],
        [
            [
                row.contig,
                number(row.metrics.average_precision),
                number(row.metrics.precision),
                number(row.metrics.recall),
                f"{row.regions.found:,} of {row.regions.regions:,}",
                number(row.regions.false_per_mb, 1),
            ]
            for row in evaluation.by_contig
        ],
    )


def learning_section(contents: TrainContents | TuneContents) -> Section | None:
    """Show losses and metrics by epoch, and for a search the scores of all its trials.

    Args:
        contents: What the run's folder holds.

    Returns:
        The section, or None where no epoch was kept.
    """
    blocks: list[Block] = []
    history, metric = contents.history, contents.metric
    if history:
        run = (
            f" of trial {contents.summary.best_trial}" if isinstance(contents, TuneContents) else ""
        )
        best = max(range(len(history)), key=lambda epoch: history[epoch][metric])
        blocks += [_losses(history, best, run), _scores(history, best, run, metric)]
    if isinstance(contents, TuneContents) and contents.study is not None:
        trials = [trial for trial in contents.study.trials if trial.intermediate_values]
        if trials:
            blocks.append(_trial_scores(trials, METRIC_TITLES[metric]))
    return Section("learning", "Learning curves", blocks) if blocks else None


def _epoch_curves(
    name: str,
    history: list[dict[str, float]],
    best: int,
    curves: list[tuple[str, str, str, str]],
    label: str,
    low: float | None = None,
) -> str:
    """Draw values by epoch; a curve is a key of the history, its label, colour and line style."""
    epochs = range(1, len(history) + 1)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.2))
        axes = figure.add_subplot()
        for key, title, colour, line in curves:
            values = [epoch[key] for epoch in history]
            axes.plot(epochs, values, line, color=colour, markersize=4.5, label=title)
        axes.axvline(best + 1, color=MUTED, linestyle="--", linewidth=1.2)
        axes.set(xlabel="epoch", ylabel=label)
        if low is not None:
            axes.set_ylim(low, None)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        return svg_of(figure, name)


def _losses(history: list[dict[str, float]], best: int, run: str) -> Figure:
    curves = [
        ("train_loss", "training", BLUE, "o-"),
        ("loss", "validation", ORANGE, "s-"),
    ]
    first, last = history[0]["loss"], history[best]["loss"]
    return Figure(
        "losses",
        _epoch_curves("losses", history, best, curves, "loss", 0),
        f"The loss on validation changes from {number(first, 4)} after one epoch to "
        f"{number(last, 4)} at the best, epoch {best + 1} of {len(history)}.",
        f"Weighted cross-entropy after each epoch{run}. The dashed line is the epoch that was "
        "kept.",
        Table(
            "Loss by epoch",
            ["epoch", "training", "validation"],
            [
                [str(epoch), number(row["train_loss"], 4), number(row["loss"], 4)]
                for epoch, row in enumerate(history, start=1)
            ],
        ),
    )


def _scores(history: list[dict[str, float]], best: int, run: str, metric: str) -> Figure:
    names = tuple(dict.fromkeys((metric, "f1", "average_precision", "mcc")))[:3]
    curves = [
        (name, METRIC_TITLES[name], colour, line)
        for name, colour, line in zip(names, (BLUE, GREEN, ORANGE), ("o-", "s-", "^-"), strict=True)
    ]
    return Figure(
        "scores",
        _epoch_curves("scores", history, best, curves, "on the validation data"),
        f"{METRIC_TITLES[metric]} on validation is highest after epoch {best + 1}, "
        f"{number(history[best][metric])}.",
        f"Metrics after each epoch{run}, at that epoch's best threshold.",
        Table(
            "Metrics by epoch",
            ["epoch", *(METRIC_TITLES[name] for name in names)],
            [
                [str(epoch), *(number(row[name]) for name in names)]
                for epoch, row in enumerate(history, start=1)
            ],
        ),
    )


def _trial_scores(trials: list[optuna.trial.FrozenTrial], title: str) -> Figure:
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.2))
        axes = figure.add_subplot()
        labelled = set()
        for trial in trials:
            state = STATES[trial.state]
            values = sorted(trial.intermediate_values.items())
            axes.plot(
                *zip(*values, strict=True),
                "o-",
                color=_STATE_COLOURS[state],
                linewidth=1.2,
                markersize=3,
                label=None if state in labelled else state,
            )
            labelled.add(state)
        axes.set(xlabel="epoch", ylabel=f"{title} on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        svg = svg_of(figure, "all-trials")
    stopped = sum(STATES[trial.state] == "stopped early" for trial in trials)
    rows = [
        [
            str(trial.number),
            STATES[trial.state],
            str(max(trial.intermediate_values)),
            number(trial.intermediate_values[max(trial.intermediate_values)]),
        ]
        for trial in trials
    ]
    return Figure(
        "all-trials",
        svg,
        f"{stopped} of {len(trials)} trials were stopped early, which left time for the others.",
        f"{title} on the validation data after each epoch, one line per trial.",
        Table("Last score of each trial", ["trial", "state", "epochs", title], rows),
    )
