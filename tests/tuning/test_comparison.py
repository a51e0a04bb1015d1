"""The table of a comparison says what the runs found, and nothing that is not known."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.training.metrics import Metrics
from hyena_ray.training.run import RunRecord
from hyena_ray.tuning.comparison import (
    METRICS,
    STUDIED,
    Facts,
    Outcome,
    row_of,
    table_of,
    text_of,
    write_comparison,
)
from hyena_ray.tuning.presets import PreparedAs, Preset, StudyFigures

FACTS = Facts(Path("/data"), "kfold:5", False, (0, 1), 5, {"training.epochs": 1}, {"zdna/x": "-o"})
STATED = StudyFigures(f1=0.6, mcc=0.5, balanced_accuracy=0.8, trainable_share=0.07)


def preset(name: str, study: StudyFigures) -> Preset:
    return Preset("zdna", f"zdna/{name}", f"about {name}", study, PreparedAs(), {}, {})


def outcome(f1: float, genome: float | None = 0.25) -> Outcome:
    metrics = dict.fromkeys(Metrics._fields, 0.5) | {"f1": f1, "mcc": f1 / 2}
    return Outcome(
        RunRecord(
            simulated=True,
            best_epoch=1,
            validation=metrics,
            test=metrics,
            trainable_share=0.05,
            seconds_per_epoch=None if f1 > 0.9 else 10 * f1,
            peak_memory=100 << 20,
        ),
        genome,
    )


def test_figures_are_means_and_sample_deviations_of_the_runs() -> None:
    scores = (0.4, 0.5, 0.7)
    row = row_of(preset("a", STATED), [outcome(f1) for f1 in scores])
    assert (row["runs"], row["diverged"]) == (3, 0)
    assert row["f1"] == pytest.approx(fmean(scores))
    assert row["f1_sd"] == pytest.approx(stdev(scores))
    assert row["mcc_sd"] == pytest.approx(stdev(scores) / 2)
    assert row["genome_average_precision"] == 0.25
    assert row["seconds_per_epoch"] == pytest.approx(10 * fmean(scores))
    assert row["peak_memory_mib"] == 100


def test_the_study_stands_beside_with_the_difference() -> None:
    row = row_of(preset("a", STATED), [outcome(0.7)])
    assert (row["study_f1"], row["f1_minus_study"]) == (0.6, pytest.approx(0.1))
    assert row["balanced_accuracy_minus_study"] == pytest.approx(-0.3)
    assert row["trainable_share_minus_study"] == pytest.approx(-0.02)
    assert (row["study_recall"], row["recall_minus_study"]) == (None, None)


def test_one_run_has_no_deviation_and_diverged_ones_do_not_count() -> None:
    row = row_of(preset("a", STATED), [Outcome(None), outcome(0.4)])
    assert (row["runs"], row["diverged"], row["f1"], row["f1_sd"]) == (2, 1, 0.4, None)
    row = row_of(preset("a", STATED), [Outcome(None)])
    assert (row["runs"], row["diverged"]) == (1, 1)
    for name in METRICS:
        assert row[name] is None
    assert row["study_f1"] == 0.6
    assert row["f1_minus_study"] is None


def test_what_some_runs_do_not_know_is_averaged_over_the_others() -> None:
    row = row_of(preset("a", STATED), [outcome(0.95), outcome(0.5)])
    assert row["seconds_per_epoch"] == 5
    assert row_of(preset("a", STATED), [outcome(0.95)])["seconds_per_epoch"] is None
    assert row_of(preset("a", STATED), [outcome(0.5, None)])["genome_average_precision"] is None


def test_every_figure_of_the_study_has_one_of_ours() -> None:
    assert set(STUDIED) <= {*METRICS, "trainable_share"}


def rows() -> list[dict[str, Any]]:
    return [
        row_of(preset("a", STATED), [outcome(0.4), outcome(0.6)]),
        row_of(preset("gone", StudyFigures(f1=0.3)), [Outcome(None)]),
        row_of(preset("ours", StudyFigures()), [outcome(0.8)]),
    ]


def test_columns_have_one_type_whatever_is_unknown() -> None:
    table = table_of(rows()[1:2])
    assert table.schema == table_of(rows()).schema
    assert table.schema.field("f1").type == pa.float64()
    assert table.schema.field("runs").type == pa.int64()


def test_the_text_holds_each_row_and_is_square() -> None:
    text = text_of(rows(), FACTS)
    ours, study = text.split("## Beside the study")
    for part, names in ((ours, ("a", "gone", "ours")), (study, ("a", "gone"))):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        assert [line.split()[1] for line in lines[2:]] == [f"zdna/{name}" for name in names]
    assert "0.500 ± 0.141" in ours
    assert "| 1 (1 diverged) |" in ours
    assert "0.500, 0.600, -0.100" in study
    assert "0.300 in the study" in study
    assert "seeds 0, 1, each of 5 folds tested" in text
    assert "training.epochs=1" in text
    assert "- zdna/x: `-o`" in text


def test_simulated_data_say_so() -> None:
    assert "simulated" not in text_of(rows(), FACTS)
    assert "simulated" in text_of(rows(), FACTS._replace(simulated=True))


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    text = write_comparison(tmp_path, rows(), FACTS)
    assert (tmp_path / "comparison.md").read_text() == text
    table = pq.read_table(tmp_path / "comparison.parquet")
    assert table.to_pylist() == rows()
    lines = (tmp_path / "comparison.csv").read_text().splitlines()
    assert len(lines) == 1 + table.num_rows
    assert lines[0].replace('"', "").split(",") == table.column_names
