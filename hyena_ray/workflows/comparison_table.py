"""The table of a comparison: what the runs of each preset found, next to the original work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from hyena_ray.files import atomic_file
from hyena_ray.outcomes import SIMULATED
from hyena_ray.storage import AnyPath
from hyena_ray.training.settings import RunSettings
from hyena_ray.workflows.presets import OriginalFigures, Preset
from hyena_ray.workflows.train import TrainRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from hyena_ray.workflows.compare import Comparison

TABLES = {
    "comparison": "comparison.md",
    "table": "comparison.csv",
    "as Parquet": "comparison.parquet",
}
"""Name of every form of the table, and its file in the folder of the comparison."""
METRIC_TITLES = {
    "average_precision": "AP",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "region_recall": "regions found",
    "false_per_mb": "false calls per Mb",
    "false_edges_per_mb": "false runs per Mb at edges",
    "false_tracts_per_mb": "false runs per Mb on unlabelled tracts",
    "false_elsewhere_per_mb": "false runs per Mb elsewhere",
    "tract_roc_auc": "ROC-AUC, tracts",
    "tract_average_precision": "AP, tracts",
    "strong_tract_roc_auc": "ROC-AUC, strong tracts",
    "strong_tract_average_precision": "AP, strong tracts",
    "tile_average_precision": "AP, tiles",
    "tile_precision": "precision, tiles",
    "tile_recall": "recall, tiles",
    "tile_f1": "F1, tiles",
    "tile_mcc": "MCC, tiles",
    "tile_roc_auc": "ROC-AUC, tiles",
    "tile_balanced_accuracy": "balanced accuracy, tiles",
    "tile_accuracy": "accuracy, tiles",
}
"""Metrics of the test data, and their titles in the table. Those of bases are taken at the
prevalence of the genome or, with `tile_`, on tiles with and without a label at a fixed ratio;
those of tracts say how well a model distinguishes labelled tracts of an untrained predictor from
unlabelled ones."""
COST_TITLES = {
    "trainable_share": "weights trained",
    "seconds_per_epoch": "s per epoch",
    "peak_memory_mib": "peak MiB",
}
"""What the runs took, and the titles in the table."""
ORIGINAL = tuple(OriginalFigures.model_fields)
"""Figures that the original work states."""
CITATION = (
    "The original work: Bokhyan, *Identification of biological interrelations in the human genome "
    "by methods of language model interpretation*, HSE University, 2025."
)
_GENOME = (
    "Figures are estimates for the test contigs at the prevalence of their genome, on the same "
    "bases for all window lengths."
)
_TILES = (
    "Those of tiles are of 100 bases, with and without a label at the ratio of the original work."
)
_MIB = 2**20
_SHOWN = (
    "average_precision",
    "precision",
    "recall",
    "f1",
    "mcc",
    "roc_auc",
    "region_recall",
    "false_per_mb",
    "tract_roc_auc",
    "strong_tract_roc_auc",
    "tile_average_precision",
    "tile_f1",
)

Row = dict[str, Any]
"""A preset's row of the table, by column."""


class RunFigures(NamedTuple):
    """Metrics of one run of a comparison."""

    record: TrainRecord | None
    """Record of the run; None where it diverged."""

    def values(self) -> dict[str, float | None]:
        """Return what is averaged over the runs of a preset."""
        assert self.record is not None
        return {
            **(self.record.test or {}),
            "trainable_share": self.record.trainable_share,
            "seconds_per_epoch": self.record.seconds_per_epoch,
            "peak_memory_mib": self.record.peak_memory / _MIB,
        }


def ignored_changes(
    changes: Iterable[str], settings_of: Mapping[str, RunSettings]
) -> dict[str, list[str]]:
    """Return the presets on which each setting that all runs are given has no effect.

    Args:
        changes: Dotted keys of the settings that all runs are given.
        settings_of: Settings of a run of each preset, by its name.
    """
    unused = {preset: settings.unused() for preset, settings in settings_of.items()}
    return {key: [preset for preset in unused if key in unused[preset]] for key in changes}


def preset_row(preset: Preset, figures: Sequence[RunFigures], labels: str) -> Row:
    """Summarise the runs of one preset.

    Args:
        preset: The preset.
        figures: What its runs found, one for each seed, or for each seed and fold.
        labels: Files that the labels come from, see `Manifest.label_source`.

    Returns:
        `preset`, `runs` and `diverged` (numbers), `about`, `labels`; over the runs that did not
        diverge, the mean NAME and the standard deviation NAME_sd (null for fewer than two) of every
        metric, and the mean of every cost; what the original work states as original_NAME, and
        NAME_minus_original, for bases the difference of tile_NAME. Null where unknown.
    """
    finished = [run.values() for run in figures if run.record is not None]
    return table_row(
        preset.name,
        preset.about,
        preset.original,
        finished,
        diverged=len(figures) - len(finished),
        labels=labels,
    )


def table_row(
    name: str,
    about: str,
    original: OriginalFigures,
    finished: Sequence[Mapping[str, float | None]],
    *,
    diverged: int,
    labels: str,
) -> Row:
    """Return a row of the table, see `preset_row`.

    Args:
        name: Name of the row.
        about: What the row is of.
        original: What the original work states.
        finished: Figures of each run that did not diverge.
        diverged: Number of the others.
        labels: Files that the labels come from.
    """
    row: Row = {
        "preset": name,
        "runs": len(finished) + diverged,
        "diverged": diverged,
        "about": about,
        "labels": labels,
    }
    for name in (*METRIC_TITLES, *COST_TITLES):
        values = [value for run in finished if (value := run.get(name)) is not None]
        row[name] = fmean(values) if values else None
        if name in METRIC_TITLES:
            row[f"{name}_sd"] = stdev(values) if len(values) > 1 else None
    for name in ORIGINAL:
        stated, ours = getattr(original, name), ours_next_to_original(row, name)
        row[f"original_{name}"] = stated
        row[f"{name}_minus_original"] = None if None in (stated, ours) else ours - stated
    return row


def ours_next_to_original(row: Row, name: str) -> float | None:
    """Return our figure to compare with one of the original work; of tiles, where there is one.

    Args:
        row: Row of a preset.
        name: Name of a figure that the original work states.
    """
    of_tiles = row.get(f"tile_{name}")
    ours: float | None = row[name] if of_tiles is None else of_tiles
    return ours


def comparison_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table with string, int64 and float64 columns.

    Args:
        rows: Rows of the presets, at least one.
    """
    import pyarrow as pa

    kinds = {
        "preset": pa.string(),
        "about": pa.string(),
        "labels": pa.string(),
        "runs": pa.int64(),
        "diverged": pa.int64(),
    }
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in rows[0]])
    return pa.Table.from_pylist(list(rows), schema=schema)


def comparison_markdown(rows: Sequence[Row], comparison: Comparison) -> str:
    """Return the comparison as Markdown: our figures, and next to them the original work's.

    Args:
        rows: Rows of the presets.
        comparison: What was compared.
    """
    manifest = comparison.data.manifest
    runs = f"seeds {', '.join(map(str, comparison.seeds))}"
    if manifest.folds:
        runs += f", each of {manifest.folds} folds tested"
    shown = [name for name in _SHOWN if any(row[name] is not None for row in rows)]
    lines = [
        "# Comparison on test data",
        "",
        *([f"**{SIMULATED}**", ""] if manifest.simulated else []),
        f"Data `{comparison.data.folder}`, split `{manifest.split}`; {runs}; mean ± standard "
        "deviation over runs.",
        f"Labels `{manifest.label_source}`.",
        "The threshold is chosen on each run's validation data.",
        *([] if manifest.stretch is None else [_GENOME, _TILES]),
        *_changes(comparison),
        "",
        *_grid(
            ["preset", "runs", *map(METRIC_TITLES.__getitem__, shown), *COST_TITLES.values()],
            [_our_cells(row, shown) for row in rows],
        ),
    ]
    stated = [row for row in rows if any(row[f"original_{name}"] is not None for name in ORIGINAL)]
    if stated:
        names = [
            name for name in ORIGINAL if any(row[f"original_{name}"] is not None for row in stated)
        ]
        lines += [
            "",
            "## Next to the original work",
            "",
            CITATION,
            "Each cell has our figure, for bases that of tiles, the original work's, and the "
            "difference. Its figures",
            "are of its own data, split and published weights; what it calls ROC-AUC is balanced "
            "accuracy.",
            "",
            *_grid(
                ["preset", *((METRIC_TITLES | COST_TITLES)[name] for name in names)],
                [[row["preset"], *(_original_cell(row, name) for name in names)] for row in stated],
            ),
        ]
    if left_out := comparison.selection.left_out:
        lines += ["", "Left out, since they need data prepared otherwise:", ""]
        lines += [f"- {preset.name}: `{preset.data.options}`" for preset in left_out]
    return "\n".join(lines) + "\n"


def _changes(comparison: Comparison) -> Iterator[str]:
    """Yield a line for each setting that all runs are given, and the presets that do not use it."""
    ignored = ignored_changes(
        comparison.changes, {run.preset: run.settings for run in comparison.runs}
    )
    for key, value in comparison.changes.items():
        ignoring = ", ".join(ignored[key])
        without = f", which has no effect on {ignoring}" if ignoring else ""
        yield f"All runs are given `{key}={value}`{without}."


def _our_cells(row: Row, shown: Sequence[str]) -> list[str]:
    runs = str(row["runs"])
    if row["diverged"]:
        runs += f" ({row['diverged']} diverged)"
    cells = [row["preset"], runs]
    for name in shown:
        mean, spread = row[name], row[f"{name}_sd"]
        text = "" if mean is None else f"{mean:.3f}"
        cells.append(text if spread is None else f"{text} ± {spread:.3f}")
    share, seconds, memory = (row[name] for name in COST_TITLES)
    cells.append("" if share is None else f"{share:.2%}")
    cells.append("" if seconds is None else f"{seconds:.1f}")
    cells.append("" if memory is None else f"{memory:.0f}")
    return cells


def _original_cell(row: Row, name: str) -> str:
    ours, stated = ours_next_to_original(row, name), row[f"original_{name}"]
    if stated is None:
        return ""
    shape = ".2%" if name == "trainable_share" else ".3f"
    if ours is None:
        return f"{stated:{shape}} in the original work"
    difference = "" if name == "trainable_share" else f", {row[f'{name}_minus_original']:+.3f}"
    return f"{ours:{shape}}, {stated:{shape}}{difference}"


def _grid(heads: list[str], rows: list[list[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def write_tables(folder: AnyPath, rows: Sequence[Row], text: str) -> None:
    """Write the table of a comparison as Parquet, CSV and Markdown.

    Args:
        folder: Folder of the comparison.
        rows: Rows of the presets.
        text: The table as Markdown.
    """
    import pyarrow.csv
    import pyarrow.parquet as pq

    table = comparison_table(rows)
    with atomic_file(folder / TABLES["as Parquet"]) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)
    with atomic_file(folder / TABLES["table"]) as temporary:
        pyarrow.csv.write_csv(table, temporary)
    with atomic_file(folder / TABLES["comparison"]) as temporary:
        temporary.write_text(text)
