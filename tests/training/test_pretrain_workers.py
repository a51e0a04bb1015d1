"""Two workers pretrain what one does, at the same whole steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training import pretraining
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.genome_stream import PackedBases, WindowStream
from hyena_ray.training.pretrain_genome import held_out_windows, read_genome
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.training.pretraining import pretrain
from hyena_ray.training.settings import Objective, PretrainSettings

JOB = Path(__file__).parents[2] / "jobs" / "pretrain.py"
OBJECTIVES: tuple[Objective, ...] = ("next_base", "masked")
SETTINGS = PretrainSettings().updated(
    {
        "model.d_model": 16,
        "model.n_layer": 1,
        "masking.lookahead": 5,
        # Five windows of 64 bases: workers have three and two, of which two pass at once.
        "training.lengths": [16, 64],
        "training.tokens_per_step": 320,
        "training.tokens_per_pass": 128,
        "training.steps": 8,
        "training.evaluate_every": 4,
        "training.checkpoint_every": 3,
    },
    "test",
)


def all_of_it(folder: Path, workers: Workers) -> dict[str, Any]:
    """Weights and history of a run of either objective."""
    rng = np.random.default_rng(0)
    bases = PackedBases.of([(0, rng.integers(0, 4, 5_000, np.uint8))])
    windows = {name: rng.integers(0, 4, (5, 64), np.uint8) for name in ("a", "b")}
    found: dict[str, Any] = {}
    for objective in OBJECTIVES:
        settings = SETTINGS.updated({"objective": objective}, "test")
        out = folder / f"{objective} of {workers.size}"
        out.mkdir(exist_ok=True)
        stream = WindowStream(bases, settings)
        result = pretrain(
            settings, stream.batches, windows, out, lambda step: None, workers, fingerprint="f"
        )
        found[objective] = {"weights": result.model.state_dict(), "history": result.history}
    return found


def on_the_cpu() -> torch.device:
    """Return the CPU: the workers communicate over Gloo, and with NCCL would need two GPUs."""
    return torch.device("cpu")


def work(rank: int, size: int, folder: Path) -> None:
    """What a process does."""
    pretraining.default_device = on_the_cpu
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(all_of_it(folder, Workers.of_process_group()), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_end_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "default_device", on_the_cpu)
    multiprocessing.spawn(work, (2, tmp_path), nprocs=2)
    two = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    one = all_of_it(tmp_path, ALONE)
    for objective in OBJECTIVES:
        for found in two:
            for name, weight in one[objective]["weights"].items():
                other = found[objective]["weights"][name]
                torch.testing.assert_close(other, weight, rtol=1e-4, atol=1e-5, msg=name)
                assert torch.equal(other, two[0][objective]["weights"][name]), name
            for look, expected in zip(
                found[objective]["history"], one[objective]["history"], strict=True
            ):
                assert look["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
                assert look["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-4)


@pytest.mark.slow
def test_a_job_of_two_workers_that_was_killed_resumes_and_ends_as_one_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "default_device", on_the_cpu)
    made = simulate_genome(tmp_path, contig_length=10_000, tracts=100, decoys=50)
    settings = SETTINGS.updated({"training.steps": 100, "training.evaluate_every": 100}, "test")
    (tmp_path / "settings.yaml").write_text(settings.model_dump_json())
    out = tmp_path / "out"
    command = [sys.executable, str(JOB), "--genome", str(made.genome), "--out", str(out)]
    command += [
        "--config",
        str(tmp_path / "settings.yaml"),
        "--held-out",
        "sim2",
        "--workers",
        "2",
        "--gpu",
        "0",
    ]
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_worker_niceness": "0"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    with subprocess.Popen(command, env=environment) as first:
        deadline = time.monotonic() + 400
        while not (out / "checkpoint.pt").exists():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(300) == 128 + signal.SIGTERM
    assert not (out / "manifest.json").exists()
    subprocess.run([*command, "--resume"], env=environment, check=True, timeout=500)
    (look,) = PretrainRecord.read(out).history
    read = read_genome(made.genome, settings, held_out=["sim2"])
    windows, stream = dict(held_out_windows(read, settings)), WindowStream(read.train, settings)
    alone = pretrain(
        settings, stream.batches, windows, tmp_path, lambda step: None, fingerprint="f"
    )
    (expected,) = alone.history
    assert look.train_loss == pytest.approx(expected["train_loss"], rel=1e-3)
    assert look.perplexity == pytest.approx(expected["perplexity"], rel=1e-2)
