"""Choices between settings: a search's trials, drawn by Optuna, and a comparison of presets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import TrialState

from hyena_ray.report._page import (
    ORIGINAL_WORK,
    Block,
    Figure,
    Section,
    Table,
    brief,
    in_a_sentence,
    number,
    short_names,
)
from hyena_ray.report._plots import BLUE, GRID, INK, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.report.run_contents import RunContents, ScoredContents, TuneContents
from hyena_ray.search.trial_fields import PROBLEM, SCORE, SECONDS
from hyena_ray.workflows.comparison_table import COST_TITLES, METRIC_TITLES, ORIGINAL

SHOWN_TRIALS = 50
"""Trials of the table, the best first."""
LEAST_TRIALS = 3
"""Complete trials that importance can be computed from."""
SEED = 0
"""Seed of the forest that computes importance."""
_COMPARED = tuple(name for name in METRIC_TITLES if not name.endswith("accuracy"))


def search_section(contents: TuneContents) -> Section:
    """Show the history of a search, what its settings changed, and its trials.

    Args:
        contents: What the folder of the search holds.
    """
    blocks: list[Block] = []
    study, metric = contents.study, METRIC_TITLES[contents.metric]
    if study is not None:
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        varied = _varied(complete)
        best = study.trials[contents.summary.best_trial]
        if complete:
            blocks.append(_history(study, best, metric))
        if len(complete) > 1 and varied:
            blocks.append(_parallel(study, best, metric, varied))
        if (
            len(complete) >= LEAST_TRIALS
            and len({trial.value for trial in complete}) > 1
            and varied
        ):
            blocks.append(_importance(study, varied))
        else:
            blocks.append(
                f"The importance of settings is not drawn: {len(complete)} of "
                f"{len(study.trials)} trials were trained to their end, and {LEAST_TRIALS} with "
                "different settings and scores are needed."
            )
    blocks.append(_trials(contents, metric))
    return Section("search", "The search", blocks)


def _varied(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    """Return the settings that all trials have and that differ between them."""
    names = set.intersection(*(set(trial.params) for trial in trials)) if trials else set()
    return sorted(name for name in names if len({trial.params[name] for trial in trials}) > 1)


@contextmanager
def _drawn_by_optuna(draw: Callable[[], Any], height: float) -> Iterator[Any]:
    """Yield the axes of a plot of Optuna, which sets its own style and uses pyplot, restyled."""
    with style(), warnings.catch_warnings():
        import matplotlib.pyplot as plt

        before = plt.get_backend()
        plt.switch_backend("agg")
        # Optuna warns that its plots may change, which a pinned version does not, and matplotlib
        # warns of categories that look like numbers.
        warnings.simplefilter("ignore")
        axes = draw()
        figure = axes.figure
        try:
            figure.set_size_inches(WIDTH, height)
            figure.set_layout_engine("constrained")
            figure.set_facecolor("none")
            for part in figure.axes:
                _restyle(part)
            yield axes
        finally:
            plt.close(figure)
            plt.switch_backend(before)


def _restyle(axes: Any) -> None:
    axes.set_facecolor("none")
    axes.set_title("")
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.xaxis.label.set(color=INK, size=9.5)
    axes.yaxis.label.set(color=INK, size=9.5)
    axes.grid(color=GRID)
    for spine in axes.spines.values():
        spine.set_color(MUTED)


def _history(study: optuna.Study, best: optuna.trial.FrozenTrial, metric: str) -> Figure:
    from optuna.visualization.matplotlib import plot_optimization_history

    label = f"{metric} on validation"
    with _drawn_by_optuna(lambda: plot_optimization_history(study, target_name=label), 3.2) as axes:
        for points in axes.collections:
            points.set(color=BLUE, alpha=1)
        for line in axes.lines:
            line.set(color=ORANGE, alpha=1)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(xlabel="trial", ylabel=label)
        axes.legend(axes.get_legend_handles_labels()[0], ["trial", "best so far"])
        svg = svg_of(axes.figure, "history")
    return Figure(
        "history",
        svg,
        f"Of {len(study.trials)} trials number {best.number} is the best, with {metric} "
        f"{number(best.value)} on validation.",
        "The complete trials in their order, and the best until then (Optuna's optimisation "
        "history).",
    )


def _parallel(
    study: optuna.Study, best: optuna.trial.FrozenTrial, metric: str, varied: list[str]
) -> Figure:
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    with _drawn_by_optuna(
        lambda: plot_parallel_coordinate(study, params=varied, target_name=metric), 4.0
    ) as axes:
        for lines in axes.collections:
            # Dark blue to yellow, without the ends, which one of the two pages would swallow.
            lines.set_cmap(_middle_of("viridis"))
            lines.set(linewidth=3, clip_on=False)
        short = short_names(varied)
        axes.set_xticks(range(len(varied) + 1), [metric, *(short[name] for name in varied)])
        axes.tick_params(axis="x", labelrotation=20)
        axes.set_xlabel("")
        svg = svg_of(axes.figure, "parallel")
    chosen = in_a_sentence(f"{name} {brief(best.params[name])}" for name in varied)
    return Figure(
        "parallel",
        svg,
        f"The best trial has {chosen}.",
        f"Each line is a complete trial: its {metric} on validation on the left, then its "
        "settings; the lighter, the better (Optuna's parallel coordinates).",
    )


def _middle_of(name: str) -> Any:
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap([matplotlib.colormaps[name](0.25 + 0.6 * at / 255) for at in range(256)])


def _importance(study: optuna.Study, varied: list[str]) -> Figure:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.visualization.matplotlib import plot_param_importances

    evaluator = FanovaImportanceEvaluator(seed=SEED)
    with _drawn_by_optuna(
        lambda: plot_param_importances(study, evaluator=evaluator, params=varied),
        1.1 + 0.4 * len(varied),
    ) as axes:
        for bar in axes.patches:
            bar.set_facecolor(BLUE)
        if axes.get_legend() is not None:
            axes.get_legend().remove()
        axes.set(xlabel="importance", ylabel="")
        svg = svg_of(axes.figure, "importance")
        importances = get_param_importances(study, evaluator=evaluator, params=varied)
    first = next(iter(importances))
    return Figure(
        "importance",
        svg,
        f"{first} mattered most: it explains {importances[first]:.0%} of what settings explain.",
        "Fraction of the variance of the score that each setting explains (fANOVA, Optuna's "
        "parameter importances). Few trials give a rough estimate.",
        Table(
            "Importance of settings",
            ["setting", "importance"],
            [[name, number(value)] for name, value in importances.items()],
        ),
    )


def _trials(contents: TuneContents, metric: str) -> Table:
    rows = contents.trials.to_pylist()
    rows.sort(key=lambda row: (row["state"] != "complete", -(row[SCORE] or 0.0)))
    fixed = ["trial", "state", SCORE, "epochs", SECONDS, PROBLEM]
    settings = [name for name in contents.trials.column_names if name not in fixed and "." in name]
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
        for row in rows[:SHOWN_TRIALS]
    ]
    selection = (
        f"the best {SHOWN_TRIALS} of {len(rows)}"
        if len(rows) > SHOWN_TRIALS
        else f"all {len(rows)}"
    )
    return Table(
        f"Trials ({selection}; trials.parquet has every metric)",
        [
            "trial",
            "state",
            f"{metric} on validation",
            *short_names(settings).values(),
            "epochs",
            "seconds",
            *problem,
        ],
        cells,
    )


def comparison_section(contents: RunContents) -> Section | None:
    """Show the whole table of a comparison of presets, and the figures of the original work.

    Args:
        contents: What the run's folder holds, with the comparison given along with it.

    Returns:
        The section, or None where there is no comparison.
    """
    if contents.comparison is None:
        return None
    metric = "average_precision" if contents.task is None else contents.task.metric
    rows = contents.comparison.table.to_pylist()
    rows.sort(key=lambda row: -(row[metric] if row[metric] is not None else -1.0))
    names = [name for name in _COMPARED if any(row[name] is not None for row in rows)]
    cells = [
        [
            row["preset"],
            *(_mean_and_spread(row[name], row[f"{name}_sd"]) for name in names),
            str(row["runs"]) + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
            "" if row["trainable_share"] is None else f"{row['trainable_share']:.2%}",
            number(row["seconds_per_epoch"], 1),
            number(row["peak_memory_mib"], 0),
            row["about"],
        ]
        for row in rows
    ]
    heads = [
        "preset",
        *map(METRIC_TITLES.__getitem__, names),
        "runs",
        *COST_TITLES.values(),
        "about",
    ]
    blocks: list[Block] = [
        Table("Presets on the test windows; mean ± standard deviation over runs", heads, cells)
    ]
    scored = isinstance(contents, ScoredContents) and contents.evaluation is not None
    original = _original_figures(rows, folded=scored)
    if original is None:
        return Section("comparison", "Presets compared", blocks)
    return Section("comparison", "Presets compared", [*blocks, original], (ORIGINAL_WORK,))


def _original_figures(rows: list[dict[str, Any]], *, folded: bool) -> Table | None:
    """Return the figures of the original work next to ours; None where it states none."""
    stated = [
        row for row in rows if row["original_f1"] is not None or row["original_mcc"] is not None
    ]
    if not stated:
        return None
    names = [
        name
        for name in ORIGINAL
        if name in METRIC_TITLES and any(row[f"original_{name}"] is not None for row in stated)
    ]
    cells = [
        [
            row["preset"],
            *(
                f"{number(row[name])} / {number(row[f'original_{name}'])}"
                if row[f"original_{name}"] is not None
                else ""
                for name in names
            ),
        ]
        for row in stated
    ]
    return Table(
        "Ours / those of the original work, on its own data, split and published weights",
        ["preset", *map(METRIC_TITLES.__getitem__, names)],
        cells,
        folded=folded,
    )


def _mean_and_spread(mean: float | None, spread: float | None) -> str:
    return number(mean) if spread is None else f"{number(mean)} ± {number(spread)}"
