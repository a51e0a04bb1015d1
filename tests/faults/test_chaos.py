"""A minute of random kills ends in what a calm run ends in."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.genome.simulation import simulate_genome
from tests.command_line import process_of
from tests.faults.small_runs import Inputs, Job, Nodes
from tests.tuned_run import SPACE, result_of

pytestmark = pytest.mark.slow
SECONDS = 60
PAUSE = (5.0, 8.0)
"""Seconds between two kills."""
FIRST_KILLS = ("worker", "node", "worker", "driver", "worker", "worker")
"""By number, not by time: a quick machine may be done before the minute is over. Then workers
only."""


@pytest.fixture
def more(tmp_path: Path) -> Inputs:
    """Enough work to be disturbed: four trials of some ten seconds, and shards."""
    made = simulate_genome(tmp_path, contig_length=150_000, tracts=1000, decoys=500)
    recipe = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        flank=8,
        stretch=80,
    )
    prepare(recipe, tmp_path / "data")
    changes = {"trials: 3": "trials: 4", "limit: 400": "limit: 2000", "epochs: 3": "epochs: 12"}
    text = SPACE
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "space.yaml").write_text(text)
    return Inputs(tmp_path / "data", tmp_path / "space.yaml")


def workers(nodes: Nodes) -> list[psutil.Process]:
    """Processes that the cluster's nodes run for the job, those that are idle too; not the agents
    of a node, which dies with them."""
    children = [child for raylet in nodes.workers for child in raylet.children(recursive=True)]
    found = []
    for child in children:
        with suppress(psutil.NoSuchProcess):
            name = " ".join(child.cmdline())
            if name.startswith("ray::") and "Agent" not in name:
                found.append(child)
    return found


def test_random_kills_of_workers_and_a_node_change_nothing(
    more: Inputs, nodes: Nodes, tmp_path: Path
) -> None:
    # Beside it, on a cluster of its own: they wait for each other's processes less than in turn.
    calm = Job(process_of(*more.arguments(tmp_path / "calm")))
    numbers = random.Random(0)
    out = tmp_path / "run"

    def begin(*flags: str) -> Job:
        return nodes.start(*more.arguments(out, *flags))

    began, starts, job = time.monotonic(), 1, begin()
    kills = list(FIRST_KILLS)
    killed = Counter[str]()
    while kills or time.monotonic() - began < SECONDS:
        time.sleep(numbers.uniform(*PAUSE))
        if job.process.poll() == 0:
            break
        if job.process.poll() is not None:
            if job.process.returncode > 0:  # one line says why, and that resuming goes on
                assert job.messages.splitlines()[-1].startswith("error: "), job.messages
            starts, job = starts + 1, begin("--resume" if out.exists() else "--overwrite")
        else:
            what = kills[0] if kills else "worker"
            if what == "node":
                nodes.kill(0)
                nodes.add()
            elif what == "driver":
                job.process.kill()
            elif alive := workers(nodes):
                with suppress(psutil.NoSuchProcess):
                    numbers.choice(alive).kill()
            else:
                continue
            kills = kills[1:]
            killed[what] += 1
    while job.process.wait(600) != 0:
        assert starts < 20, job.messages
        starts, job = starts + 1, begin("--resume")
    print(f"killed: {dict(killed)}; {starts} starts, {time.monotonic() - began:.0f} s")
    assert not kills
    assert killed["worker"] > 3
    calm.finish()
    assert result_of(out) == result_of(tmp_path / "calm")
