"""Folders that these tests read: those of jobs, and a comparison with made-up figures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hyena_ray.workflows.compare import CompareRecord
from hyena_ray.workflows.comparison_table import RunFigures, preset_row, write_tables
from hyena_ray.workflows.presets import OriginalFigures, PreparedAs, Preset
from hyena_ray.workflows.train import TrainRecord


class Runs(NamedTuple):
    """Folders of runs; a test that changes one copies it first."""

    tuned: Path
    """Folder of a search on simulated DNA, with sanity checks inside."""
    compared: Path
    """Folder of a comparison with made-up figures."""
    data: Path
    """Prepared data of the search."""


def comparison(folder: Path, data: Path) -> Path:
    """Write what jobs/compare.py would write for two presets, with made-up figures."""
    folder.mkdir()
    rows = []
    for name, scores in (("zdna/strong", (0.7, 0.8)), ("zdna/<b>weak</b>", (0.2,))):
        preset = Preset(
            "zdna", name, "a baseline & more", OriginalFigures(f1=0.64), PreparedAs(), {}, {}
        )
        rows.append(
            preset_row(preset, [RunFigures(record(score)) for score in scores], "regions.bed")
        )
    write_tables(folder, rows, "a comparison that is made up")
    CompareRecord.make(
        fingerprint="0",
        simulated=True,
        outputs={},
        data="0",
        runs=(),
        left_out={},
        diverged={},
    ).write(folder)
    return folder


def record(score: float) -> TrainRecord:
    names = ("f1", "mcc", "average_precision", "precision", "recall", "roc_auc")
    test = dict.fromkeys((*names, "balanced_accuracy", "accuracy"), score)
    return TrainRecord.make(
        fingerprint="0",
        simulated=True,
        outputs={},
        data="0",
        best_epoch=1,
        validation=test,
        test=test,
        trainable_share=1.0,
        seconds_per_epoch=2.0,
        peak_memory=2**20,
    )
