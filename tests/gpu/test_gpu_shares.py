"""Processes stay within their share of a GPU, and those without a GPU see none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyena_ray.cluster.pool import run_task
from hyena_ray.cluster.resources import FOR_TENSORS, Cluster, Resources, TrialResources
from hyena_ray.cluster.workers import Report, run_on_workers
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.footprint import training_bytes
from hyena_ray.training.settings import RunSettings


def test_a_cluster_started_on_this_machine_has_its_gpus(cluster: Cluster) -> None:
    assert cluster.gpus == torch.cuda.device_count()
    assert cluster.accelerators


def test_a_task_without_a_gpu_sees_none_whatever_ran_before(cluster: Cluster) -> None:
    for gpu, sees in ((1.0, True), (0.0, False), (1.0, True)):
        task = Resources(cpu=0.5, gpu=gpu)
        assert run_task(torch.cuda.is_available, task, "look") is sees


def test_a_process_cannot_allocate_more_memory_than_its_share(cluster: Cluster) -> None:
    def largest() -> float:
        total = torch.cuda.get_device_properties(0).total_memory
        block, blocks = total // 50, []
        try:
            while True:
                blocks.append(torch.empty(block, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            return len(blocks) / 50

    share = run_task(largest, Resources(cpu=0.5, gpu=0.25), "fill")
    assert FOR_TENSORS * 0.25 - 0.04 <= share <= FOR_TENSORS * 0.25


@pytest.mark.slow
def test_a_worker_trains_on_its_own_gpu_over_nccl(cluster: Cluster, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def look(workers: Workers, report: Report) -> None:
        import torch.distributed as dist

        from hyena_ray.model.devices import default_device

        value = torch.ones(2, device=default_device())
        mean = workers.mean(value)
        report(
            {
                "backend": dist.get_backend(),
                "mean": mean.tolist(),
                "merged": workers.merge(["mine"]),
                "own": value.device.index == torch.cuda.current_device(),
            }
        )

    resources = TrialResources(cpu=0.5, gpu=1, workers=1)
    run_on_workers(look, resources, tmp_path, name="look", tell=seen.update)
    assert seen == {"backend": "nccl", "mean": [1, 1], "merged": ["mine"], "own": True}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.batch_size": 256},
        {"model.n_layer": 6, "model.d_model": 256},
        {"model.architecture": "dilated_cnn"},
        {"model.architecture": "bilstm"},
        {"training.ema_decay": 0.99, "training.batch_size": 1024},
    ],
    ids=str,
)
def test_a_run_takes_no_more_memory_than_estimated(
    cluster: Cluster, small_data: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    small = {"data.length": 40, "readout.flank": 8, "readout.lookahead": 0, "training.epochs": 1}
    settings = RunSettings.for_task("zdna").updated({**small, **changes}, "test")

    def train() -> int | None:
        from hyena_ray.model.devices import default_device, peak_bytes
        from hyena_ray.training.held_out import HeldOut
        from hyena_ray.training.loaders import ArraySource
        from hyena_ray.training.supervised import train_run

        data = PreparedData.open(small_data)
        train, validation = ArraySource(data.read(40, "train")), HeldOut.read(data, "val")
        train_run(settings, train, validation, tmp_path, lambda report: None, fingerprint="f")
        return peak_bytes(default_device())

    peak = run_task(train, Resources(cpu=1, gpu=1), "train")
    assert peak is not None
    # The estimate does not include the windows and the workspaces of cuBLAS and cuFFT.
    assert peak < training_bytes([settings]) + 200e6
