"""`prepare` says which edges of regions are shifted, moves them on request, and every figure says
which labels it is of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import SimulatedGenome, simulate_genome
from hyena_ray.report._page import Figure
from hyena_ray.report.contents import read_contents
from hyena_ray.report.sections import page_of
from tests.command_line import run_command

GIVEN = "prepare zdna --genome genome.fa --regions shifted.bed --lengths 50 --flank 5"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    folder = tmp_path_factory.mktemp("regions")
    return simulate_genome(folder, contigs=3, contig_length=30_000, tracts=240, decoys=90)


@pytest.fixture(autouse=True)
def folder(made: SimulatedGenome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the genome, and its regions with starts 2 bases early and ends 1 base late."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genome.fa").symlink_to(made.genome)
    rows = [line.split("\t") for line in made.regions.read_text().splitlines()]
    (tmp_path / "shifted.bed").write_text(
        "".join(f"{name}\t{int(start) - 2}\t{int(end) + 1}\n" for name, start, end in rows)
    )
    return tmp_path


def options_advised(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Options that the one warning about the regions names; none without such a warning."""
    lines = [text for text in caplog.messages if text.startswith("shifted.bed looks")]
    caplog.clear()
    assert len(lines) <= 1
    return re.findall(r"--move-\w+ -?[0-9]+", "".join(lines))


@pytest.mark.parametrize("more", ["--out data", "--out data --dry-run"])
def test_the_warning_has_the_options_that_restore_the_edges(
    more: str, caplog: pytest.LogCaptureFixture
) -> None:
    done = run_command(f"{GIVEN} {more} --json")
    assert json.loads(done.stdout)["found"]["regions"]["shifts"] == [2, -1]
    options = options_advised(caplog)
    assert options == ["--move-start 2", "--move-end -1"]
    restored = run_command(f"{GIVEN} {' '.join(options)} {more} --overwrite --json")
    assert json.loads(restored.stdout)["found"]["regions"]["shifts"] == [0, 0]
    assert options_advised(caplog) == []


def test_moved_regions_give_the_windows_of_regions_with_these_edges(made: SimulatedGenome) -> None:
    assert run_command(f"{GIVEN} --move-start 2 --move-end -1 --out moved").code == 0
    planted = GIVEN.replace("shifted.bed", str(made.regions))
    assert run_command(f"{planted} --out planted").code == 0
    moved, right = (PreparedData.open(Path(name)) for name in ("moved", "planted"))
    assert (moved.read(50, "train").labels == right.read(50, "train").labels).all()
    assert moved.manifest.regions == right.manifest.regions
    # Not the same run: its regions are of another file, and were moved.
    assert moved.manifest.fingerprint != right.manifest.fingerprint


def test_a_move_too_far_is_advised_back(caplog: pytest.LogCaptureFixture) -> None:
    assert run_command(f"{GIVEN} --move-start 3 --move-end -3 --out data").code == 0
    assert options_advised(caplog) == ["--move-start 2", "--move-end -1"]


def test_labels_are_named_by_file_hash_and_moves() -> None:
    assert run_command(f"{GIVEN} --move-end -1 --out moved").code == 0
    assert run_command(f"{GIVEN} --out plain").code == 0
    moved, plain = (Manifest.read(Path(name)) for name in ("moved", "plain"))
    (regions,) = (file for file in plain.inputs if file.role == "regions")
    for manifest in (moved, plain):
        assert "shifted.bed" in manifest.label_source
        assert regions.sha256[:8] in manifest.label_source
        assert "genome.fa" not in manifest.label_source
    assert moved.label_source != plain.label_source
    assert moved.fingerprint != plain.fingerprint


def test_the_page_of_prepared_data_warns_and_shows_the_edges() -> None:
    assert run_command(f"{GIVEN} --out data").code == 0
    page = page_of(read_contents(Path("data")))
    assert any("--move-start 2 --move-end -1" in warning for warning in page.warnings)
    (windows,) = (section for section in page.sections if section.name == "windows")
    (edges,) = (b for b in windows.blocks if isinstance(b, Figure) and b.name == "edges")
    assert edges.table is not None
    assert {(row[0], row[1]) for row in edges.table.rows} == {
        (structure, edge)
        for structure in ("a tract of Z-HUNT", "an alternation of purines and pyrimidines")
        for edge in ("start", "end")
    }


def test_sequences_have_no_shape_and_name_their_files(folder: Path) -> None:
    for split, row in (("train", "AAAA,0"), ("val", "CCCC,0"), ("test", "TTTT,0")):
        letters = {"train": "ACGT", "val": "AGGT", "test": "GTGT"}[split]
        (folder / f"{split}.csv").write_text(f"sequence,label\n{letters},1\n{row}\n")
    files = "--train train.csv --val val.csv --test test.csv"
    done = run_command(f"prepare promoter {files} --out data --json")
    assert json.loads(done.stdout)["found"]["regions"] is None
    manifest = Manifest.read(Path("data"))
    assert manifest.label_warnings() == []
    assert all(name in manifest.label_source for name in ("train.csv", "val.csv", "test.csv"))


@pytest.mark.parametrize(
    ("moves", "place"),
    [
        ("--move-start 40", "shifted.bed:1"),
        ("--move-end -40", "shifted.bed:1"),
        ("--move-start -600", "shifted.bed:1"),
        ("--move-end 30000", "shifted.bed:"),
        ("--move-end 1.5", "--move-end"),
    ],
)
def test_moves_that_leave_no_region_are_refused_in_one_line(
    folder: Path, moves: str, place: str
) -> None:
    before = sorted(folder.iterdir())
    done = run_command(f"{GIVEN} {moves} --out data")
    assert (done.code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert place in line
    assert sorted(folder.iterdir()) == before


def test_lengths_and_profile_are_printed_and_an_evaluation_names_its_labels() -> None:
    done = run_command(f"{GIVEN} --out data")
    assert "240 regions of 15 to 33 bases" in done.stdout
    assert "a tract of Z-HUNT" in done.stdout
    settings = (
        *("model.architecture=kmer_logistic", "training.epochs=1", "data.length=50"),
        "readout.flank=5",
    )
    given = " ".join(f"--set {setting}" for setting in settings)
    trained = run_command(f"train --data data --out run --test {given}")
    assert trained.code == 0, trained.stderr
    label_source = Manifest.read(Path("data")).label_source
    files = list(Path("run").rglob("evaluation.json"))
    assert files
    for path in files:
        assert json.loads(path.read_text())["label_source"] == label_source
    (card,) = Path("run").rglob("README.md")
    assert label_source in card.read_text()
