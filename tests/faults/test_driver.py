"""A job whose own process is killed goes on to the end of an undisturbed one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from hyena_ray.files import read_json
from tests.command_line import process_of, run_job
from tests.faults.small_runs import Inputs, Job

pytestmark = pytest.mark.slow


def test_a_killed_attribution_computes_only_what_is_missing_and_has_the_same_digest(
    inputs: Inputs, tuned_run: Path, cluster: object, tmp_path: Path
) -> None:
    # test_submit.py stops a search, test_tune_workers.py and test_chaos.py kill one.
    given = ["--model", str(tuned_run / "model"), "--data", str(inputs.data), "--actors", "1"]
    run_job("attribute", *given, "--out", tmp_path / "calm")
    out = tmp_path / "out"
    job = Job(process_of("attribute", *given, "--out", out))
    first = out / "shards" / "shard-00000.parquet"
    job.wait_for(first.exists)
    job.process.send_signal(signal.SIGKILL)
    job.finish(-9)
    assert not (out / "manifest.json").exists()
    written = first.stat().st_mtime_ns
    run_job("attribute", *given, "--out", out, "--resume")
    assert first.stat().st_mtime_ns == written
    digests = [read_json(folder / "manifest.json")["digest"] for folder in (tmp_path / "calm", out)]
    assert digests[0] == digests[1]
