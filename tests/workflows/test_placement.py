"""Trials and runs follow the cluster: if it has GPUs, they are planned for GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.cluster.resources import Cluster, Resources
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.runs.run import Output
from hyena_ray.search.space import SearchSpace
from hyena_ray.settings import parse_yaml
from hyena_ray.workflows.compare import Comparison, place_runs, plan_runs
from hyena_ray.workflows.presets import Selection, load_preset
from hyena_ray.workflows.searched_space import place_trials
from hyena_ray.workflows.tune import Search
from tests.search.unread_data import prepared
from tests.tuned_run import SPACE

CPUS = Cluster(cpus=8, gpus=0, cores=None, object_store=1e12)
GPUS = CPUS._replace(gpus=2)


def space(**changes: object) -> SearchSpace:
    values = parse_yaml(SPACE, "space.yaml")
    resources = {"resources": changes.pop("resources")} if "resources" in changes else {}
    settings = {**values["settings"], **changes}
    return SearchSpace.parse({**values, **resources, "settings": settings}, "space.yaml")


def test_small_trials_share_the_gpus_of_a_cluster() -> None:
    assert place_trials(space(), None, CPUS, "shared").resources.gpu == 0
    # Three trials on two GPUs.
    placement = place_trials(space(), None, GPUS, "shared")
    assert (placement.resources.gpu, placement.concurrent) == (0.5, 3)
    placement = place_trials(space(resources={"gpu": 1}), None, GPUS, "shared")
    assert (placement.resources.gpu, placement.concurrent) == (1, 2)
    assert place_trials(space(resources={"gpu": 0}), None, GPUS, "shared").resources.gpu == 0


@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_a_precision_that_needs_a_gpu_is_refused_if_the_trials_get_none(precision: str) -> None:
    rounded = {"training.precision": precision}
    assert place_trials(space(**rounded), None, GPUS, "shared").gpu
    with pytest.raises(InputError, match=f"training.precision: {precision}: needs a GPU"):
        place_trials(space(**rounded), None, CPUS, "shared")
    with pytest.raises(InputError, match=f"training.precision: {precision}: needs a GPU"):
        place_trials(space(**rounded, resources={"gpu": 0}), None, GPUS, "shared")


def test_a_search_can_be_resumed_with_other_resources() -> None:
    plans = [
        Search(each, None, Output(Path("run")), (), None).plan(1, "shared")
        for each in (space(), space(resources={"gpu": 0.5, "cpu": 2}))
    ]
    assert plans[0].fingerprint == plans[1].fingerprint


@pytest.mark.parametrize(
    ("cluster", "gpu", "precision"),
    [(CPUS, None, "float32"), (GPUS, None, "float16"), (GPUS, 0.0, "float32")],
)
def test_a_preset_runs_in_float16_only_if_its_runs_get_a_gpu(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster, gpu: float | None, precision: str
) -> None:
    monkeypatch.setattr(PreparedData, "count", lambda data, length, split: 100)
    data, presets = prepared("promoter"), [load_preset("promoter/exp1")]
    comparison = Comparison(
        data=data,
        selection=Selection(presets, []),
        runs=plan_runs(presets, (0, 1), data, {}, gpu=False),
        output=Output(Path("out")),
        seeds=(0, 1),
        ensemble=False,
        reference="zdna/a",
        changes={},
        resources=Resources(gpu=gpu),
        address=None,
    )
    placed, placement = place_runs(comparison, cluster, "shared")
    assert {run.settings.training.precision for run in placed.runs} == {precision}
    assert placed.resources == placement.resources
    assert placement.gpu == (precision == "float16")
