"""The attribution job gives one result through any number of actors and any death."""

from __future__ import annotations

import os
import shutil
import signal
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from hyena_ray.attribution import shards
from hyena_ray.attribution.engine import Attributor, WindowAttribution
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import Shard
from hyena_ray.cluster.pool import ShardError
from hyena_ray.cluster.resources import Cluster, Resources
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.outcomes import Outcome
from hyena_ray.runs.run import Output, start
from hyena_ray.tasks import TASKS
from hyena_ray.workflows.attribute import AttributeRecord, attribute_in_run, plan_attribution
from tests.command_line import run_job

SETTINGS = AttributionSettings(steps=2, tolerance=None, samples=2, k=3, min_count=1)
WINDOW = 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/` and an untrained `model/` that calls every base positive."""
    folder = tmp_path_factory.mktemp("attribute")
    made = simulate_genome(folder, contig_length=40_000, tracts=300, decoys=100)
    prepare(
        PrepareSettings(
            task="zdna", genome=made.genome, regions=made.regions, lengths=(WINDOW,), flank=8
        ),
        folder / "data",
    )
    save_model(folder / "model", WINDOW)
    return folder


def save_model(folder: Path, window: int) -> None:
    model = build_model(
        ModelSettings(d_model=16, n_layer=1, max_seq_len=130),
        Readout(window=window, flank=8, lookahead=4),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    model.threshold = 0.0
    save_window_model(model, folder)


def run(inputs: Path, out: Path, actors: int) -> AttributeRecord:
    data = PreparedData.open(inputs / "data")
    plan = plan_attribution(inputs / "model", data, split="test", settings=SETTINGS)
    plan = plan.model_copy(update={"shards": cut(plan.shards[0].last, data)})
    with start(Output(out, resume=True), plan) as run:
        return attribute_in_run(
            run, inputs / "model", data, actors=actors, resources=Resources(cpu=0.5)
        )


def cut(last: int, data: PreparedData) -> tuple[Shard, ...]:
    """Six shards, so that there is something to share out."""
    ids, size = data.window_ids(WINDOW, "test"), -(-last // 6)
    return tuple(
        Shard(
            first=first,
            last=min(first + size, last),
            first_id=int(ids[first]),
            last_id=int(ids[min(first + size, last) - 1]),
        )
        for first in range(0, last, size)
    )


class Calm(NamedTuple):
    """An attribution that nothing happened to."""

    record: AttributeRecord
    folder: Path


@pytest.fixture(scope="module")
def calm(inputs: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    return Calm(run(inputs, folder, actors=1), folder)


@pytest.mark.slow
def test_the_digest_does_not_depend_on_the_number_of_actors(
    inputs: Path, calm: Calm, tmp_path: Path
) -> None:
    found = run(inputs, tmp_path, 4)
    assert found.digest == calm.record.digest
    assert found.windows == calm.record.windows > 100
    assert len(list(tmp_path.glob("shards/*.parquet"))) == 6


@pytest.mark.slow
def test_two_actors_of_which_one_is_killed_in_mid_shard_have_the_digest_of_one(
    inputs: Path, calm: Calm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = shards.run_shard

    def killed_once(model: object, data: object, plan: object, index: int, out: Path) -> object:
        marker = out / "killed"
        if index == 2 and not marker.exists():
            marker.touch()
            (out / "shards" / ".shard-00002.parquet.999.tmp").write_text("half a shard")
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(model, data, plan, index, out)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "run_shard", killed_once)
    assert run(inputs, tmp_path, 2).digest == calm.record.digest
    assert (tmp_path / "killed").exists()


@pytest.mark.slow
def test_a_window_that_always_kills_its_actor_stops_the_job_and_is_named(
    inputs: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = int(PreparedData.open(inputs / "data").window_ids(WINDOW, "test")[25])

    def in_actor(attributor: Attributor, *others: object) -> object:
        class Deadly(Attributor):
            def __call__(
                self, windows: Windows, true_positive: NDArray[np.bool_] | None = None
            ) -> WindowAttribution:
                if poison in windows.window_id:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__call__(windows, true_positive)

        attributor.__class__ = Deadly
        # The actor's own module: here its `run_shard` is this function.
        module: Any = import_module(shards.__name__)
        return module.run_shard(attributor, *others)

    monkeypatch.setattr(shards, "run_shard", in_actor)
    with pytest.raises(ShardError, match=rf"window_id {poison} of shard \d+ failed 4 times"):
        run(inputs, tmp_path, 2)
    assert not (tmp_path / "kmers").exists()
    assert len(list(tmp_path.glob("shards/*.parquet"))) == 5


@pytest.mark.slow
def test_a_resumed_attribution_computes_only_what_is_missing(
    inputs: Path, calm: Calm, tmp_path: Path
) -> None:
    shutil.copytree(calm.folder, tmp_path, dirs_exist_ok=True)
    shards = sorted(tmp_path.glob("shards/*.parquet"))
    before = [path.stat().st_mtime_ns for path in shards]
    shards[3].unlink()
    assert run(inputs, tmp_path, 1).digest == calm.record.digest
    changed = [path.stat().st_mtime_ns != was for path, was in zip(shards, before, strict=True)]
    assert changed == [False, False, False, True, False, False]


def job(inputs: Path, out: Path, *more: str) -> Outcome:
    given = ["--model", f"{inputs}/model", "--data", f"{inputs}/data", "--out", out]
    return run_job("attribute", *given, *more)


def test_the_job_writes_its_manifest_last_and_prints_the_tables(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = job(inputs, out, "--methods", "tp", "--k", "4", "--actors", "2")
    manifest = read_json(out / "manifest.json")
    assert manifest["simulated"] is True
    assert manifest["digest"] == done.found["digest"]
    assert manifest["digest"] in done.text
    assert "tp " in done.text
    assert (out / "kmers" / "tp.csv").read_text().startswith("kmer,")
    job(inputs, out, "--methods", "tp", "--k", "4", "--resume")
    assert read_json(out / "manifest.json") == manifest


@pytest.mark.slow
def test_any_setting_can_be_given_and_convergence_is_in_the_manifest(
    inputs: Path, cluster: Cluster, tmp_path: Path
) -> None:
    fixed = ("--set", "tolerance=null", "--set", "steps=2", "--set", "shuffles=2")
    done = job(inputs, tmp_path / "out", "--methods", "ig", *fixed)
    found = read_json(tmp_path / "out" / "manifest.json")["convergence"]["ig"]
    assert found["nodes_mean"] == 4
    job(inputs, tmp_path / "tp", "--methods", "tp", "--set", "k=3", "--set", "merge_strands=true")
    table = (tmp_path / "tp" / "kmers" / "tp.csv").read_text().splitlines()
    assert {len(line.split(",")[0]) for line in table[1:]} == {3}
    assert len(table) - 1 <= 32
    assert "ig: 4 gradients per window and strand; error of the sum" in done.text


REFUSED: dict[str, tuple[list[str], str]] = {
    "method": (["--methods", "ig,shap"], "--methods: shap: unknown"),
    "setting": (["--set", "shuffle=4"], "--set: shuffle: unknown key, did you mean shuffles"),
    "split": (
        ["--split", "holdout"],
        "--split: holdout: unknown split.*train, val, test",
    ),
    "actors": (["--actors", "99"], "--actors: 99: .*the cluster has"),
    "model": (["--model", "nowhere"], "nowhere: there is no such folder"),
    "data": (["--data", "nowhere"], "nowhere: there is no such folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    inputs: Path, cluster: Cluster, tmp_path: Path, case: str
) -> None:
    more, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        job(inputs, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()
