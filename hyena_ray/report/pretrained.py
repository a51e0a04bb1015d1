"""Of a pretraining: held-out perplexity in the course of it, beside Markov models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hyena_ray.progress import listed
from hyena_ray.report.blocks import Block, Figure, Headline, Section, Table, in_a_sentence, number
from hyena_ray.report.drawing import BLUE, MUTED, ORANGE, WIDTH, style, svg_of
from hyena_ray.training.markov import ALL
from hyena_ray.training.pretrain_record import PretrainRecord

if TYPE_CHECKING:
    from hyena_ray.report.contents import Contents


def pretrained_answer(record: PretrainRecord) -> list[Block]:
    """The perplexity, and between which Markov models it lies."""
    contigs = {of.name: of.use for of in record.provenance.contigs}
    left_out = listed(name for name, use in contigs.items() if use == "left_out")
    trained = f"Trained on {listed(name for name, use in contigs.items() if use == 'trained')}" + (
        f"; of {left_out} nothing was looked at." if left_out else "; no contig was left out."
    )
    perplexity = record.history[-1].perplexity
    if not perplexity:
        return ["Nothing was held out: there is no perplexity.", trained]
    value = perplexity[ALL]
    told = "the next base" if record.settings.objective == "next_base" else "masked bases"
    names = listed(name for name in perplexity if name != ALL)
    return [
        Headline(f"Perplexity {number(value)}", f"of {told}, on held-out windows of {names}."),
        _among(record, value),
        trained,
    ]


def _among(record: PretrainRecord, value: float) -> str:
    if record.settings.objective != "next_base":
        return "Masked bases are told from both sides, so Markov models cannot be put beside it."
    better = [order for order, of in record.markov.items() if of[ALL] < value]
    beaten = [order for order, of in record.markov.items() if of[ALL] >= value]
    if not better:
        return f"It is lower than that of every Markov model, of orders {in_a_sentence(beaten)}."
    if not beaten:
        return f"Every Markov model, of orders {in_a_sentence(better)}, has a lower one."
    return (
        f"It is lower than that of Markov models of order {in_a_sentence(beaten)}, and higher than "
        f"that of order {in_a_sentence(better)}."
    )


def pretrained(contents: Contents) -> Section | None:
    """Of a folder of pretrain.py that held something out."""
    record = contents.pretrained
    if record is None or not record.history[-1].perplexity:
        return None
    blocks: list[Block] = [_curve(record), _by_contig(record)]
    return Section("perplexity", "Held-out perplexity", blocks)


def _curve(record: PretrainRecord) -> Figure:
    steps = [look.step for look in record.history]
    values = [look.perplexity[ALL] for look in record.history]
    markov = record.markov if record.settings.objective == "next_base" else {}
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.6))
        axes = figure.add_subplot()
        axes.plot(steps, values, "o-", color=BLUE, markersize=4.5, label="model")
        for order, of in markov.items():
            axes.axhline(of[ALL], color=MUTED, linewidth=1, linestyle="--")
            axes.annotate(
                order,
                (1, of[ALL]),
                (3, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                color=MUTED,
            )
        for stage in record.settings.stages()[1:]:
            axes.axvline(stage.first, color=ORANGE, linewidth=1, linestyle=":")
        axes.set(xlabel="step", ylabel="perplexity on held-out windows")
        svg = svg_of(figure, "perplexity")
    lengths = in_a_sentence(f"{stage.length:,}" for stage in record.settings.stages())
    lines = "Dashed: Markov models, by order. " if markov else ""
    return Figure(
        "perplexity",
        svg,
        f"Perplexity on held-out windows goes from {number(values[0])} after {steps[0]:,} steps to "
        f"{number(values[-1])} after {steps[-1]:,}.",
        f"Of all held-out windows together. {lines}Dotted: where windows became longer ({lengths} "
        "bases).",
        Table(
            "Perplexity by step",
            ["step", "length trained on", "training", "held out"],
            [
                [
                    f"{look.step:,}",
                    f"{look.length:,}",
                    # Mean loss in nats.
                    number(math.exp(look.train_loss)),
                    number(look.perplexity[ALL]),
                ]
                for look in record.history
            ],
        ),
    )


def _by_contig(record: PretrainRecord) -> Table:
    perplexity = record.history[-1].perplexity
    names = [name for name in perplexity if name != ALL] + [ALL]
    return Table(
        "Perplexity by contig: of the model, and of Markov models of the next base by order",
        ["contig", "model", *(f"order {order}" for order in record.markov)],
        [
            [name, number(perplexity[name]), *(number(of[name]) for of in record.markov.values())]
            for name in names
        ],
    )
