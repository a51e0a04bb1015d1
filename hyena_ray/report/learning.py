"""Learning curves: of a run, or of a search's best trial and of all its trials."""

from __future__ import annotations

from hyena_ray.report.blocks import Block, Figure, Section, Table, number
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import BLUE, GREEN, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.search.stored_study import STATES
from hyena_ray.tuning.comparison import METRICS

_LINES = {"complete": BLUE, "stopped early": MUTED, "diverged": ORANGE, "unfinished": GREEN}


def learning(contents: Contents) -> Section | None:
    """Of a folder that knows its epochs."""
    blocks: list[Block] = []
    if contents.history:
        blocks += [_losses(contents), _scores(contents)]
    if contents.study is not None and any(t.intermediate_values for t in contents.study.trials):
        blocks.append(_trials(contents))
    return Section("learning", "Learning curves", blocks) if blocks else None


def _best(contents: Contents) -> int:
    """Index of the best epoch."""
    history, task = contents.history, contents.task
    assert history is not None
    assert task is not None
    return max(range(len(history)), key=lambda epoch: history[epoch][task.metric])


def _losses(contents: Contents) -> Figure:
    history, best = contents.history, _best(contents)
    assert history is not None
    epochs = range(1, len(history) + 1)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.2))
        axes = figure.add_subplot()
        for name, title, colour, line in (
            ("train_loss", "training", BLUE, "o-"),
            ("loss", "validation", ORANGE, "s-"),
        ):
            values = [row[name] for row in history]
            axes.plot(epochs, values, line, color=colour, markersize=4.5, label=title)
        axes.axvline(best + 1, color=MUTED, linestyle="--", linewidth=1.2)
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        svg = svg_of(figure, "losses")
    first, last = history[0]["loss"], history[best]["loss"]
    rows = [
        [str(epoch), number(row["train_loss"], 4), number(row["loss"], 4)]
        for epoch, row in zip(epochs, history, strict=True)
    ]
    return Figure(
        "losses",
        svg,
        f"The loss on validation goes from {number(first, 4)} after one epoch to "
        f"{number(last, 4)} at the best, epoch {best + 1} of {len(history)}.",
        f"Weighted cross-entropy after each epoch{_whose(contents)}. The dashed line is the epoch "
        "that was kept.",
        Table("Loss by epoch", ["epoch", "training", "validation"], rows),
    )


def _scores(contents: Contents) -> Figure:
    history, task, best = contents.history, contents.task, _best(contents)
    assert history is not None
    assert task is not None
    epochs = range(1, len(history) + 1)
    other = "mcc" if task.metric == "f1" else "f1"
    names = (task.metric, other, "average_precision")
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.2))
        axes = figure.add_subplot()
        for name, colour, line in zip(
            names, (BLUE, GREEN, ORANGE), ("o-", "s-", "^-"), strict=True
        ):
            values = [row[name] for row in history]
            axes.plot(epochs, values, line, color=colour, markersize=4.5, label=METRICS[name])
        axes.axvline(best + 1, color=MUTED, linestyle="--", linewidth=1.2)
        axes.set(xlabel="epoch", ylabel="on the validation windows")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        svg = svg_of(figure, "scores")
    rows = [
        [str(epoch), *(number(row[name]) for name in names)]
        for epoch, row in zip(epochs, history, strict=True)
    ]
    return Figure(
        "scores",
        svg,
        f"{METRICS[task.metric]} on validation is highest after epoch {best + 1}, "
        f"{number(history[best][task.metric])}.",
        f"Metrics after each epoch{_whose(contents)}, at that epoch's best threshold.",
        Table("Metrics by epoch", ["epoch", *(METRICS[name] for name in names)], rows),
    )


def _whose(contents: Contents) -> str:
    return "" if contents.summary is None else f" of trial {contents.summary.best_trial}"


def _trials(contents: Contents) -> Figure:
    study, task = contents.study, contents.task
    assert study is not None
    assert task is not None
    trials = [trial for trial in study.trials if trial.intermediate_values]
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.2))
        axes = figure.add_subplot()
        named = set()
        for trial in trials:
            state = STATES[trial.state]
            values = sorted(trial.intermediate_values.items())
            axes.plot(
                *zip(*values, strict=True),
                "o-",
                color=_LINES[state],
                linewidth=1.2,
                markersize=3,
                label=None if state in named else state,
            )
            named.add(state)
        axes.set(xlabel="epoch", ylabel=f"{METRICS[task.metric]} on validation")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
        svg = svg_of(figure, "all-trials")
    stopped = sum(STATES[trial.state] == "stopped early" for trial in trials)
    return Figure(
        "all-trials",
        svg,
        f"{stopped} of {len(trials)} trials were stopped early, which left time for the others.",
        f"{METRICS[task.metric]} on the validation windows after each epoch, a line a trial.",
        Table(
            "Last score of each trial",
            ["trial", "state", "epochs", METRICS[task.metric]],
            [
                [
                    str(trial.number),
                    STATES[trial.state],
                    str(max(trial.intermediate_values)),
                    number(trial.intermediate_values[max(trial.intermediate_values)]),
                ]
                for trial in trials
            ],
        ),
    )
