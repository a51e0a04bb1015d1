"""The tables of a prediction list every region with its rank, its bases and what is masked."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyena_ray.errors import InputError
from hyena_ray.genome.called_regions import Region, RegionSettings
from hyena_ray.prediction.pieces import (
    make_scorer,
    missing_pieces,
    plan_prediction,
    run_piece,
    write_sequences,
)
from hyena_ray.prediction.region_tables import CalledRegions
from hyena_ray.prediction.results import PredictionResult, write_results
from tests.prediction.pattern_model import PATTERN, pattern_model

GENOME = {
    # Called is the middle base of the pattern; gaps of 5 bases are joined.
    "b": f"TTTTT{PATTERN}A{PATTERN}TTTTT",
    "a": f"TT{PATTERN.lower()}ttNN{'T' * 20}{PATTERN}",
    "none": "T" * 30,
}
SETTINGS = RegionSettings(threshold=0.4, merge_gap=5)


def predicted(folder: Path, genome: dict[str, str]) -> PredictionResult:
    path = folder / "genome.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in genome.items()))
    plan = plan_prediction(pattern_model(), path, contigs=None, overlap=None)
    write_sequences(plan, path, folder)
    scorer = make_scorer(pattern_model(), plan)
    for index in missing_pieces(plan, folder):
        run_piece(scorer, plan, index, folder)
    return write_results(plan, SETTINGS, path, folder)


def table(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_region_shows_its_bases_and_what_of_them_is_masked(tmp_path: Path) -> None:
    found = predicted(tmp_path, GENOME)
    rows = table(tmp_path / "regions.csv")
    spans = [(row["contig"], int(row["start"]), int(row["end"])) for row in rows]
    assert spans == [("a", 4, 5), ("a", 33, 34), ("b", 7, 14)]
    for (contig, start, end), row in zip(spans, rows, strict=True):
        assert row["sequence"] == GENOME[contig][start:end]
        lower = sum(base.islower() for base in row["sequence"])
        assert float(row["soft_masked"]) == lower / (end - start)
    assert [row["name"] for row in rows] == ["region1", "region2", "region3"]
    assert (found.regions, found.repeats) == (3, 1)
    bed = [line.split("\t") for line in (tmp_path / "regions.bed").read_text().splitlines()]
    for fields, row in zip(bed, rows, strict=True):
        assert fields[:4] == [row["contig"], row["start"], row["end"], row["name"]]
        assert int(fields[4]) == round(1000 * float(row["mean"]))


def test_contigs_add_up_to_the_genome(tmp_path: Path) -> None:
    found = predicted(tmp_path, GENOME)
    rows = table(tmp_path / "contigs.csv")
    assert [row["contig"] for row in rows] == ["a", "b", "none"]
    assert [int(row["length"]) for row in rows] == [len(GENOME[name]) for name in sorted(GENOME)]
    for name in ("scored", "called", "regions", "in_regions", "repeats"):
        assert sum(int(row[name]) for row in rows) == getattr(found, name), name
    for row in rows:
        rate = 1e6 * int(row["regions"]) / int(row["scored"])
        assert float(row["regions_per_mb"]) == pytest.approx(rate, abs=0.01)
    assert found.per_mb == pytest.approx(1e6 * found.regions / found.scored)


def test_of_a_genome_that_is_not_masked_nothing_is_said_to_be_a_repeat(tmp_path: Path) -> None:
    found = predicted(tmp_path, {name: bases.upper() for name, bases in GENOME.items()})
    assert found.repeats is None
    assert {row["soft_masked"] for row in table(tmp_path / "regions.csv")} == {""}
    assert {row["repeats"] for row in table(tmp_path / "contigs.csv")} == {""}


def test_without_a_region_the_tables_are_empty_and_every_contig_is_there(tmp_path: Path) -> None:
    found = predicted(tmp_path, {"none": "T" * 30})
    assert (found.regions, found.in_regions, found.repeats) == (0, 0, None)
    assert table(tmp_path / "regions.csv") == []
    assert [row["regions"] for row in table(tmp_path / "contigs.csv")] == ["0"]


def test_a_genome_that_changed_since_is_refused_before_a_table_is_written(tmp_path: Path) -> None:
    predicted(tmp_path, GENOME)
    path = tmp_path / "genome.fa"
    plan = plan_prediction(pattern_model(), path, contigs=None, overlap=None)
    (tmp_path / "regions.csv").unlink()
    path.write_text(path.read_text().replace("TTTTT", "TTTTA"))
    with pytest.raises(InputError, match="changed while it was read"):
        write_results(plan, SETTINGS, path, tmp_path)
    assert not (tmp_path / "regions.csv").exists()


def test_ranks_go_by_mean_then_summit_then_length_then_place() -> None:
    regions = CalledRegions()
    rows = [
        Region("a", 0, 5, 0.5, 0.6, 1),
        Region("a", 10, 15, 0.7, 0.9, 11),
        Region("b", 0, 5, 0.5, 0.8, 1),
        Region("b", 10, 20, 0.5, 0.6, 11),
        Region("b", 30, 35, 0.5, 0.6, 31),
    ]
    for row in rows:
        regions.add(row)
    assert list(regions) == rows
    assert len(regions) == 5
    assert {name: list(own) for name, own in regions.rows_of.items()} == {
        "a": [0, 1],
        "b": [2, 3, 4],
    }
    assert regions.ranks().tolist() == [4, 1, 2, 3, 5]
    assert np.array_equal(CalledRegions().ranks(), [])
