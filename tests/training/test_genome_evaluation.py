"""A genome that is scored in pieces has the figures of the same stretches prepared at once."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hyena_ray.dataset import genome_scan, genome_windows
from hyena_ray.dataset.genome_scan import GenomeScan
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.genome.contig_batch import batched
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.tasks import TASKS
from hyena_ray.training import genome_evaluation
from hyena_ray.training.evaluation import Evaluation, evaluate_on_split
from hyena_ray.training.genome_evaluation import choose_contigs, evaluate_on_genome
from tests.training.test_evaluation import WEIGHTS, WINDOW, PurineSteps

STRETCH, FLANK = 250, 64


class FineSteps(PurineSteps):
    """Purine steps with a little of the composition around a base, so that few scores are equal.

    Runs of calls are joined and left out, so that a region may go on from one part to the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calibration = BetaCalibration(above=0.7, below=1.2, offset=-1.0)
        self.regions = RegionSettings(threshold=self.threshold, min_length=6, merge_gap=4)

    def predict(self, tokens: Tensor) -> Tensor:
        logits = super().predict(tokens)
        codes, spread = tokens[:, None].float(), (tokens.shape[1] - WINDOW) // 2
        around = sum(
            share * nn.functional.avg_pool1d(codes, width, 1, width // 2)
            for width, share in ((15, 0.1), (31, 0.0317))
        )
        return logits + torch.stack([0 * around, around], -1)[:, 0, spread : spread + WINDOW]


TESTED = ("sim2", "sim3")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Three contigs, the last two of which are scanned as test data."""
    folder = tmp_path_factory.mktemp("scan")
    made = simulate_genome(folder, contigs=3, contig_length=60_000, tracts=120, decoys=120)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        stretch=STRETCH,
        flank=FLANK,
        split=f"contig:train=sim1;test={','.join(TESTED)}",
        scan=True,
    )
    prepare(settings, folder / "data")
    return PreparedData.open(folder / "data")


def survey(prepared: PreparedData) -> GenomeScan:
    folder = prepared.folder.parent
    regions = read_regions(folder / "regions.bed")
    return GenomeScan.survey(folder / "genome.fa", regions, stretch=STRETCH)


@pytest.fixture(scope="module")
def from_data(prepared: PreparedData) -> Evaluation:
    return evaluate_on_split(FineSteps(), prepared, "test", WEIGHTS)


@pytest.mark.parametrize("read", [1 << 20, 3 * STRETCH])
def test_the_figures_are_those_of_prepared_stretches(
    prepared: PreparedData,
    from_data: Evaluation,
    read: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(genome_scan, "READ", read)
    scan = survey(prepared).only(TESTED)
    found = evaluate_on_genome(FineSteps(), scan, TASKS["zdna"], WEIGHTS)
    assert from_data.whole
    for name in ("task", "rows", "labels", "bases", "whole", "contigs", "blocks", "prevalence"):
        assert getattr(found, name) == getattr(from_data, name), name
    assert found.label_source == from_data.label_source
    assert found.metrics._asdict() == pytest.approx(from_data.metrics._asdict(), rel=1e-5)
    for name, interval in from_data.intervals.items():
        assert found.intervals[name] == pytest.approx(interval, rel=1e-6), name
    assert found.regions == from_data.regions
    assert found.errors == from_data.errors
    assert found.regions is not None
    assert found.errors is not None
    missed = sum(kind.runs for kind in found.errors.missed[1:])
    assert missed == found.regions.regions - found.regions.found
    assert found.tracts == from_data.tracts
    assert found.curve == from_data.curve
    assert found.calibration.brier == pytest.approx(from_data.calibration.brier)
    for name in ("curve", "top"):
        mine, theirs = (getattr(each.calibration, name) for each in (found, from_data))
        assert mine.labels == theirs.labels, name
        assert mine.observed == pytest.approx(theirs.observed), name
    for mine, theirs in zip(found.by_contig, from_data.by_contig, strict=True):
        assert (mine.contig, mine.regions) == (theirs.contig, theirs.regions)
        assert mine.metrics.f1 == pytest.approx(theirs.metrics.f1)
    assert found.tiles is None
    # What was planted is enriched in what alternates.
    assert len(found.enrichment) == 3
    for enrichment in found.enrichment:
        assert enrichment.interval.low > 2
        assert enrichment.p_value == 0.001
    percent, permille = (each.called for each in found.enrichment[1:])
    assert 0.005 < percent <= 0.01
    assert 0.0005 < permille <= 0.001


def test_an_evaluation_of_a_genome_can_be_read_and_shown(
    prepared: PreparedData, tmp_path: Path
) -> None:
    found = evaluate_on_genome(FineSteps(), survey(prepared).only(TESTED), TASKS["zdna"], WEIGHTS)
    found.write(tmp_path)
    assert Evaluation.read(tmp_path / "evaluation.json") == found._replace(drawn=None)
    text = found.table()
    assert "enrichment" in text
    assert "unlabelled tract" in text


def test_contigs_that_the_model_has_seen_are_left_out(prepared: PreparedData) -> None:
    scan, origin = survey(prepared), Origin.from_data(prepared)
    chosen, seen = choose_contigs(scan, None, [origin])
    assert (tuple(chosen.contigs), seen) == (TESTED, ())
    chosen, seen = choose_contigs(scan, ["sim1", "sim3"], [origin])
    assert (tuple(chosen.contigs), seen) == (("sim1", "sim3"), ("sim1 (trained on)",))
    with pytest.raises(InputError, match="sim33"):
        choose_contigs(scan, ["sim33"], [origin])


def test_a_contig_of_the_same_name_and_another_length_may_be_another_one(
    prepared: PreparedData, caplog: pytest.LogCaptureFixture
) -> None:
    scan, origin = survey(prepared), Origin.from_data(prepared)
    manifest = origin.manifest
    contigs = tuple(
        entry.model_copy(update={"length": entry.length + 1}) for entry in manifest.contigs
    )
    other = origin.model_copy(update={"manifest": manifest.model_copy(update={"contigs": contigs})})
    chosen, seen = choose_contigs(scan, None, [other])
    assert (tuple(chosen.contigs), seen) == (("sim1", *TESTED), ())
    assert "sim1" in caplog.text
    # What one member of an ensemble has seen, the ensemble has seen.
    assert tuple(choose_contigs(scan, None, [other, origin])[0].contigs) == TESTED


def test_regions_of_another_assembly_are_refused(prepared: PreparedData, tmp_path: Path) -> None:
    genome = prepared.folder.parent / "genome.fa"
    for row, named in {"sim9\t1\t9\n": "sim9", "sim2\t59990\t60010\n": "60010"}.items():
        (tmp_path / "other.bed").write_text(row)
        with pytest.raises(InputError, match=named):
            GenomeScan.survey(genome, read_regions(tmp_path / "other.bed"))
    (tmp_path / "other.bed").write_text("sim2\t100\t120\n")
    scan = GenomeScan.survey(genome, read_regions(tmp_path / "other.bed"))
    with pytest.raises(InputError, match="no base"):
        scan.only(["sim3"])


def test_memory_is_not_set_by_the_length_of_the_genome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genome_scan, "READ", 20 * STRETCH)
    monkeypatch.setattr(genome_windows, "batched", partial(batched, bases=1))
    monkeypatch.setattr(genome_evaluation, "TABLE_ROWS", 5_000)
    rng = np.random.default_rng(0)
    peaks = []
    for count in (2, 16):
        folder = tmp_path / str(count)
        folder.mkdir()
        with (folder / "genome.fa").open("w") as file:
            for contig in range(count):
                file.write(f">c{contig}\n{''.join(rng.choice(list('ACGT'), 40_000))}\n")
        (folder / "regions.bed").write_text("c0\t100\t160\nc1\t5000\t5060\n")
        regions = read_regions(folder / "regions.bed")
        scan = GenomeScan.survey(folder / "genome.fa", regions, stretch=STRETCH)
        scan = scan.only(list(scan.contigs))
        # What the first call alone imports, and scores of the windows that Z-HUNT has not met.
        evaluate_on_genome(FineSteps(), scan, TASKS["zdna"], WEIGHTS)
        tracemalloc.start()
        evaluate_on_genome(FineSteps(), scan, TASKS["zdna"], WEIGHTS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Eight times the genome. What grows are the called runs, and the parts, which are tiny here.
    assert peaks[1] < 2 * peaks[0]
