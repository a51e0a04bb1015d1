"""The answer first: how good the model is, next to presets and to published figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from hyena_ray.attribution.methods import METHODS
from hyena_ray.prediction.embedding_shards import EmbedRecord
from hyena_ray.progress import count_noun, shortened_list
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
from hyena_ray.report._plots import BLUE, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report._variant_sections import variants_headline
from hyena_ray.report.run_contents import (
    ComparisonResults,
    EmbedContents,
    EvaluateContents,
    PredictContents,
    PrepareContents,
    PretrainContents,
    RunContents,
    ScoredContents,
    TrainContents,
    TuneContents,
    VariantContents,
)
from hyena_ray.tasks import Task
from hyena_ray.training.evaluation import Evaluation, TileScores
from hyena_ray.training.genome_evaluation import REGIONS
from hyena_ray.workflows.comparison_table import METRIC_TITLES
from hyena_ray.workflows.presets import load_preset

FEW_WINDOWS = 100
"""Windows with a true positive, below which an order of k-mers is doubted."""
TOP = 5
"""K-mers that a sentence names."""
MODEL, PRESET, ORIGINAL, OTHER = "this model", "compared on test", "the original work", "published"
PUBLISHED_SOURCES = (ORIGINAL, OTHER)
"""Sources whose figures are of other data: they are drawn apart and grey."""
_COLOURS = {MODEL: BLUE, PRESET: ORANGE, ORIGINAL: MUTED, OTHER: MUTED}
_MARKERS = {MODEL: "o", PRESET: "s", ORIGINAL: "D", OTHER: "^"}
_GAP = 0.6
"""Space between figures of the same data and published ones, in rows."""


class Published(NamedTuple):
    """Published figures of one task, on data, splits and weights of their own."""

    preset: str
    """Preset that repeats the best run of the original work, and records its figures."""
    metric: str
    """Metric of the figures, as in a preset; that of bases is of tiles."""
    others: Mapping[str, float] = {}
    """The metric in other publications."""
    test_sha256: str | None = None
    """sha256 of the file of test sequences on which the original work tested, as published; None
    where its split and negatives are not at hand."""


PUBLISHED = {
    "zdna": Published(
        "zdna/two_stage",
        "f1",
        {"DeepZ": 0.40, "GraphZ": 0.124, "Z-DNABERT (512 bp windows)": 0.83},
    ),
    "g4": Published("g4/single_stage", "f1"),
    "promoter": Published(
        "promoter/exp1",
        "mcc",
        {"DNABERT-3mer": 0.709, "NT-2.5B-multi": 0.703, "DNABERT-2": 0.694, "NT-500M-human": 0.635},
        "b1babbb52abd0fb5328eccc4ce8ab60d0a58d28bdc88c30f8e2140cf1684ce0c",
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
    cited = any(ORIGINAL in str(block) for block in blocks)
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
        case VariantContents():
            return variants_headline(contents.record)
        case EmbedContents():
            return [_embedded(contents.record)]
    return [] if contents.comparison is None else _compared(contents, contents.comparison)


def _embedded(record: EmbedRecord) -> Headline:
    each = "one for each of their bases" if record.per == "base" else "each the mean of its bases"
    return Headline(
        f"{record.rows:,} embeddings",
        f"of {record.channels:,} numbers, from {count_noun(record.sequences, 'sequence')} with "
        f"{record.bases:,} bases, {each}.",
    )


def _scored(contents: ScoredContents) -> list[Block]:
    evaluation, task = contents.evaluation, contents.task
    assert evaluation is not None
    metric = task.metric
    low, high = evaluation.intervals[metric]
    unseen = evaluation.split in ("test", REGIONS) and not evaluation.seen
    unused = ", which chose nothing" if unseen else ""
    kind = "stretches" if task.kind == "base" else "sequences"
    of = f"{evaluation.split} " if evaluation.split != REGIONS else ""
    where = f"{evaluation.rows:,} {of}{kind}{unused}"
    if evaluation.regions is not None:
        contigs = shortened_list(evaluation.contigs)
        where += (
            f". An estimate for {contigs}, where {evaluation.prevalence:.3%} of the bases have a "
            "label"
        )
    where += f". Labels: {evaluation.label_source}"
    blocks: list[Block] = [
        Headline(
            f"{METRIC_TITLES[metric]} {number(getattr(evaluation.metrics, metric))}",
            f"95 % interval {between(low, high)}, on {where}.",
        ),
        _at_the_threshold(evaluation, task),
        *(f"Warning: {warning}." for warning in evaluation.warnings()),
    ]
    presets = _preset_scores(contents, metric)
    if presets:
        value = getattr(evaluation.metrics, metric)
        model = Score("this model", MODEL, value, low, high)
        blocks.append(_ranking_figure(METRIC_TITLES[metric], [*presets, model]))
    blocks += _next_to_published(contents, evaluation, task)
    if (
        contents.comparison is not None
        and contents.comparison.data_sha256 is not None
        and contents.origin is not None
        and contents.comparison.data_sha256 != contents.origin.manifest_sha256
    ):
        blocks.append("The presets were compared on other prepared data than those of this run.")
    return blocks


def _at_the_threshold(evaluation: Evaluation, task: Task) -> str:
    precision, recall = (
        f"{name} {number(getattr(evaluation.metrics, name))} "
        f"({between(*evaluation.intervals[name])})"
        for name in ("precision", "recall")
    )
    unit = "bases" if task.kind == "base" else "sequences"
    text = f"It recognises {unit} of {task.title} with {precision} and {recall}."
    if evaluation.regions is not None:
        regions = evaluation.regions
        text += (
            f" Of {regions.regions:,} labelled regions {regions.found:,} are found, and "
            f"{number(regions.false_per_mb, 1)} called regions per million bases are outside them."
        )
    return text


def _next_to_published(contents: ScoredContents, evaluation: Evaluation, task: Task) -> list[Block]:
    """Show the figure that publications state, of our model and of theirs."""
    tiles, published = evaluation.tiles, PUBLISHED.get(task.name)
    if tiles is None and evaluation.regions is not None:
        return []  # what is published of bases is of tiles
    metric = task.threshold_metric if published is None else published.metric
    metrics, intervals, sample = evaluation.metrics, evaluation.intervals, ""
    if tiles is not None:
        metrics, intervals, sample = tiles.metrics, tiles.intervals, f", {_ratio(tiles)}"
    value, (low, high) = getattr(metrics, metric), intervals[metric]
    title = METRIC_TITLES[f"tile_{metric}" if tiles is not None else metric]
    blocks: list[Block] = []
    if tiles is not None:
        blocks.append(f"{METRIC_TITLES[metric]} is {number(value)} ({between(low, high)}){sample}.")
    # Figures of real DNA say nothing about simulated DNA.
    if published is None or contents.simulated:
        return blocks
    model = Score("this model", MODEL, value, low, high)
    of_presets = _preset_scores(contents, f"tile_{metric}" if tiles is not None else metric)
    original = getattr(load_preset(published.preset).original, metric)
    theirs = [
        Score(ORIGINAL, ORIGINAL, original),
        *(Score(name, OTHER, figure) for name, figure in published.others.items()),
    ]
    sentence = "Published figures are of other data, and say little about the difference."
    if _same_test(contents, published):
        relation = "above" if value > original else "not above"
        sentence = (
            f"{title} {number(value)}: {relation} the {number(original)} of {ORIGINAL}, on the "
            "same test sequences."
        )
    blocks.append(_ranking_figure(title, [*of_presets, model, *theirs], "published", sentence))
    return blocks


def _ratio(tiles: TileScores) -> str:
    return (
        f"on tiles of {tiles.length} bases with a label and {tiles.negatives:g} times as many "
        "without, as the original work tested"
    )


def _same_test(contents: RunContents, published: Published) -> bool:
    """Tell whether a model was scored on the test data of the original work."""
    if contents.origin is None or published.test_sha256 is None:
        return False
    inputs = contents.origin.manifest.inputs
    return published.test_sha256 in {file.sha256 for file in inputs if file.role == "test"}


def _validated(contents: TrainContents) -> Headline:
    metric = contents.metric
    return Headline(
        f"{METRIC_TITLES[metric]} {number(contents.record.validation[metric])}",
        "on the validation data, which chose epoch and threshold. The test data were not "
        "scored: train with --test, or run hyena-ray evaluate."
        + ("" if contents.origin is None else f" Labels: {contents.origin.manifest.label_source}."),
    )


def _compared(contents: RunContents, comparison: ComparisonResults) -> list[Block]:
    task = contents.task
    metric = "average_precision" if task is None else task.metric
    rows = [row for row in comparison.table.to_pylist() if row[metric] is not None]
    if not rows:
        return ["Every run of the comparison diverged."]
    best = max(rows, key=lambda row: row[metric])
    spread = best[f"{metric}_sd"]
    headline = Headline(
        f"{METRIC_TITLES[metric]} {number(best[metric])}",
        ("" if spread is None else f"± {number(spread)} over runs, ")
        + f"on the test data: {best['preset']}, the best of "
        f"{count_noun(len(rows), 'preset')} ({best['about']}).",
    )
    return [headline, _ranking_figure(METRIC_TITLES[metric], _preset_scores(contents, metric))]


def _preset_scores(contents: RunContents, metric: str) -> list[Score]:
    """Return the scores of presets on the test data."""
    scores = []
    if contents.comparison is not None:
        for row in contents.comparison.table.to_pylist():
            mean, spread = row.get(metric), row.get(f"{metric}_sd")
            if mean is not None:
                edges = (None, None) if spread is None else (mean - spread, mean + spread)
                scores.append(Score(row["preset"], PRESET, mean, *edges))
    return scores


def _ranking_figure(
    title: str, scores: list[Score], name: str = "ranking", sentence: str = ""
) -> Figure:
    """Draw scores, the best on top; published ones below them, apart and grey."""
    theirs = sorted(
        (score for score in scores if score.source in PUBLISHED_SOURCES),
        key=lambda score: score.value,
    )
    ours = sorted(
        (score for score in scores if score.source not in PUBLISHED_SOURCES),
        key=lambda score: score.value,
    )
    ranked = [*theirs, *ours]
    gap = _GAP if theirs else 0.0
    levels = [level + (gap if level >= len(theirs) else 0.0) for level in range(len(ranked))]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.7 + 0.27 * (len(ranked) + gap)))
        axes = figure.add_subplot()
        for level, score in zip(levels, ranked, strict=True):
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
        axes.set_yticks(levels, [score.name for score in ranked])
        # Leaves space for the number to the right of the best mark.
        axes.set_xlim(0, max(score.high or score.value for score in ranked) * 1.14)
        axes.set_xlabel(title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        svg = svg_of(figure, name)
    rows = [
        [
            score.name,
            score.source,
            number(score.value),
            "" if score.low is None or score.high is None else between(score.low, score.high),
        ]
        for score in reversed(ranked)
    ]
    apart = " Grey, apart: published figures, on data, splits and weights of their own."
    return Figure(
        name,
        svg,
        sentence or _ranking_sentence(title, ours),
        "Circle and line: this model and its 95 % interval, from draws of blocks of neighbours. "
        "Squares: presets on the test data, with one standard deviation over runs."
        + (apart if theirs else ""),
        Table(f"{title} of this model and others", ["name", "source", title, "interval"], rows),
    )


def _ranking_sentence(title: str, scores: list[Score]) -> str:
    model = next((score for score in scores if score.source == MODEL), None)
    if model is None:
        return f"The highest {title} is {number(scores[-1].value)}, of {scores[-1].name}."
    presets = [score for score in scores if score.source == PRESET]
    beaten = sum(score.value < model.value for score in presets)
    compared = count_noun(len(presets), "preset")
    return f"{title} {number(model.value)}: above {beaten} of {compared} compared."


def _top_kmers(contents: RunContents) -> list[Block]:
    attribution = contents.attribution
    ranking = None if attribution is None else attribution.ranking
    if attribution is None or ranking is None or not ranking.num_rows:
        return []
    first = ranking["kmer"][:TOP].to_pylist()
    judge, agreement = "its table", ""
    if attribution.consensus is not None:
        judge = f"{method_titles(attribution)} together"
    if attribution.agreement is not None and attribution.agreement.num_rows:
        least = min(attribution.agreement["kendall_tau"].to_pylist())
        several = attribution.agreement.num_rows > 1
        agreement = f" (Kendall's tau {'at least ' if several else ''}{number(least, 2)})"
    blocks: list[Block] = [
        f"The {attribution.plan.settings.k}-mers that it relies on most are "
        f"{in_a_sentence(first)}, by {judge}{agreement}, in "
        f"{count_noun(attribution.attributed, 'window')} with a true positive."
        + "".join(_support(name, table, first) for name, table in attribution.methods.items())
    ]
    doubts = [note.removeprefix("Warning: ") for note in disagreement_notes(attribution)]
    if attribution.attributed < FEW_WINDOWS:
        doubts.append(
            f"Only {count_noun(attribution.attributed, 'window')} with a true positive: attribute "
            f"{FEW_WINDOWS} or more to rank k-mers."
        )
    if doubts:
        blocks.append(f"Warning: this order may be chance. {' '.join(doubts)}")
    return blocks


def _support(name: str, table: pa.Table, first: Sequence[str]) -> str:
    """Say how often the first k-mers occur, and how many k-mers are above chance."""
    if not table.num_rows:
        return ""
    rows = {row["kmer"]: row for row in table.to_pylist()}
    counts = [rows[kmer]["count"] for kmer in first if kmer in rows]
    significant = sum(row["q_value"] < 0.05 for row in rows.values())
    return (
        f" By {METHODS[name].title}, {significant} of {count_noun(len(rows), 'k-mer')} have more "
        "than by chance at q < 0.05"
        + (f"; the first ones occur {sum(counts):,} times." if counts else ".")
    )


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
