"""Folders that these tests read: those of jobs, and a comparison with made-up figures."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hyena_ray.training.run import RunRecord
from hyena_ray.tuning.comparison import Facts, Outcome, row_of, write_comparison
from hyena_ray.tuning.presets import PreparedAs, Preset, StudyFigures


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
            "zdna", name, "a baseline & more", StudyFigures(f1=0.64), PreparedAs(), {}, {}
        )
        rows.append(row_of(preset, [Outcome(record(score)) for score in scores]))
    write_comparison(folder, rows, Facts(data, "contig", True, (0, 1), 0, {}, {}))
    (folder / "manifest.json").write_text('{"diverged": {}, "data": "0", "simulated": true}')
    return folder


def record(score: float) -> RunRecord:
    names = ("f1", "mcc", "average_precision", "precision", "recall", "roc_auc")
    test = dict.fromkeys((*names, "balanced_accuracy", "accuracy"), score)
    return RunRecord(
        simulated=True,
        best_epoch=1,
        validation=test,
        test=test,
        trainable_share=1.0,
        seconds_per_epoch=2.0,
        peak_memory=2**20,
    )
