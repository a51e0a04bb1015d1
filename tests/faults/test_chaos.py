"""Two minutes of random kills end in what a calm run ends in."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from small_runs import ROOT, SPACE, Inputs, Nodes, result_of, start

from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.genome.simulate import simulate_genome
from hyena_ray.tuning.job import tuning_job

pytestmark = pytest.mark.slow
SECONDS = 120
PAUSE = (4.0, 9.0)
"""Seconds between two kills."""


@pytest.fixture
def more(tmp_path: Path) -> Inputs:
    """Enough work to be disturbed: six trials of some ten seconds, and six shards."""
    made = simulate_genome(tmp_path, contig_length=150_000, tracts=1000, decoys=500)
    recipe = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(40,), flank=8
    )
    prepare(recipe, tmp_path / "data")
    changes = {"trials: 3": "trials: 6", "limit: 400": "limit: 2000", "epochs: 3": "epochs: 8"}
    text = SPACE
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "space.yaml").write_text(text)
    return Inputs(tmp_path / "data", tmp_path / "space.yaml")


def workers(nodes: Nodes) -> list[psutil.Process]:
    """Processes that the cluster's nodes run for the job, those that are idle too."""
    found = []
    for node in nodes.workers:
        for info in node.all_processes["raylet"]:
            children = psutil.Process(info.process.pid).children(recursive=True)
            found += [child for child in children if "ray::" in " ".join(child.cmdline())]
    return found


@pytest.mark.usefixtures("cluster")
def test_random_kills_of_workers_and_a_node_change_nothing(
    more: Inputs, nodes: Nodes, tmp_path: Path
) -> None:
    tuning_job("zdna", ROOT / "search_spaces")(more.arguments(tmp_path / "calm"))
    numbers = random.Random(0)
    out = tmp_path / "run"

    def begin(*flags: str) -> subprocess.Popen[str]:
        return start("tune_zdna", *more.arguments(out, "--address", nodes.address, *flags))

    began, killed, starts, job = time.monotonic(), 0, 1, begin()
    node_lives = True
    while time.monotonic() - began < SECONDS:
        time.sleep(numbers.uniform(*PAUSE))
        if job.poll() == 0:
            break
        if job.poll() is not None:
            _, messages = job.communicate()
            assert "Traceback" not in messages, messages[-20_000:]
            starts, job = starts + 1, begin("--resume" if out.exists() else "--overwrite")
        elif node_lives and time.monotonic() - began > SECONDS / 3:
            nodes.kill(0)
            nodes.add()
            node_lives = False
        elif alive := workers(nodes):
            numbers.choice(alive).kill()
            killed += 1
    while job.wait(600) != 0:
        assert starts < 20
        starts, job = starts + 1, begin("--resume")
    print(f"{killed} workers killed, {starts} starts, {time.monotonic() - began:.0f} s")
    assert killed > 3
    assert not node_lives
    assert result_of(out) == result_of(tmp_path / "calm")
