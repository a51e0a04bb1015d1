"""A signal of the user decides which tracts are labelled: jobs that read it, and what they refuse.

On the simulated genome only the tracts of open DNA are labelled, and the track alone says where DNA
is open: elsewhere it is open too, without a tract.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest
from numpy.typing import NDArray

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, sha256_file
from hyena_ray.genome.contigs import Fasta
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.predictor import probabilities
from hyena_ray.model.saved import load_window_model
from hyena_ray.training.held_out import StretchSource
from tests.binary_files import Item, bigbed_bytes
from tests.command_line import run_job
from tests.conftest import Once
from tests.genome.bigwigs import write_bigwig

AROUND = 60
"""Bases of open DNA on each side of a labelled tract."""
CUT = ["--lengths", "40", "--stretch", "80", "--flank", "24"]
SMALL = {
    "data.length": 40,
    "readout.flank": 16,
    "training.epochs": 1,
    "model.architecture": "dilated_cnn",
    "model.channels": 8,
}


def simulate(folder: Path) -> None:
    """Make `genome.fa`, `open.bed` with the labelled half of the tracts, and the track."""
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    rng = np.random.default_rng(7)
    values = {c.name: np.zeros(len(c.codes), np.float32) for c in Fasta(made.genome)}
    rows = [line.split("\t")[:3] for line in made.regions.read_text().splitlines()]
    labelled = [
        row for row, is_open in zip(rows, rng.random(len(rows)) < 0.5, strict=True) if is_open
    ]
    for contig, start, end in labelled:
        values[contig][max(0, int(start) - AROUND) : int(end) + AROUND] = rng.uniform(3, 9)
    for signal in values.values():
        for start in rng.integers(0, len(signal) - 200, 40):
            signal[start : start + 150] = rng.uniform(3, 9)
    for contig, start, end in rows:
        if [contig, start, end] not in labelled:
            values[contig][max(0, int(start) - 20) : int(end) + 20] = 0
    (folder / "open.bed").write_text("".join("\t".join(row) + "\n" for row in labelled))
    write_bigwig(folder / "dnase.bw", values)
    given = ["--genome", folder / "genome.fa", "--regions", folder / "open.bed", *CUT]
    track = ["--track", f"dnase={folder / 'dnase.bw'}"]
    run_job("prepare", "zdna", *given, *track, "--out", folder / "data")
    run_job("prepare", "zdna", *given, "--out", folder / "plain")
    run_job("train", "--data", folder / "data", "--out", folder / "run", *changes(SMALL, "dnase"))


def changes(values: dict[str, Any], *tracks: str, **more: object) -> list[str]:
    given = values | more
    if tracks:
        given["readout.tracks"] = list(tracks)
    return [f"--set={key}={json.dumps(value)}" for key, value in given.items()]


@pytest.fixture(scope="module")
def lab(once: Once) -> Path:
    """`genome.fa`, `open.bed`, `dnase.bw`, data with and without the track, and `run/model`."""
    return once("signal_tracks", simulate)


def values_of(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the values of every contig of a bigWig file."""
    with pyBigWig.open(str(path)) as stored:
        return {name: stored.values(name, 0, n, numpy=True) for name, n in stored.chroms().items()}


def refusal(*words: object) -> str:
    """Return the one line of a job that refuses its input."""
    with pytest.raises(InputError) as error:
        run_job(*words)
    assert len(error.value.lines) == 1, error.value.lines
    return str(error.value)


def test_a_prediction_of_the_genome_is_that_of_the_prepared_windows(
    lab: Path, cluster: object, tmp_path: Path
) -> None:
    out, track = tmp_path / "out", f"dnase={lab / 'dnase.bw'}"
    given = ["--model", lab / "run/model", "--genome", lab / "genome.fa", "--out", out]
    # Windows side by side, as stretches are read.
    outcome = run_job("predict", *given, "--track", track, "--overlap", 0, "--cpu", 0.5)
    sha256 = sha256_file(lab / "dnase.bw")
    assert sha256 in (out / "plan.json").read_text()
    assert "dnase.bw" in (out / "provenance.json").read_text()
    assert outcome.found["bases"] == 240_000
    model, data = load_window_model(lab / "run/model"), PreparedData.open(lab / "data")
    stretches = data.read_held_out("test")
    batches = StretchSource(stretches, 40).batches(64, epoch=None, seed=0)
    parts = [probabilities(model, batch.tokens()).numpy() for batch in batches]
    scores = np.concatenate(parts).reshape(len(stretches.start), 80)
    assert scores.std() > 0.01
    with pyBigWig.open(str(out / "probabilities.bw")) as stored:
        for contig, start, row in zip(
            stretches.contig.tolist(), stretches.start.tolist(), scores, strict=True
        ):
            found = stored.values(contig, start, start + 80, numpy=True)
            known = ~np.isnan(found)
            np.testing.assert_allclose(found[known], row[known], atol=1.01e-4)


def test_a_scan_is_scored_with_the_track(lab: Path) -> None:
    given = ["--model", lab / "run/model", "--genome", lab / "genome.fa"]
    given += ["--regions", lab / "open.bed", "--contigs", "sim4"]
    outcome = run_job("evaluate", *given, "--track", f"dnase={lab / 'dnase.bw'}")
    assert outcome.found["split"] == "regions"


def test_windows_that_are_streamed_have_the_track_too(
    lab: Path, cluster: object, tmp_path: Path
) -> None:
    given = ["train", "--data", lab / "data"]
    streamed = changes(SMALL, "dnase", **{"data.feed": "stream"})
    run_job(*given, "--out", tmp_path / "streamed", *streamed)
    # Windows come in another order.
    shared, other = (read_json(f / "history.json") for f in (lab / "run", tmp_path / "streamed"))
    assert other[0]["train_loss"] == pytest.approx(shared[0]["train_loss"], rel=0.1)
    read, expected = (
        load_window_model(folder / "model").readout
        for folder in (tmp_path / "streamed", lab / "run")
    )
    assert read == expected


def test_the_true_positives_are_attributed_with_a_share_of_the_track(
    lab: Path, cluster: object, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    run_job("threshold", "--model", lab / "run/model", "--threshold", "0.0", "--out", copy)
    given = ["--model", copy, "--data", lab / "data", "--out", tmp_path / "out", "--methods", "ig"]
    outcome = run_job("attribute", *given, "--limit", "20", "--cpu", "0.5")
    assert "are those of the tracks" in outcome.text


def test_a_dry_run_tells_the_tracks(lab: Path, cluster: object, tmp_path: Path) -> None:
    track = ["--track", f"dnase={lab / 'dnase.bw'}"]
    given = ["--model", lab / "run/model", "--genome", lab / "genome.fa", "--out", tmp_path / "out"]
    outcome = run_job("predict", *given, *track, "--dry-run")
    assert f"dnase from {lab / 'dnase.bw'}" in outcome.text
    given = ["--genome", lab / "genome.fa", "--regions", lab / "open.bed", *CUT]
    outcome = run_job("prepare", "zdna", *given, *track, "--out", tmp_path / "out", "--dry-run")
    assert "track dnase (dnase.bw): bases with a value" in outcome.text


def test_a_resumed_prediction_has_the_content_of_its_track(
    lab: Path, cluster: object, tmp_path: Path
) -> None:
    contig = ["--contigs", "sim4", "--cpu", "0.5"]
    given = ["--model", lab / "run/model", "--genome", lab / "genome.fa", *contig]
    given += ["--out", tmp_path / "out", "--track", f"dnase={tmp_path / 'dnase.bw'}"]
    shutil.copy(lab / "dnase.bw", tmp_path / "dnase.bw")
    run_job("predict", *given)
    with pyBigWig.open(str(lab / "dnase.bw")) as stored:
        values = {
            name: stored.values(name, 0, n, numpy=True) for name, n in stored.chroms().items()
        }
    write_bigwig(tmp_path / "dnase.bw", {name: 2 * own for name, own in values.items()})
    assert "tracks" in refusal("predict", *given, "--resume")


def test_jobs_refuse_a_model_and_tracks_that_do_not_go_together(lab: Path, tmp_path: Path) -> None:
    model, out = lab / "run/model", tmp_path / "out"
    dnase, pol2 = f"dnase={lab / 'dnase.bw'}", f"pol2={lab / 'dnase.bw'}"
    predict = ["predict", "--model", model, "--genome", lab / "genome.fa", "--out", out]
    regions = ["evaluate", "--model", model, "--genome", lab / "genome.fa"]
    regions += ["--regions", lab / "open.bed", "--contigs", "sim4"]
    values = np.random.default_rng(0).random(60_000)
    short = write_bigwig(tmp_path / "short.bw", {"sim4": values[:-9]})
    other = write_bigwig(tmp_path / "other.bw", {"sim1": values})
    for job in (predict, regions):
        assert "reads dnase, which is not given" in refusal(*job)
        found = refusal(*job, "--track", dnase, "--track", pol2)
        assert "pol2: the model does not read" in found
        one = [*job] if job is regions else [*job, "--contigs", "sim4"]
        found = refusal(*one, "--track", f"dnase={short}")
        assert "59,991 bases in it, and 60,000 in the genome" in found
        assert "has no contig sim4" in refusal(*one, "--track", f"dnase={other}")
        assert "given twice" in refusal(*job, "--track", dnase, "--track", dnase)
    for name in ("evaluate", "attribute", "sanity"):
        given = [name, "--model", model, "--data", lab / "plain"]
        given += [] if name == "evaluate" else ["--out", out]
        found = refusal(*given)
        assert "reads the track dnase" in found
        assert "no tracks" in found
    found = refusal("evaluate", "--model", model, "--data", lab / "data", "--track", dnase)
    assert "is of --regions" in found
    train = ["train", "--data", lab / "plain", "--out", out]
    assert "readout.tracks: dnase" in refusal(*train, *changes(SMALL, "dnase"))
    found = refusal("train", "--data", lab / "data", "--out", out, *changes(SMALL, "dnas"))
    assert "did you mean dnase" in found
    trees = {"data.length": 40, "readout.flank": 8, "model.architecture": "trees"}
    train = ["train", "--data", lab / "data", "--out", out]
    assert "trees has nothing of the kind" in refusal(*train, *changes(trees, "dnase", "zhunt"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("track", "problem"),
    [
        ("dnase", "is not NAME=FILE"),
        ("DNase=dnase.bw", "is not NAME=FILE"),
        ("zhunt=dnase.bw", "measured from the letters"),
        ("dnase=missing.bw", "no such file"),
        ("dnase=https://example.org/dnase.bw", "is not a place"),
        ("dnase=regions.bb", "is bigBed, not bigWig"),
        ("dnase=open.bed", "is text, not bigWig"),
        ("dnase=nan.bw", "NaN or infinite"),
        ("dnase=constant.bw", "is about 2 everywhere"),
        ("dnase=empty.bw", "has no value"),
        ("dnase=one.bw", "has no contig sim"),
        ("dnase=short.bw", "59,999 bases in it, and 60,000 in the genome"),
    ],
)
def test_a_track_that_cannot_be_prepared_is_refused(
    lab: Path, track: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = values_of(lab / "dnase.bw")
    shutil.copy(lab / "open.bed", "open.bed")
    shutil.copy(lab / "dnase.bw", "dnase.bw")
    Path("regions.bb").write_bytes(bigbed_bytes([Item("sim1", 5, 9, "")], {"sim1": 60_000}))
    file = pyBigWig.open("nan.bw", "w")
    file.addHeader([("sim1", 60_000)])
    file.addEntries(["sim1", "sim1"], [0, 10], ends=[5, 20], values=[1.0, float("nan")])
    file.close()
    write_bigwig(Path("constant.bw"), {name: np.full(len(v), 2) for name, v in values.items()})
    write_bigwig(Path("empty.bw"), {name: np.full(len(v), np.nan) for name, v in values.items()})
    write_bigwig(Path("one.bw"), {"sim1": values["sim1"]})
    write_bigwig(Path("short.bw"), values | {"sim4": values["sim4"][1:]})
    before = sorted(tmp_path.iterdir())
    given = ["--genome", lab / "genome.fa", "--regions", lab / "open.bed", *CUT]
    found = refusal("prepare", "zdna", *given, "--track", track, "--out", "out")
    assert problem in found
    assert sorted(tmp_path.iterdir()) == before


def test_sequences_have_no_tracks(tmp_path: Path) -> None:
    files = []
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("sequence,label\nACGT,0\nACGA,1\n")
        files += [f"--{split}", tmp_path / f"{split}.csv"]
    given = ["prepare", "promoter", *files, "--out", tmp_path / "out"]
    assert "unknown option" in refusal(*given, "--track=dnase=dnase.bw")


def test_data_of_another_scale_are_refused(lab: Path, tmp_path: Path) -> None:
    with pyBigWig.open(str(lab / "dnase.bw")) as stored:
        values = {
            name: stored.values(name, 0, n, numpy=True) for name, n in stored.chroms().items()
        }
    path = write_bigwig(tmp_path / "dnase.bw", {name: v + 1 for name, v in values.items()})
    given = ["--genome", lab / "genome.fa", "--regions", lab / "open.bed", *CUT]
    run_job("prepare", "zdna", *given, "--track", f"dnase={path}", "--out", tmp_path / "data")
    found = refusal("evaluate", "--model", lab / "run/model", "--data", tmp_path / "data")
    assert "dnase with another scale" in found


def test_a_training_is_resumed_with_the_tracks_that_it_began_with(
    lab: Path, tmp_path: Path
) -> None:
    given = ["train", "--data", lab / "data", "--out", tmp_path / "run"]
    run_job(*given, *changes(SMALL, "dnase"))
    run_job(*given, *changes(SMALL, "dnase"), "--resume")
    given[2] = lab / "plain"
    refusal(*given, *changes(SMALL), "--resume")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["dilated_cnn", "hyenadna", "trees"])
def test_a_model_with_the_track_knows_which_tracts_are_labelled(
    lab: Path, architecture: str, tmp_path: Path
) -> None:
    sizes = {
        "dilated_cnn": {"model.channels": 16, "training.epochs": 12},
        "hyenadna": {"model.d_model": 32, "readout.lookahead": 16, "training.epochs": 6},
        "trees": {"readout.flank": 24},
    }
    base = {"data.length": 40, "readout.flank": 16, "model.architecture": architecture}
    if architecture != "trees":
        base["training.learning_rate"] = 3e-3
    found = {}
    for name, tracks in (("with", ["dnase"]), ("without", [])):
        given = changes(base | sizes[architecture], *tracks)
        out = tmp_path / name
        run_job("train", "--data", lab / "data", "--out", out, "--test", *given)
        found[name] = read_json(out / "manifest.json")["test"]["average_precision"]
    assert found["with"] > found["without"] + 0.15, found
