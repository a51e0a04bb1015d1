"""Attribution on a GPU: the scores of the CPU, the same bits every time, and memory that ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hyena_ray.attribution import engine
from hyena_ray.attribution.engine import Attributor, WindowAttribution, attribute_windows
from hyena_ray.attribution.path_baselines import dinucleotide_shuffles, draw_noise
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import ShardPlan, merge_shards, missing_shards, run_shard
from hyena_ray.dataset.keyed_random import Words
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from tests.attribution.small_model import FLANK, WINDOW, draw_windows, hyenadna
from tests.attribution.test_shards import data as prepared_data

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SETTINGS = AttributionSettings(
    methods=("ig", "noisy_ig", "smoothgrad", "input_x_gradient", "ism"), samples=4
)
data = prepared_data


def model_of() -> WindowModel:
    model = hyenadna()
    model.threshold = 0.0
    return model


def regions(count: int) -> Windows:
    """Windows with a region of one to five bases each, at every place in turn."""
    windows = draw_windows(count)
    labels = np.zeros_like(windows.labels)
    for row in range(count):
        first = row % labels.shape[1]
        labels[row, first : first + 1 + row % 5] = 1
    return windows._replace(labels=labels)


def assert_same(first: WindowAttribution, second: WindowAttribution, bound: float) -> None:
    for name, expected in first.scores.items():
        largest = np.abs(expected).max(1)
        assert (np.abs(second.scores[name] - expected).max(1) <= bound * largest).all(), name


def drawn_on_the_cpu(
    keys: Words, copies: int, shape: tuple[int, int], device: torch.device
) -> torch.Tensor:
    return draw_noise(keys, copies, shape, CPU).to(device)


def test_scores_are_those_of_the_cpu_where_the_noise_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model, windows = model_of(), regions(60)
    expected = attribute_windows(model, windows, SETTINGS)
    monkeypatch.setattr(engine, "draw_noise", drawn_on_the_cpu)
    assert_same(expected, attribute_windows(model.to(CUDA), windows, SETTINGS), 1e-5)


@pytest.mark.parametrize("architecture", ["dilated_cnn", "bilstm"])
def test_baselines_are_attributed_as_on_the_cpu(architecture: Architecture) -> None:
    model = build_model(
        ModelSettings(architecture=architecture, channels=16),
        Readout(window=WINDOW, flank=FLANK, lookahead=0, strands="both"),
        LoraSettings(),
        TASKS["zdna"],
        seed=0,
    )
    model.threshold = 0.0
    settings = SETTINGS.updated({"methods": ("ig", "input_x_gradient")}, "test")
    expected = attribute_windows(model, regions(20), settings)
    model.to(CUDA)
    results = [attribute_windows(model, regions(20), settings) for _ in range(2)]
    assert_same(expected, results[0], 1e-5)
    for name, scores in results[0].scores.items():
        assert scores.tobytes() == results[1].scores[name].tobytes()


def test_noise_of_a_gpu_is_as_large_as_that_of_the_cpu() -> None:
    keys = np.arange(4, dtype=np.uint64)
    for device in (CPU, CUDA):
        noise = draw_noise(keys, 50, (100, 32), device)
        assert noise.mean().abs().item() < 0.005
        assert abs(noise.std().item() - 1) < 0.005
        assert torch.equal(noise[2:3], draw_noise(keys[2:3], 50, (100, 32), device))


def test_shuffles_are_those_of_the_cpu() -> None:
    bases = np.random.default_rng(0).integers(0, 5, (200, 164)).astype(np.uint8)
    keys = np.arange(200, dtype=np.uint64)
    on_gpu = dinucleotide_shuffles(bases, keys, CUDA)
    assert torch.equal(on_gpu.cpu(), dinucleotide_shuffles(bases, keys, CPU))


def test_every_call_gives_the_same_bits_recorded_or_not() -> None:
    model, windows = model_of().to(CUDA), regions(60)
    with Attributor(model, SETTINGS) as attributor:
        results = [attributor(windows) for _ in range(6)]
        assert attributor.graphs > 0
    for result in results[1:]:
        for name, scores in results[0].scores.items():
            assert scores.tobytes() == result.scores[name].tobytes(), name


def test_the_digest_is_one_whatever_process_does_which_shard(
    data: PreparedData, tmp_path: Path
) -> None:
    model = model_of().to(CUDA)
    settings = SETTINGS.updated({"k": 3, "min_count": 1}, "test")
    plan = ShardPlan.make(model, data, split="test", settings=settings, size=16)
    digests = set()
    for number, order in enumerate((1, -1)):
        folder = tmp_path / str(number)
        attributor = Attributor(model, settings)
        for index in missing_shards(plan, folder)[::order]:
            if number == 0:  # as if another process did every shard
                attributor.close()
                attributor = Attributor(model, settings)
            run_shard(attributor, data, plan, index, folder)
        attributor.close()
        digests.add(merge_shards(plan, folder).digest)
    assert len(digests) == 1


def test_passes_that_the_memory_does_not_hold_are_halved() -> None:
    torch.cuda.empty_cache()
    model, windows = model_of().to(CUDA), regions(60)
    settings = SETTINGS.updated({"methods": ("ig",), "batch": 1 << 24}, "test")
    total = torch.cuda.get_device_properties(CUDA).total_memory
    expected = attribute_windows(model, windows, SETTINGS.updated({"methods": ("ig",)}, "test"))
    torch.cuda.set_per_process_memory_fraction((2 << 30) / total)
    try:
        found = attribute_windows(model, windows, settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.positions < 1 << 24
    assert_same(expected, found, 1e-5)
