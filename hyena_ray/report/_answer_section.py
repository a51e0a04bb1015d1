"""The answer first: how good the model is, next to presets and to published figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hyena_ray.attribution.methods import METHODS
from hyena_ray.progress import count_noun
from hyena_ray.report._genome_sections import (
    perplexity_headline,
    prepared_headline,
    regions_headline,
)
from hyena_ray.report._kmer_sections import disagreement_notes, method_titles
from hyena_ray.report._page import (
    ORIGINAL_WORK,
    Block,
    Figure,
    Headline,
    Section,
    Table,
    between,
    in_a_sentence,
    number,
)
from hyena_ray.report._plots import BLUE, GOLD, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.run_contents import (
    ComparisonResults,
    EvaluateContents,
    PredictContents,
    PrepareContents,
    PretrainContents,
    RunContents,
    ScoredContents,
    TrainContents,
    TuneContents,
)
from hyena_ray.tasks import Task
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.workflows.comparison_table import METRIC_TITLES
from hyena_ray.workflows.presets import load_preset

TOP = 5
"""K-mers that a sentence names."""
MODEL, PRESET, ORIGINAL, OTHER = "this model", "compared on test", "the original work", "published"
_COLOURS = {MODEL: BLUE, PRESET: MUTED, ORIGINAL: ORANGE, OTHER: GOLD}
_MARKERS = {MODEL: "o", PRESET: "s", ORIGINAL: "D", OTHER: "^"}


class Published(NamedTuple):
    """Published figures of one task, on data, splits and weights of their own."""

    preset: str
    """Preset that repeats the best run of the original work, and records its figures."""
    others: Mapping[str, float] = {}
    """The task's metric in other publications."""


PUBLISHED = {
    "zdna": Published(
        "zdna/two_stage",
        {"DeepZ": 0.40, "GraphZ": 0.124, "Z-DNABERT (512 bp windows)": 0.83},
    ),
    "g4": Published("g4/single_stage"),
    "promoter": Published(
        "promoter/exp1",
        {"DNABERT-3mer": 0.709, "NT-2.5B-multi": 0.703, "DNABERT-2": 0.694, "NT-500M-human": 0.635},
    ),
}
"""Task to its published figures."""


class Score(NamedTuple):
    """One row of the figure that ranks the model."""

    name: str
    """Name of the row."""
    source: str
    """Where the score comes from: one of the four constants above."""
    value: float
    """The score."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end of its interval."""


def answer_section(contents: RunContents) -> Section | None:
    """State the main result of a run in a headline and a few sentences.

    Args:
        contents: What the run's folder holds.

    Returns:
        The section, or None where there is nothing to state.
    """
    blocks = [*_headline(contents), *_top_kmers(contents), *_faithfulness(contents)]
    if not blocks:
        return None
    tables = [block.table for block in blocks if isinstance(block, Figure)]
    cited = any(row[0] == ORIGINAL for table in tables if table is not None for row in table.rows)
    return Section("answer", "The answer", blocks, (ORIGINAL_WORK,) if cited else ())


def _headline(contents: RunContents) -> list[Block]:
    match contents:
        case EvaluateContents() | TuneContents() | TrainContents(evaluation=Evaluation()):
            return _scored(contents)
        case TrainContents():
            return [_validated(contents)]
        case PretrainContents():
            return perplexity_headline(contents.record)
        case PredictContents():
            return regions_headline(contents.record)
        case PrepareContents():
            return prepared_headline(contents.manifest)
    return [] if contents.comparison is None else _compared(contents, contents.comparison)


def _scored(contents: ScoredContents) -> list[Block]:
    evaluation, task = contents.evaluation, contents.task
    assert evaluation is not None
    metric = task.metric
    low, high = evaluation.intervals[metric]
    value = getattr(evaluation.metrics, metric)
    on_test = evaluation.split == "test"
    where = "the test windows" if on_test else f"the windows of {evaluation.split}"
    unused = ", which chose nothing" if on_test else ""
    blocks: list[Block] = [
        Headline(
            f"{METRIC_TITLES[metric]} {number(value)}",
            f"95 % interval {between(low, high)}, on {where}{unused}.",
        )
    ]
    regions = ""
    if evaluation.regions is not None:
        regions = (
            f" Of {evaluation.regions.regions:,} labelled regions {evaluation.regions.found:,} are "
            f"found, and {evaluation.regions.false:,} of {evaluation.regions.called:,} called runs "
            "touch none."
        )
    unit = "bases" if task.kind == "base" else "sequences"
    blocks.append(
        f"It recognises {task.title} with precision {number(evaluation.metrics.precision)} and "
        f"recall {number(evaluation.metrics.recall)}, over {evaluation.labels:,} {unit} of "
        f"{evaluation.windows:,} windows.{regions}"
    )
    if others := _other_scores(contents, task):
        model = Score("this model", MODEL, value, low, high)
        blocks.append(_ranking_figure(METRIC_TITLES[metric], others, model))
    if (
        contents.comparison is not None
        and contents.comparison.data_sha256 is not None
        and contents.origin is not None
        and contents.comparison.data_sha256 != contents.origin.manifest_sha256
    ):
        blocks.append("The presets were compared on other prepared data than those of this run.")
    return blocks


def _validated(contents: TrainContents) -> Headline:
    metric = contents.task.metric
    return Headline(
        f"{METRIC_TITLES[metric]} {number(contents.record.validation[metric])}",
        "on the validation windows, which chose epoch and threshold. The test windows were not "
        "scored: train with --test, or run hyena-ray evaluate.",
    )


def _compared(contents: RunContents, comparison: ComparisonResults) -> list[Block]:
    task = contents.task
    metric = "f1" if task is None else task.metric
    rows = [row for row in comparison.table.to_pylist() if row[metric] is not None]
    if not rows:
        return ["Every run of the comparison diverged."]
    best = max(rows, key=lambda row: row[metric])
    spread = best[f"{metric}_sd"]
    headline = Headline(
        f"{METRIC_TITLES[metric]} {number(best[metric])}",
        ("" if spread is None else f"± {number(spread)} over runs, ")
        + f"on the test windows: {best['preset']}, the best of "
        f"{count_noun(len(rows), 'preset')} ({best['about']}).",
    )
    if task is None:
        return [headline]
    return [headline, _ranking_figure(METRIC_TITLES[metric], _other_scores(contents, task), None)]


def _other_scores(contents: RunContents, task: Task) -> list[Score]:
    """Return the scores that a model is compared with."""
    scores = []
    if contents.comparison is not None:
        for row in contents.comparison.table.to_pylist():
            mean, spread = row.get(task.metric), row.get(f"{task.metric}_sd")
            if mean is not None:
                edges = (None, None) if spread is None else (mean - spread, mean + spread)
                scores.append(Score(row["preset"], PRESET, mean, *edges))
    # Figures of real DNA say nothing about simulated DNA.
    if not contents.simulated and (published := PUBLISHED.get(task.name)) is not None:
        figure = getattr(load_preset(published.preset).original, task.metric)
        scores.append(Score(ORIGINAL, ORIGINAL, figure))
        scores += [Score(name, OTHER, value) for name, value in published.others.items()]
    return scores


def _ranking_figure(title: str, others: list[Score], model: Score | None) -> Figure:
    scores = sorted([*others, *([] if model is None else [model])], key=lambda score: score.value)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.7 + 0.27 * len(scores)))
        axes = figure.add_subplot()
        for level, score in enumerate(scores):
            colour = _COLOURS[score.source]
            if score.low is not None:
                axes.plot([score.low, score.high], [level, level], color=colour, linewidth=2.5)
            axes.plot(score.value, level, _MARKERS[score.source], color=colour, markersize=6.5)
            axes.annotate(
                f"{score.value:.3f}",
                (score.high or score.value, level),
                (7, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(scores)), [score.name for score in scores])
        # Leaves space for the number to the right of the best mark.
        axes.set_xlim(0, max(score.high or score.value for score in scores) * 1.14)
        axes.set_xlabel(title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        svg = svg_of(figure, "ranking")
    rows = [
        [
            score.name,
            score.source,
            number(score.value),
            "" if score.low is None or score.high is None else between(score.low, score.high),
        ]
        for score in reversed(scores)
    ]
    return Figure(
        "ranking",
        svg,
        _ranking_sentence(title, scores, model),
        "Circle and line: this model and its 95 % interval, from draws of blocks of windows. "
        "Squares: presets on the test windows, with one standard deviation over runs. Diamond and "
        "triangles: published figures, on data, splits and weights of their own.",
        Table(f"{title} of this model and others", ["name", "source", title, "interval"], rows),
    )


def _ranking_sentence(title: str, scores: list[Score], model: Score | None) -> str:
    if model is None:
        best = max(scores, key=lambda score: score.value)
        return f"The highest {title} is {number(best.value)}, of {best.name}."
    relations = []
    original = next((score for score in scores if score.source == ORIGINAL), None)
    if original is not None:
        relation = "above" if model.value > original.value else "not above"
        relations.append(f"{relation} the {number(original.value)} of {ORIGINAL}")
    presets = [score for score in scores if score.source == PRESET]
    if presets:
        beaten = sum(score.value < model.value for score in presets)
        relations.append(f"above {beaten} of {count_noun(len(presets), 'preset')} compared")
    colon = ": " if relations else ""
    return f"{title} {number(model.value)}{colon}{in_a_sentence(relations)}."


def _top_kmers(contents: RunContents) -> list[Block]:
    attribution = contents.attribution
    if attribution is None or attribution.ranking is None:
        return []
    kmers = in_a_sentence(attribution.ranking["kmer"][:TOP].to_pylist())
    judge = "its table"
    if attribution.consensus is not None:
        judge = f"{method_titles(attribution)} together"
    if disagreement_notes(attribution):
        judge += ", although they rank k-mers differently"
    return [
        f"The {attribution.plan.settings.k}-mers that it relies on most are {kmers}, by {judge}."
    ]


def _faithfulness(contents: RunContents) -> list[Block]:
    if contents.sanity is None:
        return []
    check = contents.sanity.checks[0]
    area, chance = check.curves.deletion_area, check.by_chance.deletion_area
    good = area < chance and check.curves.insertion_area > check.by_chance.insertion_area
    return [
        f"Its attribution scores {'point' if good else 'do not point'} at the bases that carry the "
        f"prediction: the area under the deletion curve is {number(area)} in the order of the "
        f"scores of {METHODS[check.method].title} and {number(chance)} in random order; lower is "
        "better."
    ]
