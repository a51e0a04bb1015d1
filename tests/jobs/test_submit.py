"""Jobs submitted to a cluster that listens on loopback and asks for a token."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.job_submission import JobStatus

from hyena_ray.workflows.tune import TuneRecord
from tests.jobs.ray_head import Demo, Head, begin, end, running_head, submit
from tests.tuned_run import result_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with running_head(tmp_path_factory.mktemp("home")) as head:
        yield head


SEEN = 10
"""Occurrences from which a planted k-mer of the demo must be significant."""


def test_the_job_without_any_argument_succeeds(demo: Demo) -> None:
    folder, log = demo
    assert str(folder) in log
    assert "zdna trials: 4 of 4 trials in" in log
    assert "share zdna windows length=100 train: took" in log
    assert "score test windows: took" in log
    assert "attribution: waiting for 2 actors to start" in log
    assert re.search(r"attribution: (\d+) of \1 shards in .* windows/s\n", log)
    assert "simulated: no figure here says anything about real DNA" in log
    summary = TuneRecord.read(folder)
    assert summary.simulated
    assert " ".join(summary.kmers["consensus"]) in log


def test_every_planted_kmer_of_the_demo_is_significant(demo: Demo) -> None:
    rows = pq.read_table(demo.folder / "attribution" / "kmers" / "ig.parquet").to_pylist()
    # Pyrimidines and purines alternate in Z-DNA, without TA.
    planted = [row for row in rows if re.fullmatch(r"[AG]?([CT][AG])+[CT]?", row["kmer"])]
    assert len(planted) == len(rows) > 30
    assert all("TA" not in row["kmer"] for row in planted)
    assert max(row["q_value"] for row in planted) < 0.05
    # Which model is the best depends on the machine; what a k-mer of few occurrences has, on that.
    assert max(row["q_value"] for row in planted if row["count"] >= SEEN) < 0.01
    best = min(planted, key=lambda row: row["p_value"])
    assert best["kmer"] in {"CGCGC", "GCGCG"}


def test_a_stopped_search_keeps_what_it_did_and_goes_on_to_the_end_of_an_undisturbed_one(
    head: Head, small_data: Path, tuned_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    space = tuned_run.with_name("space.yaml")
    entrypoint = f"jobs/tune_zdna.py --data {small_data} --space {space} --out {out}"
    first = out / "trials" / "0000" / "checkpoint.pt"
    for name, more in (("SIGTERM", ""), ("SIGINT", " --resume")):
        job = begin(head, entrypoint + more, RAY_JOB_STOP_SIGNAL=name)
        deadline = time.monotonic() + 300
        while not (first.exists() and "trials to run" in head.client.get_job_logs(job)):
            assert time.monotonic() < deadline, head.client.get_job_logs(job)
            time.sleep(0.2)
        head.client.stop_job(job)
        status, log = end(head, job)
        assert status == JobStatus.STOPPED
        assert f"stopped by {name}; what was finished is kept" in log, log
        assert not (out / "manifest.json").exists()
    status, log = submit(head, f"{entrypoint} --resume")
    assert status == JobStatus.SUCCEEDED, log
    assert result_of(out) == result_of(tuned_run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--data /nowhere --out /tmp/hyena_ray_refused",
            "error: --data: /nowhere: there is no such folder",
        ),
        ("--out run", "error: --out: run: relative to a submitted job's working directory"),
    ],
)
def test_bad_input_fails_with_a_readable_last_line(
    head: Head, arguments: str, message: str
) -> None:
    status, log = submit(head, f"jobs/tune_zdna.py {arguments}")
    assert status == JobStatus.FAILED
    assert log.strip().splitlines()[-1].startswith(message), log


def test_nobody_gets_in_without_the_token(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{head.client.get_address()}/api/jobs/")
    with refusal.value:
        assert refusal.value.code in (401, 403)
