"""What can be seen of a job from outside: Ray's metrics endpoint, and names on its dashboard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
OF_RAY = ("_", "Autoscaling", "datasets_stats_actor", "ReadParquet")
"""How the names begin of what Ray Data starts by itself."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """See `watched_run.py`."""
    script = Path(__file__).with_name("watched_run.py")
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("watched"))],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def values(seen: dict[str, Any], name: str, **tags: str) -> list[float]:
    """All that a metric was seen to be, in order."""
    wanted = {**tags, "JobId": seen["job"]}
    return [
        each["value"]
        for each in seen["metrics"]
        if each["name"] == f"ray_hyena_ray_{name}" and each["tags"] == wanted
    ]


def test_shards_and_windows_are_metrics_while_the_pool_works(seen: dict[str, Any]) -> None:
    assert set(values(seen, "shards_total", work="squares")) == {4}
    done = values(seen, "shards_done", work="squares")
    # The fourth could not end before the first three were seen.
    assert done[-2:] == [3, 4]
    assert values(seen, "windows_total", work="squares")[-2:] == [30, 40]
    speeds = values(seen, "windows_per_second", work="squares")
    assert max(speeds) > 0
    assert speeds[-1] == 0


def test_trials_by_state_and_the_best_score_are_metrics(seen: dict[str, Any]) -> None:
    ended = [
        values(seen, "trials", work="zdna trials", state=state)[-1]
        for state in ("complete", "stopped early", "failed", "crashed")
    ]
    assert sum(ended) == 2
    assert values(seen, "trials", work="zdna trials", state="pending")[-1] == 0
    assert values(seen, "trials", work="zdna trials", state="running")[-1] == 0
    assert 0 < values(seen, "best_score", work="zdna trials")[-1] <= 1
    assert values(seen, "shards_done", work="attribution")[-1] == 1
    assert values(seen, "windows_total", work="attribution")[-1] > 0


def test_every_task_says_what_it_does(seen: dict[str, Any]) -> None:
    ours = {name for name in seen["tasks"] if not name.startswith(OF_RAY)}
    shards = {f"squares shard {number}" for number in range(4)} | {"attribution shard 0"}
    starts = {f"{name} worker 0 starts" for name in ("squares", "attribution")}
    made = {f"{name} worker.__init__" for name in ("squares", "attribution")}
    assert {"score test windows"} | shards | starts | made <= ours
    rest = ours - {"score test windows"} - shards - starts - made
    assert rest, "no trial was seen"
    assert all(name.startswith("zdna trial.") for name in rest), rest


def test_every_actor_and_dataset_says_what_it_is_for(seen: dict[str, Any]) -> None:
    assert [name for name in seen["actors"] if not name.startswith(OF_RAY)] == [
        "attribution worker: attribution worker 0",
        "squares worker: squares worker 0",
        "zdna trial: zdna trial",
    ]
    # Ray puts a number of its own behind the name.
    names = [name.rsplit("_", 2)[0] for name in seen["datasets"]]
    assert names == ["share zdna stretches length=1024 val", "share zdna windows length=100 train"]
