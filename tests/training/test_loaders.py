"""A source yields every window, on any device, and reports each batch once it has been used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.model import devices
from hyena_ray.training import loaders
from hyena_ray.training.loaders import ArraySource, ProgressSource


def test_a_progress_source_gives_the_same_batches_and_reports_each_once_it_was_used(
    small_data: Path,
) -> None:
    windows = PreparedData.open(small_data).read(40, "train", 70)
    reported: list[int] = []
    plain, counted = ArraySource(windows), ProgressSource(ArraySource(windows), reported.append)
    assert counted.count == 70
    before = []
    for ours, theirs in zip(
        counted.batches(32, epoch=1, seed=2), plain.batches(32, epoch=1, seed=2), strict=True
    ):
        before.append(sum(reported))
        assert torch.equal(ours.tokens(), theirs.tokens())
    assert before == [0, 32, 64]
    assert reported == [32, 32, 6]


def windows(count: int) -> Windows:
    ids = np.arange(count)
    tokens = np.arange(count * 4).reshape(count, 4).astype(np.uint8)
    labels = tokens.astype(np.int8)[:, 1:3]
    return Windows(ids, np.full(count, "c"), ids, tokens, labels, np.ones(count, np.uint8))


class Gpu:
    """A fake GPU that records the shapes of the arrays that were copied to it."""

    device = torch.device("cuda")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: float) -> None:
        self.copied: list[tuple[int, ...]] = []
        monkeypatch.setattr(loaders, "upload", self.upload)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))

    def upload(self, array: np.ndarray, device: torch.device) -> torch.Tensor:
        assert device == self.device
        self.copied.append(array.shape)
        return torch.from_numpy(array.copy())


@pytest.mark.parametrize("part_bytes", [1, 64, 1 << 20])
def test_windows_that_fit_on_a_gpu_are_copied_once_and_gathered_there(
    monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    gpu, source = Gpu(monkeypatch, free=1e9), ArraySource(windows(50))
    monkeypatch.setattr(loaders, "UPLOAD_BYTES", part_bytes)
    for epoch in range(2):
        for batch in source.batches(8, epoch=epoch, seed=0):
            labels = batch.labels(gpu.device)
            assert torch.equal(batch.tokens(gpu.device)[:, 1:3], labels.to(torch.uint8))
            monkeypatch.setattr(loaders, "upload", devices.upload)
            assert torch.equal(batch.labels(), labels)
            monkeypatch.setattr(loaders, "upload", gpu.upload)
        gathered = [shape for shape in gpu.copied if len(shape) == 1]
        assert gathered == [(8,)] * 12 + [(2,)] * 2, "only the row indices of each batch"
        assert epoch == 0 or len(gathered) == len(gpu.copied), "no window is copied a second time"
        gpu.copied.clear()


def test_windows_that_do_not_fit_on_a_gpu_are_gathered_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = windows(50)
    gpu, source = Gpu(monkeypatch, free=10.0), ArraySource(given)
    (batch,) = source.batches(50, epoch=None, seed=0)
    assert np.array_equal(batch.tokens(gpu.device).numpy(), given.tokens)
    assert np.array_equal(batch.tokens(gpu.device, slice(1, None, 3)).numpy(), given.tokens[1::3])
    assert gpu.copied == [(50, 4), (17, 4)], "only the requested part is copied"


def test_read_only_arrays_of_shared_memory_can_be_read() -> None:
    given = windows(5)
    for array in (given.tokens, given.labels):
        array.flags.writeable = False
    (batch,) = ArraySource(given).batches(5, epoch=None, seed=0)
    assert np.array_equal(batch.tokens().numpy(), given.tokens)
    assert np.array_equal(batch.labels().numpy(), given.labels)
    assert (len(batch), batch.window) == (5, 2)
