"""evaluate on regions of their own, and models that are scored and predict together."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training.evaluation import Evaluation
from tests.command_line import run_job
from tests.jobs.kmer_runs import KMER_RUN, set_options

CHANGES = {
    "first": {},
    "second": {"model.k": 4, "readout.flank": 4, "data.length": 100},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome, `data/`, and two small models of other windows: `first/` and `second/`."""
    folder = tmp_path_factory.mktemp("ensemble")
    made = simulate_genome(folder, contigs=4, contig_length=30_000, tracts=160, decoys=60)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40, 100),
        stretch=200,
        flank=8,
        split="contig:train=sim1;val=sim2;test=sim3",
    )
    prepare(settings, folder / "data")
    for name, changes in CHANGES.items():
        words = set_options(KMER_RUN | changes)
        run_job("train", "--data", folder / "data", "--out", folder / name, *words)
    return folder


def models(folder: Path) -> str:
    return f"{folder / 'first' / 'model'},{folder / 'second' / 'model'}"


def test_regions_are_scored_on_the_contigs_that_the_model_has_not_seen(
    folder: Path, tmp_path: Path
) -> None:
    command = ["evaluate", "--model", folder / "first" / "model", "--genome", folder / "genome.fa"]
    command += ["--regions", folder / "regions.bed"]
    before = sorted(folder.rglob("*"))
    outcome = run_job(*command, "--out", tmp_path / "out")
    assert sorted(folder.rglob("*")) == before, "nothing is left behind"
    found = Evaluation.read(tmp_path / "out" / "evaluation.json")
    assert found.contigs == ("sim3", "sim4")
    assert found.seen == ()
    assert found.enrichment[0].p_value == 0.001
    assert found.enrichment[0].interval.low > 1
    assert "enrichment" in outcome.text
    assert "false calls, in runs" in outcome.text
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Enrichment" in page
    assert "unlabelled tract" in page
    plan = read_json(tmp_path / "out" / "plan.json")["plan"]
    assert plan["scan"]["contigs"] == ["sim3", "sim4"]
    run_job("verify", tmp_path / "out")
    # One that is named is scored, and the flattery is told.
    seen = run_job(*command, "--contigs", "sim1,sim3")
    assert seen.found["contigs"] == ["sim1", "sim3"]
    assert seen.found["seen"] == ["sim1 (trained on)"]


def test_regions_that_the_model_has_seen_whole_are_refused(folder: Path, tmp_path: Path) -> None:
    genome = (folder / "genome.fa").read_text().split(">")
    (tmp_path / "genome.fa").write_text(">" + ">".join(genome[1:3]))
    rows = (folder / "regions.bed").read_text().splitlines(keepends=True)
    kept = [row for row in rows if row.split()[0] in ("sim1", "sim2")]
    (tmp_path / "regions.bed").write_text("".join(kept))
    with pytest.raises(InputError, match="sim1"):
        run_job(
            *("evaluate", "--model", folder / "first" / "model"),
            *("--genome", tmp_path / "genome.fa", "--regions", tmp_path / "regions.bed"),
        )


def test_an_ensemble_is_scored_at_a_threshold_that_validation_chooses(
    folder: Path, tmp_path: Path
) -> None:
    data = folder / "data"
    both = ["evaluate", "--model", models(folder), "--data", data]
    run_job(*both, "--out", tmp_path / "test")
    on_validation = run_job(*both, "--split", "val")
    found = Evaluation.read(tmp_path / "test" / "evaluation.json")
    threshold = on_validation.found["metrics"]["threshold"]
    assert found.metrics.threshold == threshold
    assert found.tiles is not None
    plan = read_json(tmp_path / "test" / "plan.json")["plan"]
    assert len(plan["model"].split(",")) == 2
    alone = [
        run_job("evaluate", "--model", folder / name / "model", "--data", data).found
        for name in CHANGES
    ]
    worst = min(one["metrics"]["average_precision"] for one in alone)
    assert found.metrics.average_precision > worst
    given = run_job(*both, "--threshold", "0.25").found
    assert given["metrics"]["threshold"] == 0.25
    on_regions = run_job(
        *("evaluate", "--model", models(folder), "--threshold", threshold),
        *("--genome", folder / "genome.fa", "--regions", folder / "regions.bed"),
    )
    assert on_regions.found["contigs"] == ["sim3", "sim4"]


@pytest.mark.slow
def test_an_ensemble_predicts_the_mean_of_its_members(
    folder: Path, tmp_path: Path, cluster: object
) -> None:
    alone = {"model": KMER_RUN | {"model.k": 4}}
    words = [f"--set={key}={value}" for key, value in alone["model"].items()]
    run_job("train", "--data", folder / "data", "--out", tmp_path / "third", *words)
    first, third = folder / "first" / "model", tmp_path / "third" / "model"
    for name, given in {"a": first, "b": third, "both": f"{first},{third}"}.items():
        run_job(
            *("predict", "--model", given, "--genome", folder / "genome.fa"),
            *("--contigs", "sim4", "--threshold", "0.5", "--out", tmp_path / name),
        )
    tracks = {}
    for name in ("a", "b", "both"):
        with pyBigWig.open(str(tmp_path / name / "probabilities.bw")) as track:
            tracks[name] = np.nan_to_num(track.values("sim4", 0, 30_000, numpy=True))
    np.testing.assert_allclose(tracks["both"], (tracks["a"] + tracks["b"]) / 2, atol=2e-4)
    assert read_json(tmp_path / "both" / "manifest.json")["expected"] is None
    # The same models in another order are the same run.
    resumed = run_job(
        *("predict", "--model", f"{third},{first}", "--genome", folder / "genome.fa"),
        *("--contigs", "sim4", "--threshold", "0.6", "--out", tmp_path / "both", "--resume"),
    )
    assert resumed.found["threshold"] == 0.6


@pytest.mark.slow
def test_peaks_of_another_experiment_are_scored_on_a_real_contig(
    folder: Path, tmp_path: Path
) -> None:
    shared = os.environ.get("HYENA_RAY_SHARED")
    if shared is None:
        pytest.skip("HYENA_RAY_SHARED is not set: no real genome")
    part = Path(shared) / "data" / "hg19_part"
    peaks = part / "zdna_chipseq.bed"
    found = run_job(
        *("evaluate", "--model", folder / "first" / "model", "--regions", peaks),
        *("--genome", part / "genome.fa.gz", "--contigs", "chr14"),
        *("--blacklist", part / "blacklist.bed"),
    ).found
    assert found["contigs"] == ["chr14"]
    assert not found["simulated"]
    assert found["regions"]["regions"] == 2
    for enrichment in found["enrichment"]:
        assert 0 < enrichment["p_value"] <= 1
    with pytest.raises(InputError, match="chr14"):
        run_job(
            *("evaluate", "--model", folder / "first" / "model", "--regions", peaks),
            *("--genome", folder / "genome.fa"),
        )
