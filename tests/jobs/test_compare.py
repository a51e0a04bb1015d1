"""Presets side by side, from the command line to the table, through interruptions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hyena_ray.cluster.pool import ShardError
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.outcomes import Outcome
from hyena_ray.workflows import compare as module
from hyena_ray.workflows import presets
from hyena_ray.workflows.train import TrainRecord
from tests.command_line import run_command, run_job
from tests.jobs.bad_inputs import Line, at, check_line

PRESETS = """\
small:
  about: a small model
  original: {f1: 0.64, mcc: 0.62}
  settings:
    data.length: 40
    data.limit: 120
    model.d_model: 16
    model.n_layer: 1
    model.max_seq_len: 66
    readout.flank: 0
    readout.lookahead: 0
    training.epochs: 2
wild:
  about: diverges
  like: small
  settings: {training.learning_rate: 1e30, training.clip_norm: 1e30}
long:
  about: other windows
  like: small
  data: {lengths: [60]}
  settings: {data.length: 60}
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`, `folds/` and `presets/zdna.yaml`."""
    folder = tmp_path_factory.mktemp("compare")
    made = simulate_genome(folder, contigs=3, contig_length=20_000, tracts=150, decoys=60)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        stretch=100,
        flank=4,
    )
    prepare(settings, folder / "data")
    prepare(settings.model_copy(update={"split": "kfold:3"}), folder / "folds")
    (folder / "presets").mkdir()
    (folder / "presets" / "zdna.yaml").write_text(PRESETS)
    return folder


@contextmanager
def own_presets(inputs: Path) -> Iterator[None]:
    """Put the presets of this file in the place of those of the package."""
    presets.load_presets.cache_clear()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(presets, "SEARCH_SPACES", inputs)
            yield
    finally:
        presets.load_presets.cache_clear()


def compare(inputs: Path, out: Path, names: str, *more: str, data: str = "data") -> Outcome:
    """Run presets of this file with seeds 0 and 1."""
    given = ["--data", inputs / data, "--out", out, "--presets", names]
    with own_presets(inputs):
        return run_job("compare", *given, "--seeds", "0,1", *more)


def rows(out: Path) -> dict[str, dict[str, Any]]:
    return {row["preset"]: row for row in pq.read_table(out / "comparison.parquet").to_pylist()}


@pytest.fixture(scope="module")
def calm(inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    compare(inputs, out, "zdna/all")
    return out


@pytest.mark.slow
def test_every_preset_runs_with_every_seed_and_next_to_the_original_figures(calm: Path) -> None:
    found = rows(calm)
    assert list(found) == ["zdna/small", "zdna/wild"]
    small = found["zdna/small"]
    records = [
        TrainRecord.read(calm / "runs" / "zdna" / "small" / f"seed={seed}") for seed in (0, 1)
    ]
    f1 = [record.test["f1"] for record in records if record.test]
    assert len(f1) == 2
    assert small["f1"] == pytest.approx(sum(f1) / 2)
    assert small["f1_sd"] == pytest.approx(abs(f1[0] - f1[1]) / 2**0.5)
    assert small["f1_minus_original"] == pytest.approx(small["tile_f1"] - 0.64)
    assert small["trainable_share"] == 1.0
    assert small["seconds_per_epoch"] > 0
    assert small["peak_memory_mib"] > 10
    for name in ("average_precision", "tile_average_precision", "tile_f1"):
        figures = [record.test[name] for record in records if record.test]
        assert small[name] == pytest.approx(sum(figures) / 2)


@pytest.mark.slow
def test_a_run_that_diverges_is_a_row_and_stops_no_other(calm: Path) -> None:
    wild = rows(calm)["zdna/wild"]
    assert (wild["runs"], wild["diverged"], wild["f1"]) == (2, 2, None)
    manifest = read_json(calm / "manifest.json")
    assert set(manifest["diverged"]) == {"zdna/wild/seed=0", "zdna/wild/seed=1"}
    assert "2 (2 diverged)" in (calm / "comparison.md").read_text()


@pytest.mark.slow
def test_what_the_data_cannot_serve_is_named_and_simulated_data_say_so(calm: Path) -> None:
    manifest = read_json(calm / "manifest.json")
    assert manifest["left_out"] == {"zdna/long": "--lengths 60"}
    assert manifest["simulated"]
    text = (calm / "comparison.md").read_text()
    assert "simulated" in text
    assert "zdna/long: `--lengths 60`" in text


@pytest.mark.slow
def test_a_resumed_comparison_runs_only_what_is_missing_and_gives_the_same_table(
    inputs: Path, calm: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = (calm / "comparison.parquet").read_bytes()
    kept = calm / "runs" / "zdna" / "small" / "seed=0" / "manifest.json"
    lost = calm / "runs" / "zdna" / "wild" / "seed=1" / "diverged.json"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    with caplog.at_level(logging.INFO):
        compare(inputs, calm, "zdna/all", "--resume")
    assert "comparison: 1 of 1 runs in" in caplog.text
    assert lost.exists()
    assert kept.stat().st_mtime_ns == before
    assert (calm / "comparison.parquet").read_bytes() == table
    with pytest.raises(InputError, match=r"plan\.json: changes"):
        compare(inputs, calm, "zdna/all", "--resume", "--set", "training.epochs=3")


@pytest.mark.slow
def test_every_fold_is_tested_on_its_own_part(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    more = ("--seeds", "3", "--set", "training.epochs=1")
    done = compare(inputs, out, "zdna/small", *more, data="folds")
    assert "each of 3 folds tested" in done.text
    assert rows(out)["zdna/small"]["runs"] == 3
    tested = [
        read_json(out / "runs" / "zdna" / "small" / f"seed=3,fold={fold}" / "evaluation.json")
        for fold in range(3)
    ]
    counted = read_json(inputs / "folds" / "manifest.json")["stretches"]["files"]
    per_fold = [sum(f["rows"] for f in counted if f["split"] == f"fold{i}") for i in range(3)]
    assert [evaluation["rows"] for evaluation in tested] == per_fold


@pytest.mark.slow
def test_a_run_that_crashes_each_time_stops_the_job_and_writes_no_manifest(
    inputs: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: object, **named: object) -> None:
        raise ArithmeticError("planted")

    monkeypatch.setattr(module, "train_in_run", crash)
    with pytest.raises(ShardError, match=r"run zdna/small/seed=0 failed 4 times.*planted"):
        compare(inputs, tmp_path / "out", "zdna/small", "--seeds", "0")
    assert not (tmp_path / "out" / "manifest.json").exists()


UNLIKE = """\
small:
  about: a small model
  settings:
    data.length: 40
    data.limit: 120
    model.d_model: 16
    model.n_layer: 1
    model.max_seq_len: 66
    readout.flank: 0
    readout.lookahead: 0
    training.epochs: 2
counts:
  about: counts k-mers
  settings:
    data.length: 40
    data.limit: 120
    readout.flank: 4
    model.architecture: kmer_logistic
    model.k: 3
    training.epochs: 2
    training.learning_rate: 0.05
"""


@pytest.mark.slow
def test_an_ensemble_is_a_row_and_may_be_the_reference_of_the_others(
    inputs: Path, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "zdna.yaml").write_text(UNLIKE)
    (tmp_path / "data").symlink_to(inputs / "data")
    out, names = tmp_path / "out", ("zdna/small", "zdna/counts")
    compare(tmp_path, out, ",".join(names))
    assert list(rows(out)) == list(names)
    with_ensemble = ("--ensemble", "--reference", "ensemble", "--resume")
    done = compare(tmp_path, out, ",".join(names), *with_ensemble)
    found = rows(out)
    assert list(found) == [*names, "ensemble"]
    assert (found["ensemble"]["runs"], found["ensemble"]["diverged"]) == (2, 0)
    assert "Differences from ensemble" in done.text
    gains = {(row["preset"], row["metric"]): row for row in done.found["differences"]}
    tested = []
    for seed in (0, 1):
        folders = [out / "runs" / name / f"seed={seed}" for name in names]
        models = ",".join(str(folder / "model") for folder in folders)
        scored = run_job("evaluate", "--model", models, "--data", inputs / "data").found
        figures = read_json(out / "ensembles" / f"seed={seed}" / "evaluation.json")
        ensemble = scored["metrics"]["average_precision"]
        tested.append(ensemble)
        assert figures["metrics"] == pytest.approx(scored["metrics"])
    assert found["ensemble"]["average_precision"] == pytest.approx(sum(tested) / 2)
    for name in names:
        gain = gains[name, "average_precision"]
        alone = found[name]["average_precision"]
        assert gain["difference"] == pytest.approx(alone - sum(tested) / 2)
        assert gain["low"] < gain["difference"] < gain["high"]
    table = (out / "comparison.parquet").read_bytes()
    with caplog.at_level(logging.INFO):
        compare(tmp_path, out, ",".join(names), *with_ensemble)
    assert (out / "comparison.parquet").read_bytes() == table
    run_job("verify", out)


FITTING = "--presets zdna/two_stage --set data.length=40"
REFUSED: dict[str, tuple[str, Line]] = {
    "preset": (
        "--presets zdna/none",
        at("--presets", "zdna/none", "unknown preset", "zdna/two_stage"),
    ),
    "task": ("--presets yeast/all", at("--presets", "yeast", "unknown task", "zdna, g4, promoter")),
    "other task": ("--presets g4/two_stage", at("preset g4/two_stage", "g4", "zdna")),
    "data": (
        "--presets zdna/five_folds",
        at("preset zdna/five_folds", "data", "prepare with --split kfold:5"),
    ),
    "length": (
        "--presets zdna/two_stage",
        at("preset zdna/two_stage: data.length", "100", "40", "prepare with --lengths 100"),
    ),
    "seeds": (f"{FITTING} --seeds 0,0", at("--seeds", "0,0", "different whole numbers")),
    "negative seed": (f"{FITTING} --seeds=-1", at("--seeds", "-1", "different whole numbers")),
    "no seeds": (f"{FITTING} --seeds x", at("--seeds", "x", "valid integer")),
    "reference": (
        f"{FITTING} --reference zdna/trees",
        at("--reference", "zdna/trees", "zdna/two_stage", "add it to --presets"),
    ),
    "ensemble as reference": (
        f"{FITTING} --reference ensemble",
        at("--reference", "ensemble", "zdna/two_stage", "add --ensemble"),
    ),
    "setting": (
        f"{FITTING} --set training.epoch=3",
        at("--set", "training.epoch", "unknown key", "training.epochs"),
    ),
    "seed set": (
        f"{FITTING} --set training.seed=3",
        at("--set", "training.seed", "differs from run to run", "--seeds"),
    ),
    "fold set": (
        f"{FITTING} --set data.fold=1",
        at("--set", "data.fold", "differs from run to run"),
    ),
    "unused setting": (
        f"{FITTING} --set lora.rank=4",
        at("--set: lora.rank", "4", "has no effect", "lora.enabled"),
    ),
    "backbone": (f"{FITTING} --set model.backbone=/nowhere", at("checkpoint", "/nowhere")),
    "cpus": (f"{FITTING} --cpu 99", at("--cpu, --gpu", "99", "the cluster has")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    inputs: Path, cluster: Cluster, tmp_path: Path, case: str
) -> None:
    options, line = REFUSED[case]
    data, out = inputs / "data", tmp_path / "out"
    done = run_command(f"compare {options}", "--data", data, "--out", out)
    check_line(done.stderr, line, inputs)
    assert (done.code, done.stdout) == (2, "")
    assert not out.exists()
