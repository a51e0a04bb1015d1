"""How much the rows of a comparison differ from one of them, with intervals from paired draws.

The intervals of two models overlap far more than their difference is uncertain: a contig that is
hard for one is hard for the other. Every run keeps its figures of the same draws of blocks, so that
the difference of two runs in a draw is that of their figures in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hyena_ray.files import atomic_file
from hyena_ray.runs.record import BOOTSTRAP, EVALUATION
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.comparison_table import METRIC_TITLES

DIFFERENCES = "differences.csv"
"""Name of the file with a line for each row and metric."""

Scored = Mapping[str, AnyPath]
"""Folder with the evaluation of each run of a row, by its seed and fold."""


class Difference(NamedTuple):
    """Figure of a row less that of the reference, the mean over seeds and folds."""

    preset: str
    """Name of the row."""
    metric: str
    """Name of the figure, a key of `METRIC_TITLES`."""
    runs: int
    """Number of pairs of runs."""
    difference: float
    """Mean difference."""
    low: float
    """Percentile 2.5 of the mean differences in the draws."""
    high: float
    """Percentile 97.5 of them."""

    def __str__(self) -> str:
        return f"{self.difference:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def differences_from(reference: str, rows: Mapping[str, Scored]) -> list[Difference]:
    """Return how every row differs from one of them, in each figure that the draws have.

    Args:
        reference: Name of that row.
        rows: Evaluations of every row; pairs are runs of the same seed and fold.

    Raises:
        InputError: An evaluation cannot be read.
    """
    return [
        difference
        for name, scored in rows.items()
        if name != reference
        for difference in _differences(name, scored, rows[reference])
    ]


def _differences(name: str, scored: Scored, reference: Scored) -> Iterator[Difference]:
    from hyena_ray.training.bootstrap import interval_of

    pairs = [(_figures(scored[v]), _figures(reference[v])) for v in scored if v in reference]
    for metric in METRIC_TITLES:
        values = [own[metric] - other[metric] for own, other in pairs if metric in own]
        if not values:
            continue
        drawn = np.mean(values, axis=0)
        low, high = interval_of(drawn[1:])
        yield Difference(name, metric, len(values), float(drawn[0]), low, high)


def _figures(folder: AnyPath) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return every figure that the draws have: its value, and behind it that in each draw."""
    import pyarrow.parquet as pq

    from hyena_ray.training.evaluation import Evaluation

    values = Evaluation.read(folder / EVALUATION).figures()
    with (folder / BOOTSTRAP).open("rb") as file:
        table = pq.read_table(file)
    return {
        name: np.concatenate(([values[name]], table.column(name).to_numpy()))
        for name in table.column_names
    }


def differences_markdown(reference: str, differences: Sequence[Difference]) -> str:
    """Return a section with a table of differences, as Markdown.

    Args:
        reference: Name of the row that the others are compared with.
        differences: At least one.
    """
    cells = {(each.preset, each.metric): str(each) for each in differences}
    metrics = [name for name in METRIC_TITLES if any(name == metric for _, metric in cells)]
    titles = map(METRIC_TITLES.__getitem__, metrics)
    lines = [
        "",
        f"## Differences from {reference}",
        "",
        "Each cell has the figure of the row less that of the reference on the same bases, the",
        "mean over runs, and its 95 % interval from draws of blocks that both share.",
        "",
        f"| preset | {' | '.join(titles)} |",
        "|---|" + "---|" * len(metrics),
    ]
    for name in dict.fromkeys(each.preset for each in differences):
        row = (cells.get((name, metric), "") for metric in metrics)
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def write_differences(folder: AnyPath, differences: Sequence[Difference]) -> None:
    """Write differences to the file `DIFFERENCES`, with a column for each field.

    Args:
        folder: Folder of the comparison.
        differences: At least one.
    """
    import pyarrow as pa
    import pyarrow.csv

    table = pa.Table.from_pylist([each._asdict() for each in differences])
    with atomic_file(folder / DIFFERENCES) as temporary:
        pyarrow.csv.write_csv(table, temporary)
