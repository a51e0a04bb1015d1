"""Whether the scores can be believed: faithfulness, models that learnt nothing, planted k-mers."""

from __future__ import annotations

from hyena_ray.attribution.methods import METHODS
from hyena_ray.report.blocks import Block, Figure, Section, Table, number
from hyena_ray.report.contents import Contents
from hyena_ray.report.drawing import MUTED, SERIES, WIDTH, style, svg_of
from hyena_ray.report.faith import Sanity

ALIKE = 0.3
"""Rank correlation past which scores would look the same of a model that learnt nothing."""


def checks(contents: Contents) -> Section | None:
    """Of a folder of sanity.py, given or within."""
    found = contents.sanity
    if found is None:
        return None
    blocks: list[Block] = [
        _curve(found, "deletion", "Bases are taken out", "falls", "lower"),
        _curve(found, "insertion", "Bases are put back", "rises", "higher"),
        _table(found),
    ]
    return Section("checks", "Can the scores be believed?", blocks)


def _curve(found: Sanity, kind: str, what: str, goes: str, better: str) -> Figure:
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.4))
        axes = figure.add_subplot()
        for check, colour, line in zip(
            found.checks, SERIES * 2, ("-", "--", "-.", ":") * 3, strict=False
        ):
            values = getattr(check.curves, kind)
            axes.plot(
                check.curves.share, values, line, color=colour, label=METHODS[check.method].title
            )
        chance = found.checks[0].by_chance
        axes.plot(
            chance.share, getattr(chance, kind), color=MUTED, linewidth=1.2, label="random order"
        )
        axes.set(xlabel="share of bases", ylabel="share of the target", xlim=(0, 1))
        axes.legend()
        svg = svg_of(figure, kind)
    first = found.checks[0]
    area = number(getattr(first.curves, f"{kind}_area"))
    random = number(getattr(first.by_chance, f"{kind}_area"))
    shares = range(0, len(first.curves.share), 2)
    rows = [
        [
            f"{first.curves.share[at]:.0%}",
            *(number(getattr(check.curves, kind)[at], 2) for check in found.checks),
            number(getattr(first.by_chance, kind)[at], 2),
        ]
        for at in shares
    ]
    titles = [METHODS[check.method].title for check in found.checks]
    return Figure(
        kind,
        svg,
        f"{what} from the highest score on, and the target {goes}: area {area} by "
        f"{titles[0]}, {random} in random order.",
        f"Mean over {first.windows:,} windows of what is left of the target, as a share of what "
        f"all bases make; bases come from a dinucleotide shuffle. A {better} area is better.",
        Table(f"Target by share of bases, {kind}", ["share", *titles, "random order"], rows),
    )


def _table(found: Sanity) -> Table:
    rows = [
        [
            METHODS[check.method].title,
            number(check.curves.deletion_area),
            number(check.curves.insertion_area),
            _verdict(check.random_weights),
            _verdict(check.random_labels),
            number(check.planted_auroc),
        ]
        for check in found.checks
    ]
    chance = found.checks[0].by_chance
    rows.append(
        ["random order", number(chance.deletion_area), number(chance.insertion_area), *[""] * 3]
    )
    title = (
        "Areas; rank correlation with scores of models that learnt nothing, which is to be near 0; "
        "how well scores tell planted k-mers from others"
    )
    heads = ["method", "deletion", "insertion", "random weights", "random labels", "planted, AUROC"]
    return Table(title, heads, rows)


def _verdict(correlation: float | None) -> str:
    if correlation is None:
        return number(None)
    return f"{number(correlation)}{' (alike)' if abs(correlation) > ALIKE else ''}"
