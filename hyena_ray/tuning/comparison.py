"""The table of a comparison: what runs of each preset found, beside what the study states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.files import atomic_file
from hyena_ray.outcomes import SIMULATED
from hyena_ray.storage import AnyPath
from hyena_ray.training.run import RunRecord
from hyena_ray.tuning.presets import Preset, StudyFigures

METRICS = {
    "f1": "F1",
    "mcc": "MCC",
    "average_precision": "AP",
    "genome_average_precision": "AP, genome",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC-AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
}
"""Of the test windows, and how the text calls them."""
COST = {
    "trainable_share": "weights trained",
    "seconds_per_epoch": "s per epoch",
    "peak_memory_mib": "peak MiB",
}
"""What the runs took, and how the text calls it."""
STUDIED = tuple(StudyFigures.model_fields)
_MIB = 2**20
_SHOWN = tuple(name for name in METRICS if not name.endswith("accuracy"))

Row = dict[str, Any]


class Outcome(NamedTuple):
    """Of one run."""

    record: RunRecord | None
    """None where it diverged."""
    genome_average_precision: float | None = None
    """At the genome's own prevalence; None for sequences."""

    def figures(self) -> dict[str, float | None]:
        """What is averaged over the runs of a preset."""
        assert self.record is not None
        return {
            **(self.record.test or {}),
            "genome_average_precision": self.genome_average_precision,
            "trainable_share": self.record.trainable_share,
            "seconds_per_epoch": self.record.seconds_per_epoch,
            "peak_memory_mib": self.record.peak_memory / _MIB,
        }


def row_of(preset: Preset, outcomes: Sequence[Outcome]) -> Row:
    """One preset's row.

    Args:
        preset: whose runs these are.
        outcomes: one for each seed, or for each seed and fold.

    Returns:
        `preset`, `runs` and `diverged` (how many), `about`; of those that did not diverge the mean
        NAME and standard deviation NAME_sd (null for fewer than two) of every metric, and the mean
        of `COST`; what the study states as study_NAME, and NAME_minus_study. Null where unknown.
    """
    found = [outcome.figures() for outcome in outcomes if outcome.record is not None]
    row: Row = {
        "preset": preset.name,
        "runs": len(outcomes),
        "diverged": len(outcomes) - len(found),
        "about": preset.about,
    }
    for name in (*METRICS, *COST):
        values = [value for figures in found if (value := figures[name]) is not None]
        row[name] = fmean(values) if values else None
        if name in METRICS:
            row[f"{name}_sd"] = stdev(values) if len(values) > 1 else None
    for name in STUDIED:
        stated, ours = getattr(preset.study, name), row[name]
        row[f"study_{name}"] = stated
        row[f"{name}_minus_study"] = None if None in (stated, ours) else ours - stated
    return row


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table: strings, int64 counts, float64 figures."""
    kinds = {
        "preset": pa.string(),
        "about": pa.string(),
        "runs": pa.int64(),
        "diverged": pa.int64(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in rows[0]])
    return pa.Table.from_pylist(list(rows), schema=schema)


class Facts(NamedTuple):
    """What a comparison was made of, for its heading."""

    data: AnyPath
    split: str
    simulated: bool
    seeds: Sequence[int]
    folds: int
    """0 where the data have none."""
    changes: Mapping[str, Any]
    """Settings that all runs were given instead of their preset's."""
    left_out: Mapping[str, str]
    """Preset to the options of prepare that it needs."""


def text_of(rows: Sequence[Row], facts: Facts) -> str:
    """The comparison in Markdown: our figures, and those beside the study's."""
    runs = f"seeds {', '.join(map(str, facts.seeds))}"
    if facts.folds:
        runs += f", each of {facts.folds} folds tested"
    lines = [
        "# Comparison on test windows",
        "",
        *([f"**{SIMULATED}**", ""] if facts.simulated else []),
        f"Data `{facts.data}`, split `{facts.split}`; {runs}; mean ± standard deviation over runs.",
        "The threshold is that of each run's validation windows.",
        *[f"All runs have `{key}={value}`." for key, value in facts.changes.items()],
        "",
        *_grid(
            ["preset", "runs", *map(METRICS.__getitem__, _SHOWN), *COST.values()],
            [_our_cells(row) for row in rows],
        ),
    ]
    stated = [row for row in rows if any(row[f"study_{name}"] is not None for name in STUDIED)]
    if stated:
        names = [
            name for name in STUDIED if any(row[f"study_{name}"] is not None for row in stated)
        ]
        lines += [
            "",
            "## Beside the study",
            "",
            "Ours, the study's, and the difference. The study's figures are of its own data, split "
            "and published weights;",
            "what it calls ROC-AUC is balanced accuracy.",
            "",
            *_grid(
                ["preset", *((METRICS | COST)[name] for name in names)],
                [[row["preset"], *(_beside(row, name) for name in names)] for row in stated],
            ),
        ]
    if facts.left_out:
        lines += ["", "Left out, since they need data prepared otherwise:", ""]
        lines += [f"- {name}: `{options}`" for name, options in facts.left_out.items()]
    return "\n".join(lines) + "\n"


def _our_cells(row: Row) -> list[str]:
    runs = str(row["runs"])
    if row["diverged"]:
        runs += f" ({row['diverged']} diverged)"
    cells = [row["preset"], runs]
    for name in _SHOWN:
        mean, spread = row[name], row[f"{name}_sd"]
        shown = "" if mean is None else f"{mean:.3f}"
        cells.append(shown if spread is None else f"{shown} ± {spread:.3f}")
    share, seconds, memory = (row[name] for name in COST)
    cells.append("" if share is None else f"{share:.2%}")
    cells.append("" if seconds is None else f"{seconds:.1f}")
    cells.append("" if memory is None else f"{memory:.0f}")
    return cells


def _beside(row: Row, name: str) -> str:
    ours, stated, more = row[name], row[f"study_{name}"], row[f"{name}_minus_study"]
    if stated is None:
        return ""
    if name == "trainable_share":
        return f"{stated:.2%} in the study" if ours is None else f"{ours:.2%}, {stated:.2%}"
    return (
        f"{stated:.3f} in the study" if ours is None else f"{ours:.3f}, {stated:.3f}, {more:+.3f}"
    )


def _grid(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def write_comparison(out: AnyPath, rows: Sequence[Row], facts: Facts) -> str:
    """Write `comparison.parquet`, `.csv` and `.md`. The text of the last."""
    table, text = table_of(rows), text_of(rows, facts)
    with atomic_file(out / "comparison.parquet") as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    with atomic_file(out / "comparison.csv") as temporary:
        pyarrow.csv.write_csv(table, temporary)
    with atomic_file(out / "comparison.md") as temporary:
        temporary.write_text(text)
    return text


def written_by(out: AnyPath) -> dict[str, AnyPath]:
    """What a comparison leaves, to where it lies."""
    names = {
        "comparison": "comparison.md",
        "table": "comparison.csv",
        "as Parquet": "comparison.parquet",
        "runs": "runs",
        "summary": MANIFEST,
    }
    return {what: out / name for what, name in names.items()}
