"""Jobs take places on S3 as they take folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, sha256_file
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.provenance import read_provenance
from hyena_ray.storage import AnyPath, S3Path
from hyena_ray.training.genome_stream import WindowStream
from hyena_ray.training.pretrain_genome import held_out_windows, read_genome
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.training.pretraining import pretrain
from tests.command_line import run_command, run_job, run_process
from tests.jobs.bad_inputs import at, check_line

SHORT = [
    *("--set=data.length=40", "--set=data.limit=200", "--set=training.epochs=1"),
    *("--set=readout.flank=8", "--set=readout.lookahead=4"),
]
SMALL = [
    *SHORT,
    *("--set=model.d_model=16", "--set=model.n_layer=1", "--set=model.max_seq_len=130"),
]


def whole_run(folder: AnyPath, genome: AnyPath, regions: AnyPath) -> None:
    run_job(
        *("prepare", "zdna", "--genome", genome, "--regions", regions),
        *("--lengths", 40, "--flank", 8, "--out", folder / "data"),
    )
    data = ("--data", folder / "data")
    run_job("train", *data, "--out", folder / "run", *SMALL)
    model = ("--model", folder / "run" / "model")
    run_job("evaluate", *model, *data, "--split", "test", "--out", folder / "evaluated")
    run_job("sanity", *model, *data, "--limit", 3, "--out", folder / "checked")


def test_a_run_on_s3_is_that_on_a_disk(bucket: S3Path, tmp_path: Path) -> None:
    made = simulate_genome(tmp_path, contig_length=40_000, tracts=300, decoys=100)
    places: list[AnyPath] = []
    for path in (made.genome, made.regions):
        (bucket / path.name).upload(path)
        places.append(bucket / path.name)
    whole_run(tmp_path, made.genome, made.regions)
    whole_run(bucket, *places)
    for name in ("data/manifest.json", "run/model/model.safetensors", "run/plan.json"):
        assert sha256_file(bucket / name) == sha256_file(tmp_path / name), name
    # The trained layers as a backbone, from S3.
    run_job(
        *("train", "--data", bucket / "data", "--out", bucket / "again"),
        *("--backbone", bucket / "run/model", *SHORT),
    )
    checks = [read_json(folder / "checked" / "sanity.json") for folder in (tmp_path, bucket)]
    assert checks[0] == checks[1]
    here, there = (
        read_json(folder / "evaluated" / "evaluation.json") for folder in (tmp_path, bucket)
    )
    assert here == there
    assert PreparedData.open(bucket / "data").read(40, "val").labels.shape[1] == 40
    assert not (bucket / "run" / ".lock").exists()
    done = run_command("train", "--data", bucket / "data", "--out", bucket / "run", *SMALL)
    check_line(done.stderr, at(f"--out: {bucket}/run", "exists already", "--resume"), tmp_path)
    assert (done.code, done.stdout) == (2, "")


@pytest.mark.slow
def test_a_backbone_is_pretrained_and_fine_tuned_on_s3(
    bucket: S3Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = simulate_genome(tmp_path, contig_length=10_000, tracts=120, decoys=60)
    (bucket / "genome.fa").upload(made.genome)
    monkeypatch.setenv("HOME", str(tmp_path))
    # In a process of its own: workers of a Ray that was started before would not find the server.
    done = run_process(
        *("pretrain", "--genome", bucket / "genome.fa", "--out", bucket / "pretrained"),
        *("--held-out", "sim2", "--leave-out", "sim4"),
        *("--set=training.steps=4", "--set=training.lengths=[16, 64]"),
        *("--set=training.tokens_per_step=128", "--set=training.checkpoint_every=2"),
        *("--set=model.d_model=8", "--set=model.n_layer=1", "--set=held_out.windows=5"),
    )
    assert done.code == 0, done.stderr
    assert f"  backbone  {bucket}/pretrained/backbone\n" in done.stdout
    record = PretrainRecord.read(bucket / "pretrained")
    read = read_genome(made.genome, record.settings, leave_out=["sim4"], held_out=["sim2"])
    torch.set_num_threads(1)
    here = pretrain(
        record.settings,
        WindowStream(read.train, record.settings).batches,
        dict(held_out_windows(read, record.settings)),
        tmp_path,
        lambda step: None,
        fingerprint=record.settings.fingerprint(),
    )
    assert [look.model_dump() for look in record.history] == here.history
    run_job(
        *("prepare", "zdna", "--genome", bucket / "genome.fa", "--regions", made.regions),
        *("--lengths", 40, "--flank", 8, "--out", bucket / "data"),
    )
    backbone = ("--backbone", bucket / "pretrained" / "backbone")
    run_job("train", "--data", bucket / "data", "--out", bucket / "run", *backbone, *SHORT)
    assert read_provenance(bucket / "run" / "model") == record.provenance
    assert record.provenance.simulated
    card = (bucket / "run" / "model" / "README.md").read_text()
    assert "trained on `sim1`, `sim3`; held out `sim2`; left out `sim4`" in card


def test_what_is_not_on_s3_is_named_by_its_uri(bucket: S3Path, tmp_path: Path) -> None:
    refused = {
        f"{bucket}/none": at(
            "--data", f"{bucket}/none", "there is no such folder", "hyena-ray prepare"
        ),
        "ftp://x/y": at("--data", "ftp://x/y", "give a path"),
    }
    for data, line in refused.items():
        done = run_command("train", "--data", data, "--out", tmp_path / "run")
        check_line(done.stderr, line, tmp_path)
        assert (done.code, done.stdout) == (2, "")
        assert not (tmp_path / "run").exists()
