"""The answer first: how good the best model is, beside baselines and what was published."""

from __future__ import annotations

from typing import NamedTuple

from hyena_ray.attribution.methods import METHODS
from hyena_ray.outcomes import SIMULATED
from hyena_ray.report.blocks import (
    Block,
    Figure,
    Headline,
    Section,
    Table,
    between,
    counted,
    in_a_sentence,
    number,
)
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import BLUE, GOLD, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.predicted import predicted_answer
from hyena_ray.report.prepared import prepared_answer
from hyena_ray.report.pretrained import pretrained_answer
from hyena_ray.report.published import PUBLISHED
from hyena_ray.tuning.comparison import METRICS

TOP = 5
"""k-mers and presets that a sentence names."""
OURS, COMPARED, STUDY, OTHERS = "this model", "compared on test", "the study", "published"
_COLOURS = {OURS: BLUE, COMPARED: MUTED, STUDY: ORANGE, OTHERS: GOLD}
_MARKERS = {OURS: "o", COMPARED: "s", STUDY: "D", OTHERS: "^"}


class Score(NamedTuple):
    """One row of the figure."""

    name: str
    whose: str
    """One of the kinds above."""
    value: float
    low: float | None = None
    high: float | None = None


def warnings(contents: Contents) -> list[str]:
    """What a reader must know first: simulated data, and what the check for leaks found."""
    found = [f"{SIMULATED[0].upper()}{SIMULATED[1:]}."] if contents.simulated else []
    if contents.origin is None:
        return found
    manifest = contents.origin.manifest
    if not manifest.contigs:
        for rows in manifest.sequences:
            if rows.dropped:
                found.append(
                    f"{rows.dropped:,} of {rows.rows:,} sequences of {rows.split} also stood in "
                    "the file of a later split. They were left out, so none is both trained on and "
                    "tested; sequences that are alike but not equal are not looked for."
                )
    elif not manifest.split.startswith("contig"):
        found.append(
            f"The windows were split by {manifest.split}, not by contig, so neighbours of training "
            "windows are tested. This flatters every figure here."
        )
    if conflicting := sum(rows.conflicting for rows in manifest.sequences):
        stand = "stands" if conflicting == 1 else "stand"
        found.append(f"{counted(conflicting, 'sequence')} {stand} with both labels in one file.")
    return found


def answer(contents: Contents) -> Section | None:
    """The score with its interval, or what else the folder is about."""
    blocks: list[Block] = []
    if contents.evaluation is not None:
        blocks += _scored(contents)
    elif contents.record is not None:
        blocks.append(_validated(contents))
    elif contents.comparison is not None:
        blocks += _compared(contents)
    elif contents.pretrained is not None:
        blocks += pretrained_answer(contents.pretrained)
    elif contents.predicted is not None:
        blocks += predicted_answer(contents.predicted)
    elif contents.prepared is not None:
        blocks += prepared_answer(contents.prepared)
    blocks += _kmers(contents)
    blocks += _believed(contents)
    return Section("answer", "The answer", blocks) if blocks else None


def _scored(contents: Contents) -> list[Block]:
    found, task = contents.evaluation, contents.task
    assert found is not None
    assert task is not None
    metric = task.metric
    low, high = found.intervals[metric]
    value = getattr(found.metrics, metric)
    where = "the test windows" if found.split == "test" else f"the windows of {found.split}"
    nothing = ", which chose nothing" if found.split == "test" else ""
    lines: list[Block] = [
        Headline(
            f"{METRICS[metric]} {number(value)}",
            f"95 % interval {between(low, high)}, on {where}{nothing}.",
        )
    ]
    regions = ""
    if found.regions is not None:
        regions = (
            f" Of {found.regions.regions:,} labelled regions {found.regions.found:,} are found, "
            f"and {found.regions.false:,} of {found.regions.called:,} called runs touch none."
        )
    what = "bases" if task.kind == "base" else "sequences"
    lines.append(
        f"It recognises {task.title} with precision {number(found.metrics.precision)} and recall "
        f"{number(found.metrics.recall)}, over {found.labels:,} {what} of {found.windows:,} "
        f"windows.{regions}"
    )
    if _scores(contents, metric):
        lines.append(_beside(contents, Score("this model", OURS, value, low, high)))
    if (
        contents.compared_data is not None
        and contents.origin is not None
        and contents.compared_data != contents.origin.manifest_sha256
    ):
        lines.append(
            "The comparison was made on data that were prepared otherwise than this run's."
        )
    return lines


def _scores(contents: Contents, metric: str) -> list[Score]:
    """What stands beside a model, best first."""
    scores = []
    if contents.comparison is not None:
        for row in contents.comparison.to_pylist():
            mean, spread = row.get(metric), row.get(f"{metric}_sd")
            if mean is not None:
                edges = (None, None) if spread is None else (mean - spread, mean + spread)
                scores.append(Score(row["preset"], COMPARED, mean, *edges))
    task = contents.task
    # Simulated DNA has nothing to do with what others found on real DNA.
    real = task is not None and not contents.simulated
    published = PUBLISHED.get(task.name) if task is not None and real else None
    if published is not None and task is not None:
        scores.append(Score("the study", STUDY, published.metrics[metric]))
        if metric == task.metric:
            scores += [Score(name, OTHERS, value) for name, value in published.others.items()]
    return scores


def _beside(contents: Contents, ours: Score | None) -> Figure:
    task = contents.task
    assert task is not None
    scores = _scores(contents, task.metric) + ([] if ours is None else [ours])
    scores.sort(key=lambda score: score.value)
    title = METRICS[task.metric]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 0.7 + 0.27 * len(scores)))
        axes = figure.add_subplot()
        for place, score in enumerate(scores):
            colour = _COLOURS[score.whose]
            if score.low is not None:
                axes.plot([score.low, score.high], [place, place], color=colour, linewidth=2.5)
            axes.plot(score.value, place, _MARKERS[score.whose], color=colour, markersize=6.5)
            axes.annotate(
                f"{score.value:.3f}",
                (score.high or score.value, place),
                (7, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(scores)), [score.name for score in scores])
        # Room for the number behind the best.
        axes.set_xlim(0, max(score.high or score.value for score in scores) * 1.14)
        axes.set_xlabel(title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        svg = svg_of(figure, "beside")
    rows = [
        [
            score.name,
            score.whose,
            number(score.value),
            "" if score.low is None or score.high is None else between(score.low, score.high),
        ]
        for score in reversed(scores)
    ]
    return Figure(
        "beside",
        svg,
        _ranked(title, scores, ours),
        "Circle and line: this model and its 95 % interval, from draws of blocks of windows. "
        "Squares: presets on the test windows, with one standard deviation over runs. Diamond and "
        "triangles: published figures, of their own data, splits and weights.",
        Table(f"{title} of this model and others", ["name", "whose", title, "interval"], rows),
    )


def _ranked(title: str, scores: list[Score], ours: Score | None) -> str:
    """The figure in a sentence."""
    if ours is None:
        best = max(scores, key=lambda score: score.value)
        return f"The highest {title} is {number(best.value)}, of {best.name}."
    said = []
    study = next((score for score in scores if score.whose == STUDY), None)
    if study is not None:
        than = "above" if ours.value > study.value else "not above"
        said.append(f"{than} the study's {number(study.value)}")
    compared = [score for score in scores if score.whose == COMPARED]
    if compared:
        beaten = sum(score.value < ours.value for score in compared)
        said.append(f"above {beaten} of {counted(len(compared), 'preset')} compared")
    return f"{title} {number(ours.value)}{': ' if said else ''}{in_a_sentence(said)}."


def _validated(contents: Contents) -> Headline:
    record, task = contents.record, contents.task
    assert record is not None
    assert task is not None
    return Headline(
        f"{METRICS[task.metric]} {number(record.validation[task.metric])}",
        "on the validation windows, which chose epoch and threshold. The test windows were not "
        "scored: train with --test, or run jobs/evaluate.py.",
    )


def _compared(contents: Contents) -> list[Block]:
    comparison, task = contents.comparison, contents.task
    assert comparison is not None
    metric = "f1" if task is None else task.metric
    rows = [row for row in comparison.to_pylist() if row[metric] is not None]
    if not rows:
        return ["Every run of the comparison diverged."]
    best = max(rows, key=lambda row: row[metric])
    spread = best[f"{metric}_sd"]
    lines: list[Block] = [
        Headline(
            f"{METRICS[metric]} {number(best[metric])}",
            ("" if spread is None else f"± {number(spread)} over runs, ")
            + f"on the test windows: {best['preset']}, the best of "
            f"{counted(len(rows), 'preset')} ({best['about']}).",
        )
    ]
    return lines if task is None else [*lines, _beside(contents, None)]


def _kmers(contents: Contents) -> list[Block]:
    if contents.kmers is None:
        return []
    tables = contents.kmers
    table = tables.consensus or next(iter(tables.methods.values()), tables.tp)
    if table is None:
        return []
    whose = "all methods together" if tables.consensus is not None else "its table"
    return [
        f"The {tables.plan.settings.k}-mers that it relies on most are "
        f"{in_a_sentence(table['kmer'][:TOP].to_pylist())}, by {whose}."
    ]


def _believed(contents: Contents) -> list[Block]:
    if contents.sanity is None:
        return []
    check = contents.sanity.checks[0]
    kept, chance = check.curves.deletion_area, check.by_chance.deletion_area
    good = kept < chance and check.curves.insertion_area > check.by_chance.insertion_area
    return [
        f"Its attribution scores {'point' if good else 'do not point'} at the bases that carry the "
        f"prediction: taken out in the order of the scores of {METHODS[check.method].title}, they "
        f"leave an area of {number(kept)}, in random order {number(chance)}; lower is better."
    ]
