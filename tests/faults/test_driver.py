"""A job whose own process is stopped or killed goes on to the end of an undisturbed one."""

from __future__ import annotations

import runpy
import signal
from pathlib import Path

import pytest

from hyena_ray.files import read_json
from tests.command_line import run_job
from tests.faults.small_runs import ROOT, Inputs, Job, Result, result_of

pytestmark = pytest.mark.slow


def test_an_interrupted_search_goes_on_with_the_trials_of_an_undisturbed_one(
    inputs: Inputs, calm: Result, tmp_path: Path
) -> None:
    # test_submit.py stops one with SIGTERM, test_chaos.py kills one.
    out = tmp_path / "run"
    job = Job(str(ROOT / "jobs" / "tune_zdna.py"), *inputs.arguments(out))
    job.wait_for((out / "trials" / "0000" / "checkpoint.pt").exists)
    job.process.send_signal(signal.SIGINT)
    assert job.finish(130).rstrip().endswith("stopped by SIGINT; what was finished is kept")
    assert not (out / "manifest.json").exists()
    run_job("tune", "zdna", *inputs.arguments(out, "--resume"))
    assert result_of(out) == calm


def test_a_killed_attribution_computes_only_what_is_missing_and_has_the_same_digest(
    inputs: Inputs, calm_run: Path, cluster: object, tmp_path: Path
) -> None:
    path = ROOT / "jobs" / "attribute.py"
    given = ["--model", str(calm_run / "model"), "--data", str(inputs.data), "--actors", "1"]
    attribute = runpy.run_path(str(path))["main"]
    attribute([*given, "--out", str(tmp_path / "calm")])
    out = tmp_path / "out"
    job = Job(str(path), *given, "--out", str(out))
    first = out / "shards" / "shard-00000.parquet"
    job.wait_for(first.exists)
    job.process.send_signal(signal.SIGKILL)
    job.finish(-9)
    assert not (out / "manifest.json").exists()
    written = first.stat().st_mtime_ns
    attribute([*given, "--out", str(out), "--resume"])
    assert first.stat().st_mtime_ns == written
    digests = [read_json(folder / "manifest.json")["digest"] for folder in (tmp_path / "calm", out)]
    assert digests[0] == digests[1]
