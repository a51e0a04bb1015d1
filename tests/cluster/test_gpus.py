"""All GPUs of a node are used; a process sees those assigned to it, or none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from hyena_ray.cluster.gpu_share import NO_GPU, keep_to
from hyena_ray.cluster.resources import FOR_TENSORS, Node, Resources

ROOT = Path(__file__).parents[2]
EACH_ONCE, EACH_TWICE, NONE = {"0": 1, "1": 1}, {"0": 2, "1": 2}, {"": 2}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> dict[str, Any]:
    """Return what `gpus_of_a_node.py` prints."""
    folder = tmp_path_factory.mktemp("gpus")
    run = subprocess.run(
        [sys.executable, "-m", "tests.cluster.gpus_of_a_node", str(folder), str(small_data)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    printed: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return printed


@pytest.mark.slow
def test_a_cluster_knows_the_gpus_of_each_node(seen: dict[str, Any]) -> None:
    assert seen["cluster"]["gpus"] == 2
    assert seen["cluster"]["nodes"] == [list(Node(6, 2, 1))]


@pytest.mark.slow
def test_a_task_sees_its_gpu_or_none_without_one(seen: dict[str, Any]) -> None:
    assert seen["tasks"]["1"] in ("0", "1")
    assert seen["tasks"]["0"] == ""


@pytest.mark.slow
def test_a_gpu_that_ray_assigns_and_torch_does_not_see_is_refused(seen: dict[str, Any]) -> None:
    assert seen["devices"]["0"] == "2 at once, each 1 CPU"
    if not torch.cuda.is_available():
        assert seen["devices"]["1"].startswith("--gpu: 1")
        assert "--gpu 0" in seen["devices"]["1"]
    else:
        assert torch.cuda.get_device_name() in seen["devices"]["1"]


@pytest.mark.slow
def test_concurrent_actors_have_different_gpus_and_those_with_half_a_gpu_share_one(
    seen: dict[str, Any],
) -> None:
    assert Counter(seen["actors"]["1"]) == EACH_ONCE
    assert Counter(seen["actors"]["0.5"]) == EACH_TWICE
    assert Counter(seen["actors"]["0"]) == NONE


@pytest.mark.slow
def test_concurrent_trials_have_different_gpus_and_those_without_one_see_none(
    seen: dict[str, Any],
) -> None:
    assert Counter(seen["trials"]["1"]) == EACH_ONCE
    assert Counter(seen["trials"]["0"]) == NONE


@pytest.mark.slow
def test_workers_without_a_gpu_see_none(seen: dict[str, Any]) -> None:
    assert Counter(seen["workers"]) == NONE


@pytest.mark.slow
def test_a_search_takes_shares_of_all_gpus_by_default(seen: dict[str, Any]) -> None:
    # Five small trials on six CPUs and two GPUs.
    resources = seen["search"]["resources"]
    assert (resources["gpu"], seen["search"]["at_once"]) == (0.25, 5)
    assert "1 CPU and 0.25 GPU" in seen["search"]["text"]


def test_a_process_without_a_gpu_hides_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in NO_GPU:
        monkeypatch.setenv(key, "0,1")
    keep_to(Resources(gpu=1))
    import os

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    keep_to(Resources(gpu=0))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_process_takes_no_more_memory_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)
    keep_to(Resources(gpu=1))
    keep_to(Resources(gpu=2))
    assert limits == []
    keep_to(Resources(gpu=0.25))
    assert limits == [FOR_TENSORS * 0.25]
