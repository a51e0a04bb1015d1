"""Jobs that work alone take places on S3 as they take folders."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, sha256_file
from hyena_ray.genome.simulate import simulate_genome
from hyena_ray.storage import AnyPath, S3Path

JOBS = Path(__file__).parents[2] / "jobs"
SMALL = [
    *("--set=data.length=40", "--set=data.limit=200", "--set=training.epochs=1"),
    *("--set=model.d_model=16", "--set=model.n_layer=1", "--set=model.max_seq_len=130"),
    *("--set=readout.flank=8", "--set=readout.lookahead=4"),
]


def job(name: str, *arguments: object) -> None:
    runpy.run_path(str(JOBS / f"{name}.py"))["main"](list(map(str, arguments)))


def whole_run(folder: AnyPath, genome: AnyPath, regions: AnyPath) -> None:
    job(
        *("prepare", "zdna", "--genome", genome, "--regions", regions),
        *("--lengths", 40, "--flank", 8, "--out", folder / "data"),
    )
    data = ("--data", folder / "data")
    job("train", *data, "--out", folder / "run", *SMALL)
    model = ("--model", folder / "run" / "model")
    job("evaluate", *model, *data, "--on", "test", "--out", folder / "evaluated")
    job("sanity", *model, *data, "--limit", 3, "--out", folder / "checked")


def test_a_run_on_s3_is_that_on_a_disk(
    bucket: S3Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = simulate_genome(tmp_path, contig_length=40_000, tracts=300, decoys=100)
    places: list[AnyPath] = []
    for path in (made.genome, made.regions):
        (bucket / path.name).upload(path)
        places.append(bucket / path.name)
    whole_run(tmp_path, made.genome, made.regions)
    whole_run(bucket, *places)
    for name in ("data/manifest.json", "run/model/model.safetensors", "run/config.json"):
        assert sha256_file(bucket / name) == sha256_file(tmp_path / name), name
    # The trained layers as a backbone, from S3.
    job(
        "train",
        "--data",
        bucket / "data",
        "--out",
        bucket / "again",
        "--backbone",
        bucket / "run/model",
        *SMALL,
    )
    checks = [read_json(at / "checked" / "sanity.json") for at in (tmp_path, bucket)]
    assert checks[0] == checks[1]
    here, there = (read_json(at / "evaluated" / "evaluation.json") for at in (tmp_path, bucket))
    assert here == there
    assert PreparedData.open(bucket / "data").read(40, "val").labels.shape[1] == 40
    assert not (bucket / "run" / ".lock").exists()
    with pytest.raises(InputError, match=r"s3://.*/run: exists already"):
        job("train", "--data", bucket / "data", "--out", bucket / "run", *SMALL)


def test_what_is_not_on_s3_is_named_by_its_uri(bucket: S3Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^s3://{bucket.name}/none: there is no such folder"):
        job("train", "--data", bucket / "none", "--out", tmp_path / "run")
    with pytest.raises(InputError, match=r"ftp://x/y: not a place .* give a path"):
        job("train", "--data", "ftp://x/y", "--out", tmp_path / "run")
