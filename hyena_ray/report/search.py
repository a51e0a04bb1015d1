"""The search: Optuna's own plots of the study, and the table of trials."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import TrialState

from hyena_ray.report.blocks import (
    Block,
    Figure,
    Section,
    Table,
    brief,
    in_a_sentence,
    number,
    short_names,
)
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import BLUE, GRID, INK, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.search.trial_fields import PROBLEM, SCORE, SECONDS
from hyena_ray.tuning.comparison import METRICS

SHOWN = 50
"""Trials in the table, the best first."""
LEAST = 3
"""Complete trials that importance can be told from."""
SEED = 0
"""Of the forest that importance is computed with."""


def search(contents: Contents) -> Section | None:
    """Of a folder of a tuning job."""
    study = contents.study
    if contents.trials is None or contents.summary is None:
        return None
    blocks: list[Block] = []
    if study is not None:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        varied = _varied(complete)
        if complete:
            blocks.append(_history(contents, study))
        if len(complete) > 1 and varied:
            blocks.append(_parallel(contents, study, varied))
        if len(complete) >= LEAST and len({trial.value for trial in complete}) > 1 and varied:
            blocks.append(_importance(study, varied))
        else:
            blocks.append(
                f"Which settings matter is not drawn: {len(complete)} of {len(study.trials)} "
                f"trials were trained to their end, and it takes {LEAST} that differ."
            )
    blocks.append(_trials(contents))
    return Section("search", "The search", blocks)


def _varied(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    """Settings that all trials have and that differ between them."""
    names = set.intersection(*(set(trial.params) for trial in trials)) if trials else set()
    return sorted(name for name in names if len({trial.params[name] for trial in trials}) > 1)


@contextmanager
def _drawn(draw: Callable[[], Any], height: float) -> Iterator[Any]:
    """Optuna's axes, in the style of this page; Optuna sets one of its own, and draws by pyplot."""
    with style(), warnings.catch_warnings():
        import matplotlib.pyplot as plt

        before = plt.get_backend()
        plt.switch_backend("agg")
        # That the plots may change, which a pinned Optuna does not; matplotlib's, of categories
        # that read like numbers.
        warnings.simplefilter("ignore")
        axes = draw()
        figure = axes.figure
        try:
            figure.set_size_inches(WIDTH, height)
            figure.set_layout_engine("constrained")
            figure.set_facecolor("none")
            for each in figure.axes:
                _restyled(each)
            yield axes
        finally:
            plt.close(figure)
            plt.switch_backend(before)


def _restyled(axes: Any) -> None:
    axes.set_facecolor("none")
    axes.set_title("")
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9.5)
    axes.yaxis.label.set(color=INK, size=9.5)
    axes.grid(color=GRID)
    for spine in axes.spines.values():
        spine.set_color(MUTED)


def _history(contents: Contents, study: optuna.Study) -> Figure:
    from optuna.visualization.matplotlib import plot_optimization_history

    assert contents.task is not None
    assert contents.summary is not None
    title = METRICS[contents.task.metric]
    name = f"{title} on validation"
    with _drawn(lambda: plot_optimization_history(study, target_name=name), 3.2) as axes:
        for points in axes.collections:
            points.set(color=BLUE, alpha=1)
        for line in axes.lines:
            line.set(color=ORANGE, alpha=1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="trial", ylabel=name)
        axes.legend(axes.get_legend_handles_labels()[0], ["trial", "best so far"])
        svg = svg_of(axes.figure, "history")
    best = study.trials[contents.summary.best_trial]
    return Figure(
        "history",
        svg,
        f"Of {len(study.trials)} trials number {best.number} is the best, with {title} "
        f"{number(best.value)} on validation.",
        "The complete trials in their order, and the best until then (Optuna's optimisation "
        "history).",
    )


def _parallel(contents: Contents, study: optuna.Study, varied: list[str]) -> Figure:
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    assert contents.task is not None
    assert contents.summary is not None
    title = METRICS[contents.task.metric]
    with _drawn(
        lambda: plot_parallel_coordinate(study, params=varied, target_name=title), 4.0
    ) as axes:
        for lines in axes.collections:
            # Dark blue to yellow, without the ends, which one of the two pages would swallow.
            lines.set_cmap(_middle_of("viridis"))
            lines.set(linewidth=3, clip_on=False)
        short = short_names(varied)
        axes.set_xticks(range(len(varied) + 1), [title, *(short[name] for name in varied)])
        axes.tick_params(axis="x", labelrotation=20)
        axes.set_xlabel("")
        svg = svg_of(axes.figure, "parallel")
    best = study.trials[contents.summary.best_trial]
    chosen = in_a_sentence(f"{name} {brief(best.params[name])}" for name in varied)
    return Figure(
        "parallel",
        svg,
        f"The best trial has {chosen}.",
        f"Each line is a complete trial: its {title} on validation on the left, then its settings; "
        "the lighter, the better (Optuna's parallel coordinates).",
    )


def _middle_of(name: str) -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap([matplotlib.colormaps[name](0.25 + 0.6 * at / 255) for at in range(256)])


def _importance(study: optuna.Study, varied: list[str]) -> Figure:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.visualization.matplotlib import plot_param_importances

    judge = FanovaImportanceEvaluator(seed=SEED)
    with _drawn(
        lambda: plot_param_importances(study, evaluator=judge, params=varied),
        1.1 + 0.4 * len(varied),
    ) as axes:
        for bar in axes.patches:
            bar.set_facecolor(BLUE)
        if axes.get_legend() is not None:
            axes.get_legend().remove()
        axes.set(xlabel="importance", ylabel="")
        svg = svg_of(axes.figure, "importance")
        shares = get_param_importances(study, evaluator=judge, params=varied)
    first = next(iter(shares))
    return Figure(
        "importance",
        svg,
        f"{first} mattered most: {shares[first]:.0%} of what settings explain.",
        "Share of the variance of the score that each setting explains (fANOVA, Optuna's parameter "
        "importances). Few trials tell it roughly.",
        Table(
            "Importance of settings",
            ["setting", "importance"],
            [[name, number(share)] for name, share in shares.items()],
        ),
    )


def _trials(contents: Contents) -> Table:
    assert contents.trials is not None
    assert contents.task is not None
    rows = contents.trials.to_pylist()
    rows.sort(key=lambda row: (row["state"] != "complete", -(row[SCORE] or 0.0)))
    names = list(contents.trials.column_names)
    fixed = ["trial", "state", SCORE, "epochs", SECONDS, PROBLEM]
    settings = [name for name in names if name not in fixed and "." in name]
    problem = [PROBLEM] if any(row[PROBLEM] for row in rows) else []
    cells = [
        [
            str(row["trial"]),
            row["state"],
            number(row[SCORE]),
            *(brief(row[name]) for name in settings),
            brief(row["epochs"]),
            number(row[SECONDS], 0),
            *(brief(row[name]) for name in problem),
        ]
        for row in rows[:SHOWN]
    ]
    score = f"{METRICS[contents.task.metric]} on validation"
    which = f"the best {SHOWN} of {len(rows)}" if len(rows) > SHOWN else f"all {len(rows)}"
    return Table(
        f"Trials ({which}; trials.parquet has every metric)",
        ["trial", "state", score, *short_names(settings).values(), "epochs", "seconds", *problem],
        cells,
    )
