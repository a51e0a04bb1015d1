"""A job chooses its feed by memory, keeps it, and refuses what does not fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.cluster.feeds import StreamSource
from hyena_ray.cluster.resources import Cluster
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.runs.run import Output, start
from hyena_ray.search.space import SearchSpace
from hyena_ray.settings import parse_yaml
from hyena_ray.training.feed_choice import Room, windows_bytes
from hyena_ray.training.loaders import ArraySource
from hyena_ray.workflows import train
from hyena_ray.workflows.searched_space import place_trials
from hyena_ray.workflows.train import Training, TrainSettings
from hyena_ray.workflows.tune import Search
from tests.tuned_run import SPACE

SIZES = ("data.length=40", "readout.flank=8", "readout.lookahead=8", "model.d_model=8")


def trained(data: Path, out: Path, *changes: str, resume: bool = False) -> Training:
    """Validate a run that is to be trained."""
    return train.validate(
        TrainSettings(data=data, out=out, changes=(*SIZES, *changes), resume=resume)
    )


def memory_for(monkeypatch: pytest.MonkeyPatch, data: Path, times: float) -> None:
    """Leave memory for this many times the windows."""
    size = windows_bytes(PreparedData.open(data), [40])
    monkeypatch.setattr(train, "free_memory", lambda: Room(times * size, "free memory"))


def test_train_shares_windows_that_fit_well_and_streams_others(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_for(monkeypatch, small_data, 10)
    assert isinstance(trained(small_data, tmp_path / "run").train, ArraySource)
    memory_for(monkeypatch, small_data, 3)
    training = trained(small_data, tmp_path / "run")
    assert isinstance(training.train, StreamSource)
    assert training.plan.feed == "stream"


def test_windows_that_do_not_fit_are_not_shared(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_for(monkeypatch, small_data, 1.5)
    with pytest.raises(InputError, match=r"^data\.feed: shared: .*use stream or auto"):
        trained(small_data, tmp_path / "run", "data.feed=shared")
    cluster = Cluster(cpus=8, gpus=0, cores=None, object_store=1.0)
    values = parse_yaml(SPACE, "space.yaml")
    settings = {**values["settings"], "data.feed": "shared"}
    space = SearchSpace.parse({**values, "settings": settings}, "space.yaml")
    search = Search(space, PreparedData.open(small_data), Output(tmp_path / "run"), (), None)
    with pytest.raises(InputError, match=r"^data\.feed: shared: .*the object store"):
        search.choose_feed(cluster)


@pytest.mark.parametrize(("before", "after"), [(10.0, 3.0), (3.0, 10.0)])
def test_a_resumed_run_keeps_its_feed(
    small_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: float,
    after: float,
) -> None:
    memory_for(monkeypatch, small_data, before)
    first = trained(small_data, tmp_path / "run")
    with start(first.output, first.plan):
        pass
    memory_for(monkeypatch, small_data, after)
    again = trained(small_data, tmp_path / "run", resume=True)
    assert again.plan.feed == first.plan.feed
    assert "first start" in again.feed.text
    with pytest.raises(InputError, match=r"settings\.data\.feed = auto"):
        trained(small_data, tmp_path / "run", "data.feed=stream", resume=True)


def test_train_imports_ray_only_for_a_stream(small_data: Path, tmp_path: Path) -> None:
    script = """
import json, sys
from pathlib import Path
from hyena_ray.workflows.train import TrainSettings, dry_run, validate
data, out, *changes = sys.argv[1:]
settings = TrainSettings(data=Path(data), out=Path(out), changes=tuple(changes))
shown = dry_run(validate(settings))
print(json.dumps({"ray": "ray" in sys.modules, "feed": shown.plan["feed"]}))
"""
    for feed, has_ray in (("auto", False), ("shared", False), ("stream", True)):
        words = [str(small_data), str(tmp_path / "run"), *SIZES, f"data.feed={feed}"]
        done = subprocess.run(
            [sys.executable, "-c", script, *words], check=True, capture_output=True, text=True
        )
        shown = json.loads(done.stdout)
        assert shown["ray"] == has_ray
        assert shown["feed"].startswith("stream" if feed == "stream" else "shared")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_takes_one_cpu_of_each_trial(workers: int) -> None:
    # The process of a trial with workers takes a little as well.
    cpus = 2 * (workers + 1) + 0.1
    cluster = Cluster(cpus=cpus, gpus=0, cores=None, object_store=1e9, dashboard=True)
    space = SearchSpace.parse(
        {**parse_yaml(SPACE, "space.yaml"), "resources": {"cpu": 1, "workers": workers}}, "space"
    )
    assert place_trials(space, None, cluster, "stream").concurrent == 2
    smaller = cluster._replace(cpus=cpus - 0.2)
    assert place_trials(space, None, smaller, "stream").concurrent == 1
    assert place_trials(space, None, smaller, "shared").concurrent >= 2
