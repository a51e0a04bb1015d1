"""Of a scored genome: how many regions there are, where they lie, and which are the surest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from hyena_ray.dataset.sharded import PLAN
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.prediction.pieces import PredictionPlan
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.region_calling import TABLE
from hyena_ray.report.blocks import (
    Block,
    Figure,
    Headline,
    Section,
    Table,
    between,
    counted,
    number,
)
from hyena_ray.report.drawing import BLUE, WIDTH, style, svg_of
from hyena_ray.storage import AnyPath, arrow_file

if TYPE_CHECKING:
    from hyena_ray.report.contents import Contents

SHOWN = 25
"""Regions of the table."""
MOST_CONTIGS = 50
"""Rows of the table by contig: a draft genome has thousands."""


class Predicted(NamedTuple):
    """What predict.py leaves."""

    plan: PredictionPlan
    record: PredictionRecord
    regions: pa.Table
    """Columns `contig, start, end, length, mean, max, summit`; may have no row."""


def read_predicted(folder: AnyPath) -> Predicted:
    """A complete prediction.

    Raises:
        InputError: a file is missing or damaged.
    """
    record, path, table = PredictionRecord.read(folder), folder / PLAN, folder / TABLE
    try:
        with arrow_file(table) as stream:
            regions = csv.read_csv(stream)
    except (OSError, pa.ArrowException) as error:
        raise InputError(table, None, f"cannot be read ({error})", "predict again") from None
    return Predicted(PredictionPlan.parse(read_json(path), path), record, regions)


def predicted_answer(found: Predicted) -> list[Block]:
    """How much of the genome is called, and how much of that may be right."""
    record = found.record
    blocks: list[Block] = [
        Headline(
            f"{counted(record.regions, 'region')}",
            f"on {counted(record.contigs, 'contig')}: {record.called:,} bases have a probability "
            f"of at least {found.record.regions_settings.threshold:.3g}, {record.share:.3%} of the "
            f"{record.scored:,} that are not N.",
        )
    ]
    expected = found.record.expected
    if expected is None:
        blocks.append(
            "How many of them are right is not known, and fewer than on windows, where negatives "
            "are a sample."
        )
    else:
        blocks.append(
            f"Of the called bases {expected.genome_precision:.0%} may be right, by the model's "
            "test split weighed to its genome; on the windows of that split, where negatives are "
            f"a sample, it was {expected.windows_precision:.0%}."
        )
    return blocks


def predicted(contents: Contents) -> Section | None:
    """Of a folder of predict.py."""
    found = contents.predicted
    if found is None:
        return None
    blocks: list[Block] = []
    if found.regions.num_rows:
        blocks += [_lengths(found.regions), _probabilities(found), _surest(found.regions)]
    blocks.append(_by_contig(found))
    return Section("regions", "Regions of the genome", blocks)


def _lengths(regions: pa.Table) -> Figure:
    lengths = regions["length"].to_numpy()
    edges = np.unique(np.geomspace(1, max(2, lengths.max() + 1), 24).astype(np.int64))
    svg, counts = _histogram("lengths", lengths, edges, "bases of a region")
    low, middle, high = np.quantile(lengths, (0.1, 0.5, 0.9))
    spans = [_span(first, last - 1) for first, last in pairwise(edges)]
    return Figure(
        "lengths",
        svg,
        f"Half of the regions have {middle:,.0f} bases or fewer; eight of ten have {low:,.0f} to "
        f"{high:,.0f}.",
        "How long regions are, on a logarithmic axis.",
        Table("Regions by length", ["bases", "regions"], list(zip(spans, counts, strict=True))),
    )


def _probabilities(found: Predicted) -> Figure:
    highest = found.regions["max"].to_numpy()
    edges = np.linspace(min(found.record.regions_settings.threshold, highest.min()), 1, 21)
    svg, counts = _histogram("probabilities", highest, edges, "highest probability in a region")
    sure = int((highest >= 0.9).sum())
    spans = [between(first, last, 2) for first, last in pairwise(edges)]
    return Figure(
        "probabilities",
        svg,
        f"{sure:,} of {counted(len(highest), 'region')} reach a probability of 0.9.",
        "How sure the model is at the summit of a region. Weights of the loss and the share of "
        "labelled windows shift it: read it as a rank, not as a frequency.",
        Table(
            "Regions by highest probability",
            ["probability", "regions"],
            list(zip(spans, counts, strict=True)),
        ),
    )


def _histogram(
    name: str, values: NDArray[Any], edges: NDArray[Any], title: str
) -> tuple[str, list[str]]:
    """Regions by a figure of theirs, drawn and as numbers; integer edges stand on a logarithmic
    axis."""
    counts, _ = np.histogram(values, edges)
    with style() as new_figure:
        figure = new_figure(figsize=(WIDTH, 3.0))
        axes = figure.add_subplot()
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=BLUE, edgecolor="none")
        axes.set(xlabel=title, ylabel="regions")
        if np.issubdtype(edges.dtype, np.integer):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda at, _: f"{at:,.0f}")
        return svg_of(figure, name), [f"{count:,}" for count in counts]


def _span(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _surest(regions: pa.Table) -> Table:
    order = pc.sort_indices(regions, [("mean", "descending"), ("length", "descending")])
    rows = regions.take(order[:SHOWN]).to_pylist()
    return Table(
        f"The {len(rows)} regions with the highest mean probability (0-based, half-open)",
        ["region", "bases", "mean", "highest"],
        [
            [
                f"{row['contig']}:{row['start']:,}-{row['end']:,}",
                f"{row['length']:,}",
                number(row["mean"]),
                number(row["max"]),
            ]
            for row in rows
        ],
    )


def _by_contig(found: Predicted) -> Table:
    scored: dict[str, int] = {}
    for piece in found.plan.pieces:
        scored[piece.contig] = scored.get(piece.contig, 0) + piece.end - piece.start
    shown = sorted(scored, key=lambda name: -scored[name])[:MOST_CONTIGS]
    more = len(scored) - len(shown)
    return Table(
        "Regions by contig" + (f", without the {more:,} shortest" if more else ""),
        ["contig", "bases", "regions", "their bases", "regions a Mb"],
        [_contig_row(name, scored[name], found.regions) for name in shown],
    )


def _contig_row(name: str, bases: int, regions: pa.Table) -> Sequence[str]:
    own = regions.filter(pc.field("contig") == name)
    inside = int(pc.sum(own["length"]).as_py() or 0)
    per_mb = number(1e6 * own.num_rows / bases, 1)
    return [name, f"{bases:,}", f"{own.num_rows:,}", f"{inside:,}", per_mb]
