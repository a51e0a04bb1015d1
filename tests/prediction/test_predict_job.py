"""The prediction job gives one result through any number of actors and any death."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyBigWig
import pytest

from hyena_ray.cluster.resources import Cluster
from hyena_ray.errors import InputError, JobError
from hyena_ray.files import read_json, write_json
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.outcomes import Outcome
from hyena_ray.prediction import pieces as module
from hyena_ray.prediction import results
from hyena_ray.prediction.expected_precision import (
    ExpectedPrecision,
    expected_precision,
    reach_precision,
)
from hyena_ray.tasks import TASKS
from hyena_ray.training.bootstrap import Interval
from hyena_ray.training.evaluation import Evaluation, TileScores
from hyena_ray.training.metrics import Metrics, RegionScores
from hyena_ray.training.precision_recall import PrecisionRecall
from hyena_ray.training.reliability import Calibration, Reliability
from tests.command_line import run_job
from tests.prediction.pattern_model import save_pattern_model

CONTIGS = 6


@pytest.fixture(scope="module", autouse=True)
def a_piece_for_each_contig() -> Iterator[None]:
    """By default, the small contigs of these tests would be one piece, for one actor."""
    with pytest.MonkeyPatch.context() as patch:
        defaults = module.plan_prediction.__kwdefaults__
        patch.setitem(defaults, "piece", 3_000)
        yield


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/` of the pattern, `promoter/`, and `genome.fa` of six contigs, each a piece."""
    folder = tmp_path_factory.mktemp("predict")
    save_pattern_model(folder / "run" / "model")
    promoter = build_model(
        ModelSettings(d_model=8, n_layer=1),
        Readout(window=20, flank=0, lookahead=0),
        LoraSettings(),
        TASKS["promoter"],
        seed=0,
    )
    save_window_model(promoter, folder / "promoter")
    rng = np.random.default_rng(0)
    with (folder / "genome.fa").open("w") as stream:
        for number in range(CONTIGS):
            stream.write(f">c{number}\n{''.join(rng.choice(list('ACGT'), 3_000))}\n")
    return folder


def job(inputs: Path, out: Path, *more: str) -> Outcome:
    """Run it; of an option that is given twice the later one counts."""
    given = ["--model", f"{inputs}/run/model", "--genome", f"{inputs}/genome.fa"]
    given += ["--out", str(out), "--cpu", "0.5", *more]
    return run_job("predict", *given)


@pytest.fixture(scope="module")
def calm(
    inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, Path]:
    out = tmp_path_factory.mktemp("calm") / "out"
    return job(inputs, out, "--actors", "1"), out


def test_the_job_leaves_track_regions_and_a_manifest_and_says_so(
    calm: tuple[Outcome, Path],
) -> None:
    outcome, out = calm
    assert {path.name for path in out.iterdir()} == {
        ".lock",
        "manifest.json",
        "plan.json",
        "provenance.json",
        "report.html",
        "probabilities.bw",
        "regions.bed",
        "regions.csv",
        "contigs.csv",
        "shards",
    }
    assert {path.name for path in outcome.written.values()} < {path.name for path in out.iterdir()}
    manifest = read_json(out / "manifest.json")
    regions = (out / "regions.bed").read_text().splitlines()
    assert manifest["kind"] == "predict"
    assert manifest["regions"] == len(regions) > 10
    assert manifest["called"] == manifest["in_regions"] >= len(regions)
    assert (manifest["scored"], manifest["contigs"]) == (CONTIGS * 3_000, CONTIGS)
    assert f"{len(regions)} with {manifest['called']} bases" in outcome.text
    assert "18,000 of 18,000 bases on 6 contigs" in outcome.text
    assert manifest["digest"] in outcome.text
    assert json.loads(json.dumps(outcome.found))["digest"] == manifest["digest"]


@pytest.mark.slow
def test_two_actors_of_which_one_is_killed_leave_what_one_leaves(
    inputs: Path, calm: tuple[Outcome, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = module.run_piece, tmp_path / "out"

    def killed_once(scorer: object, plan: object, index: int, folder: Path) -> None:
        marker = folder / "killed"
        if index == 2 and not marker.exists():
            marker.touch()
            (folder / "shards" / ".piece-000002.parquet.999.tmp").write_text("half a piece")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(scorer, plan, index, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "run_piece", killed_once)
    job(inputs, out, "--actors", "2")
    assert (out / "killed").exists()
    check_same(out, calm[1])


def check_same(out: Path, calm: Path) -> None:
    """Compare all that a prediction found; how it was made, and when, is another matter."""
    for name in ("regions.bed", "regions.csv", "contigs.csv", "probabilities.bw"):
        assert (out / name).read_bytes() == (calm / name).read_bytes(), name
    found, expected = (
        _without_provenance(read_json(path / "manifest.json")) for path in (out, calm)
    )
    assert found == expected


def _without_provenance(manifest: dict[str, Any]) -> dict[str, Any]:
    contents = [file for file in manifest["contents"] if file["path"] != "provenance.json"]
    return {**manifest, "contents": contents, "sha256": None}


@pytest.mark.slow
def test_what_is_left_of_a_stopped_job_is_done_and_nothing_else(
    inputs: Path, calm: tuple[Outcome, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def stopped(*_: object, **__: object) -> None:
        raise JobError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_results", stopped)
        with pytest.raises(JobError, match="stopped"):
            job(inputs, out)
    assert not (out / "manifest.json").exists()
    (out / "shards" / "piece-000004.parquet").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/piece-*")}
    job(inputs, out, "--resume")
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("shards/piece-*")}
    assert before.items() < after.items()
    assert after.keys() - before.keys() == {"piece-000004.parquet"}
    check_same(out, calm[1])


def test_other_regions_of_a_complete_prediction_need_no_actor(
    inputs: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = job(inputs, out, "--contigs", "c1,c2")
    monkeypatch.setattr(module, "run_piece", None)
    again = job(inputs, out, "--contigs", "c1,c2", "--threshold", "0.6", "--resume")
    assert first.found["regions"] > 0 == again.found["regions"]
    assert first.found["digest"] == again.found["digest"]
    assert (out / "regions.bed").read_text() == ""
    with pyBigWig.open(str(out / "probabilities.bw")) as track:
        assert max(value for _, _, value in track.intervals("c1")) == 0.5


def evaluated(threshold: float) -> Evaluation:
    """Return an evaluation on chr20, of which one base in a thousand has a label."""
    figures = dict.fromkeys(Metrics._fields, 0.5) | {"precision": 0.25, "recall": 0.8}
    metrics = Metrics(**figures | {"threshold": threshold})
    interval = Interval(0.1, 0.9)
    one_bin = Reliability((0.5,), (0.5,), (interval,), (10_240,))
    return Evaluation(
        task="zdna",
        split="test",
        simulated=False,
        rows=10,
        labels=10_240,
        bases=1e6,
        whole=False,
        contigs=("chr20",),
        prevalence=0.001,
        metrics=metrics,
        tiles=TileScores(100, 3.0, metrics, {"f1": interval}),
        intervals=dict.fromkeys(("f1", "precision", "recall"), interval),
        blocks=10,
        replicates=1000,
        regions=RegionScores(1, 1, 1.0, 4.0, 3.0, 0.25, 3.0),
        by_contig=(),
        label_source="regions.bed",
        tracts=(),
        calibration=Calibration(0.1, 0.2, one_bin, one_bin),
        curve=PrecisionRecall(
            (0.8, 0.4, 0.2),
            (0.75, 0.25, 0.05),
            (0.1, 0.8, 1.0),
            (Interval(0.5, 0.9), Interval(0.2, 0.3), Interval(0.04, 0.06)),
            (Interval(0.0, 0.2), Interval(0.7, 0.9), Interval(1.0, 1.0)),
        ),
    )


def test_expected_precision_is_that_of_the_models_evaluation_at_any_threshold(
    inputs: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    assert expected_precision(model, 0.4) is None
    write_json(model / "evaluation.json", evaluated(0.4).as_json())
    at_own = expected_precision(model, 0.4)
    assert at_own == ExpectedPrecision(
        split="test",
        contigs=("chr20",),
        labels=evaluated(0.4).label_source,
        prevalence=0.001,
        precision=0.25,
        precision_interval=(0.1, 0.9),
        recall=0.8,
        recall_interval=(0.1, 0.9),
    )
    for threshold, precision, recall in (
        (0.2, 0.05, 1.0),
        (0.3, 0.15, 0.9),
        (0.6, 0.5, 0.45),
        (0.8, 0.75, 0.1),
        # Below the lowest score of the curve every base is called.
        (0.1, 0.05, 1.0),
    ):
        found = expected_precision(model, threshold)
        assert found is not None
        assert (found.precision, found.recall) == pytest.approx((precision, recall))
        assert found.recall_interval[0] <= recall <= found.recall_interval[1]
    # No base was scored as high.
    assert expected_precision(model, 0.9) is None
    # A model of sequences reads no genome.
    write_json(
        model / "evaluation.json", evaluated(0.4)._replace(tiles=None, regions=None).as_json()
    )
    assert expected_precision(model, 0.4) is None


def test_the_job_says_which_precision_to_expect(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    path = inputs / "run" / "model" / "evaluation.json"
    out = tmp_path / "out"
    try:
        write_json(path, evaluated(0.4).as_json())
        found = job(inputs, out, "--contigs", "c1")
        said = r"precision   about 0\.25 \(.*\) at a recall of 0\.80 \(.*\), .*test.*chr20"
        assert re.search(said, found.text)
        other = job(inputs, out, "--contigs", "c1", "--threshold", "0.3", "--resume")
        assert (
            "precision   about 0.15 (0.12 to 0.18) at a recall of 0.90 (0.85 to 0.95)" in other.text
        )
        path.write_text('{"metrics": {}}')
        with pytest.raises(InputError, match=r"evaluation\.json: .*score the model again") as bad:
            job(inputs, tmp_path / "bad", "--contigs", "c1")
        assert "\n" not in str(bad.value)
        assert not (tmp_path / "bad").exists()
    finally:
        path.unlink()
    unknown = job(inputs, out, "--contigs", "c1", "--threshold", "0.35", "--resume")
    assert "precision   unknown" in unknown.text
    assert read_json(out / "manifest.json")["expected"] is None


def write_validation(model: Path) -> None:
    """Write the figures of a validation split whose highest precision is 0.75."""
    write_json(model / "validation.json", evaluated(0.4)._replace(split="val").as_json())


def test_a_precision_chooses_the_threshold_with_the_most_recall(tmp_path: Path) -> None:
    write_validation(tmp_path)
    for wanted, threshold, recall in ((0.05, 0.2, 1.0), (0.2, 0.4, 0.8), (0.7, 0.8, 0.1)):
        found = reach_precision(tmp_path, wanted, 0.4)
        assert (found.threshold, found.there.recall) == (threshold, recall)
        assert found.there.precision >= wanted
        assert found.there.split == "val"
        assert (found.own_threshold, found.own_recall) == (0.4, 0.8)
        assert f"the model's own threshold 0.4 has a recall of {found.own_recall:.2f}" in str(found)


def test_a_precision_that_is_never_reached_is_refused_with_the_highest(tmp_path: Path) -> None:
    write_validation(tmp_path)
    with pytest.raises(InputError) as refused:
        reach_precision(tmp_path, 0.8, 0.4)
    message = str(refused.value)
    assert "--precision: 0.8: is never reached on chr20: the highest is 0.75" in message
    assert "at a recall of 0.1 (threshold 0.8)" in message
    assert "\n" not in message


def test_the_job_tells_what_a_precision_costs(
    inputs: Path, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, out = inputs / "run" / "model", tmp_path / "out"
    with pytest.raises(InputError, match=r"--precision 0\.2: .*holds no validation\.json"):
        job(inputs, out, "--precision", "0.2")
    with pytest.raises(InputError, match="cannot be used together"):
        job(inputs, out, "--precision", "0.2", "--threshold", "0.4")
    try:
        write_validation(model)
        write_json(model / "evaluation.json", evaluated(0.4).as_json())
        with pytest.raises(InputError, match=r"--precision: 0\.9: is never reached"):
            job(inputs, out, "--precision", "0.9")
        assert not out.exists()
        with caplog.at_level("INFO"):
            found = job(inputs, out, "--contigs", "c1", "--precision", "0.2")
        assert found.found["threshold"] == 0.4
        assert found.found["reached"]["there"]["recall"] == 0.8
        for text in (found.text, caplog.text):
            assert "0.4 reaches a precision of 0.2 on the validation split" in text
        manifest = read_json(out / "manifest.json")
        assert manifest["reached"] == found.found["reached"]
        assert manifest["regions_settings"]["threshold"] == 0.4
    finally:
        (model / "validation.json").unlink()
        (model / "evaluation.json").unlink()


REFUSED: dict[str, tuple[list[str], str]] = {
    "model": (["--model", "nowhere"], "--model: nowhere: there is no such folder"),
    "genome": (["--genome", "nowhere.fa"], r"nowhere\.fa: there is no such file; give --genome"),
    "contig": (["--contigs", "c1,chr1"], "--contigs: chr1: unknown contig"),
    "contigs file": (["--contigs-file", "nowhere"], "nowhere: there is no such file"),
    "no contig": (["--contigs", ""], "--contigs: '': "),
    "overlap": (["--overlap", "10"], "--overlap: 10: the model reads windows of 10 bases"),
    "threshold": (["--threshold", "1.5"], r"--threshold: 1\.5: .*less than or equal to 1"),
    "precision": (["--precision", "0"], "--precision: 0: .*greater than 0"),
    "no number": (["--threshold", "nan"], "--threshold: nan: .*number"),
    "length": (["--min-length", "0"], "--min-length: 0: .*greater than or equal to 1"),
    "gap": (["--merge-gap", "-1"], "--merge-gap: -1: .*greater than or equal to 0"),
    "batch": (["--batch", "0"], "--batch: 0: .*greater than or equal to 1"),
    "actors": (["--actors", "99"], "--actors: 99: .*the cluster has"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    inputs: Path, cluster: Cluster, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_model_of_sequences_is_refused_with_what_to_give(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels whole sequences: .*; give a model of bases"):
        job(inputs, tmp_path / "out", "--model", f"{inputs}/promoter")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_neither_replaced_nor_mixed_with_something_else(
    inputs: Path, calm: tuple[Outcome, Path], tmp_path: Path
) -> None:
    out = calm[1]
    with pytest.raises(InputError, match=r"--out: .*: exists already"):
        job(inputs, out)
    with pytest.raises(InputError, match=r"plan\.json: overlap"):
        job(inputs, out, "--overlap", "3", "--resume")
    with pytest.raises(InputError, match=r"--out: .*: holds the input"):
        job(inputs, inputs, "--overwrite")
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="something other than a run"):
        job(inputs, tmp_path, "--overwrite")
    assert read_json(out / "manifest.json")["kind"] == "predict"
