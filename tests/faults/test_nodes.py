"""A run on many nodes is that of one machine, whichever of them dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.storage import S3Path
from hyena_ray.workflows.compare import CompareRecord
from tests.faults.small_runs import Inputs, Nodes
from tests.tuned_run import Result, result_of

pytestmark = pytest.mark.slow


def on_s3(inputs: Inputs, bucket: S3Path) -> Inputs:
    assert isinstance(inputs.data, Path)
    for item in inputs.data.rglob("*"):
        if item.is_file():
            (bucket / "data" / item.relative_to(inputs.data)).upload(item)
    return inputs._replace(data=bucket / "data")


def test_two_nodes_with_data_and_results_on_s3_find_what_one_machine_finds(
    inputs: Inputs, calm: Result, bucket: S3Path, s3_nodes: Nodes
) -> None:
    out = bucket / "run"
    given = on_s3(inputs, bucket)
    # Each node has one CPU, so that what runs at once runs on both.
    log = s3_nodes.start(*given.arguments(out)).finish()
    assert "3 of 3 trials to run, 2 at once" in log
    assert "shards to do on" in log
    assert result_of(out) == calm


def test_runs_that_are_compared_lie_on_s3(inputs: Inputs, bucket: S3Path, s3_nodes: Nodes) -> None:
    given, out = on_s3(inputs, bucket), bucket / "compared"
    changes = ("data.length=40", "data.limit=120", "training.epochs=1", "model.d_model=16")
    settings = [text for change in changes for text in ("--set", change)]
    presets = ["--presets", "zdna/single_stage", "--seeds", "0,1"]
    job = s3_nodes.start(
        "compare", "--data", str(given.data), "--out", str(out), *presets, *settings
    )
    assert "comparison: 2 of 2 runs" in job.finish()
    assert len(CompareRecord.read(out).runs) == 2
    assert "zdna/single_stage" in (out / "comparison.md").read_text()


def test_nodes_that_die_in_the_middle_of_trials_and_of_attribution_change_nothing(
    inputs: Inputs, calm: Result, tmp_path: Path, nodes: Nodes
) -> None:
    out = tmp_path / "run"
    job = nodes.start(*inputs.arguments(out))
    job.wait_for((out / "trials" / "0000" / "checkpoint.pt").exists)
    nodes.kill(0)
    nodes.add()
    job.wait_for((out / "attribution" / "plan.json").exists)
    nodes.kill(1)
    nodes.add()
    job.finish()
    assert result_of(out) == calm
