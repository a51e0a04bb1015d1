"""The table of a comparison says what the runs found, and nothing that is not known."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.resources import Resources
from hyena_ray.runs.run import Output
from hyena_ray.training.metrics import Metrics
from hyena_ray.workflows.compare import Comparison, PlannedRun
from hyena_ray.workflows.comparison_table import (
    METRIC_TITLES,
    ORIGINAL,
    RunFigures,
    comparison_markdown,
    comparison_table,
    preset_row,
    write_tables,
)
from hyena_ray.workflows.presets import OriginalFigures, PreparedAs, Preset, Selection, load_preset
from hyena_ray.workflows.train import TrainRecord
from tests.search.unread_data import prepared

LABELS = "regions.bed"
STATED = OriginalFigures(f1=0.6, mcc=0.5, balanced_accuracy=0.8, trainable_share=0.07)


def preset(name: str, original: OriginalFigures) -> Preset:
    return Preset("zdna", f"zdna/{name}", f"about {name}", original, PreparedAs(), {}, {})


def outcome(f1: float, tile_f1: float | None = None) -> RunFigures:
    """Figures of a run; of sequences, which have no tiles, where `tile_f1` is None."""
    metrics = dict.fromkeys(Metrics._fields, 0.5) | {"f1": f1, "mcc": f1 / 2}
    if tile_f1 is not None:
        metrics |= {f"tile_{name}": 0.6 for name in Metrics._fields} | {"tile_f1": tile_f1}
    return RunFigures(
        TrainRecord.make(
            fingerprint="0",
            simulated=True,
            outputs={},
            data="0",
            best_epoch=1,
            validation=metrics,
            test=metrics,
            trainable_share=0.05,
            seconds_per_epoch=None if f1 > 0.9 else 10 * f1,
            peak_memory=100 << 20,
        )
    )


def test_figures_are_means_and_sample_deviations_of_the_runs() -> None:
    scores = (0.4, 0.5, 0.7)
    row = preset_row(preset("a", STATED), [outcome(f1, f1 + 0.1) for f1 in scores], LABELS)
    assert (row["runs"], row["diverged"]) == (3, 0)
    assert row["f1"] == pytest.approx(fmean(scores))
    assert row["f1_sd"] == pytest.approx(stdev(scores))
    assert row["mcc_sd"] == pytest.approx(stdev(scores) / 2)
    assert row["tile_f1"] == pytest.approx(fmean(scores) + 0.1)
    assert row["tile_f1_sd"] == pytest.approx(stdev(scores))
    assert row["seconds_per_epoch"] == pytest.approx(10 * fmean(scores))
    assert row["peak_memory_mib"] == 100


def test_the_original_stands_beside_with_the_difference() -> None:
    row = preset_row(preset("a", STATED), [outcome(0.7)], LABELS)
    assert (row["original_f1"], row["f1_minus_original"]) == (0.6, pytest.approx(0.1))
    assert row["balanced_accuracy_minus_original"] == pytest.approx(-0.3)
    assert row["trainable_share_minus_original"] == pytest.approx(-0.02)
    assert (row["original_recall"], row["recall_minus_original"]) == (None, None)
    # Of bases the original work tested on tiles.
    row = preset_row(preset("a", STATED), [outcome(0.1, 0.7)], LABELS)
    assert (row["original_f1"], row["f1_minus_original"]) == (0.6, pytest.approx(0.1))
    assert row["balanced_accuracy_minus_original"] == pytest.approx(-0.2)
    assert row["f1"] == 0.1


def test_one_run_has_no_deviation_and_diverged_ones_do_not_count() -> None:
    row = preset_row(preset("a", STATED), [RunFigures(None), outcome(0.4)], LABELS)
    assert (row["runs"], row["diverged"], row["f1"], row["f1_sd"]) == (2, 1, 0.4, None)
    row = preset_row(preset("a", STATED), [RunFigures(None)], LABELS)
    assert (row["runs"], row["diverged"]) == (1, 1)
    for name in METRIC_TITLES:
        assert row[name] is None
    assert row["original_f1"] == 0.6
    assert row["f1_minus_original"] is None


def test_what_some_runs_do_not_know_is_averaged_over_the_others() -> None:
    row = preset_row(preset("a", STATED), [outcome(0.95), outcome(0.5)], LABELS)
    assert row["seconds_per_epoch"] == 5
    assert preset_row(preset("a", STATED), [outcome(0.95)], LABELS)["seconds_per_epoch"] is None
    assert preset_row(preset("a", STATED), [outcome(0.5)], LABELS)["tile_f1"] is None


def test_every_figure_of_the_original_has_one_of_ours() -> None:
    assert set(ORIGINAL) <= {*METRIC_TITLES, "trainable_share"}


def facts(*, simulated: bool = False) -> Comparison:
    """A comparison with two seeds on five folds, one setting and one preset left out."""
    splits = tuple(f"fold{fold}" for fold in range(5))
    data = prepared("zdna", split="kfold:5", splits=splits, simulated=simulated)
    left_out = preset("x", OriginalFigures())._replace(data=PreparedAs(flank=9))
    return Comparison(
        data=data,
        selection=Selection([], [left_out]),
        runs=[],
        output=Output(Path("out")),
        seeds=(0, 1),
        ensemble=False,
        reference="zdna/a",
        changes={"training.epochs": 1},
        resources=Resources(),
        address=None,
    )


def test_settings_of_all_runs_name_the_presets_that_do_not_use_them() -> None:
    runs = [
        PlannedRun(name, load_preset(name).run_settings(gpu=False))
        for name in ("zdna/dilated_cnn", "zdna/zhunt")
    ]
    text = comparison_markdown(rows(), facts()._replace(runs=runs))
    line = next(line for line in text.splitlines() if "`training.epochs=1`" in line)
    assert "no effect on zdna/zhunt" in line
    assert "dilated_cnn" not in line


def rows() -> list[dict[str, Any]]:
    return [
        preset_row(preset("a", STATED), [outcome(0.4), outcome(0.6)], LABELS),
        preset_row(preset("gone", OriginalFigures(f1=0.3)), [RunFigures(None)], LABELS),
        preset_row(preset("ours", OriginalFigures()), [outcome(0.8)], LABELS),
    ]


def test_columns_have_one_type_whatever_is_unknown() -> None:
    table = comparison_table(rows()[1:2])
    assert table.schema == comparison_table(rows()).schema
    assert table.schema.field("f1").type == pa.float64()
    assert table.schema.field("runs").type == pa.int64()


def test_the_text_holds_each_row_and_is_square() -> None:
    text = comparison_markdown(rows(), facts())
    ours, original = text.split("## Next to the original work")
    for part, names in ((ours, ("a", "gone", "ours")), (original, ("a", "gone"))):
        lines = [line for line in part.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
        assert [line.split()[1] for line in lines[2:]] == [f"zdna/{name}" for name in names]
    assert "0.500 ± 0.141" in ours
    assert "| 1 (1 diverged) |" in ours
    assert "0.500, 0.600, -0.100" in original
    assert "0.300 in the original work" in original
    assert "seeds 0, 1, each of 5 folds tested" in text
    assert "training.epochs=1" in text
    assert "- zdna/x: `--flank 9`" in text


def test_simulated_data_say_so() -> None:
    assert "simulated" not in comparison_markdown(rows(), facts())
    assert "simulated" in comparison_markdown(rows(), facts(simulated=True))


def test_the_three_files_say_the_same(tmp_path: Path) -> None:
    write_tables(tmp_path, rows(), "text")
    assert (tmp_path / "comparison.md").read_text() == "text"
    table = pq.read_table(tmp_path / "comparison.parquet")
    assert table.to_pylist() == rows()
    lines = (tmp_path / "comparison.csv").read_text().splitlines()
    assert len(lines) == 1 + table.num_rows
    assert lines[0].replace('"', "").split(",") == table.column_names
