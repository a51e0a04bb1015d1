"""Attribution as on a GPU: full passes of few shapes, captured, and a memory that ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hyena_ray.attribution import engine, targets
from hyena_ray.attribution.engine import Attributor, WindowAttribution, attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.model.settings import Strands
from hyena_ray.model.window import WindowModel
from tests.attribution.small_model import draw_windows, hyenadna
from tests.fake_graphs import FakeGraphs

SETTINGS = AttributionSettings(
    methods=("ig", "noisy_ig", "smoothgrad", "input_x_gradient", "ism"),
    samples=2,
    steps=4,
    max_steps=8,
)
ON_GPU = targets.PACKING["cuda"]._replace(positions=400, held=1 << 14, noisy=1 << 9)


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(targets.PACKING, "cpu", ON_GPU)
    monkeypatch.setattr(engine, "Replay", FakeGraphs)


def regions(count: int) -> Windows:
    """Windows with a short region each, at every place in turn."""
    windows = draw_windows(count)
    labels = np.zeros_like(windows.labels)
    for row in range(count):
        labels[row, row % labels.shape[1]] = 1
    return windows._replace(labels=labels)


def model_of(strands: Strands = "both") -> WindowModel:
    model = hyenadna(strands)
    model.threshold = 0.0
    return model


def assert_same(first: WindowAttribution, second: WindowAttribution) -> None:
    assert first.scores.keys() == second.scores.keys()
    for name, expected in first.scores.items():
        largest = np.abs(expected).max(1)
        assert (np.abs(second.scores[name] - expected).max(1) <= 1e-5 * largest).all(), name
        if name in first.integrals:
            assert (first.integrals[name].nodes == second.integrals[name].nodes).all()


@pytest.mark.parametrize("strands", ["forward", "both"])
def test_full_passes_of_few_shapes_give_the_same_scores(
    strands: Strands, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, windows = model_of(strands), regions(25)
    exact = attribute_windows(model, windows, SETTINGS)
    as_on_a_gpu(monkeypatch)
    shapes = set()
    whole = model.strand_logits

    def watched(points: torch.Tensor, strand: int, labels: slice) -> object:
        shapes.add((tuple(points.shape), strand, labels.start, labels.stop))
        return whole(points, strand, labels)

    monkeypatch.setattr(model, "strand_logits", watched)
    assert_same(exact, attribute_windows(model, windows, SETTINGS))
    # Four beginnings and four ends of the labels, on each strand.
    assert len(shapes) <= 10 * len(model.strands(torch.from_numpy(windows.tokens)))
    for (rows, length, _), *_ in shapes:
        assert rows == ON_GPU.positions // length


def test_what_was_recorded_serves_other_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    parts = [regions(15).rows(np.arange(first, first + 5)) for first in range(0, 15, 5)]
    exact = [attribute_windows(model, part, SETTINGS) for part in parts]
    as_on_a_gpu(monkeypatch)
    with Attributor(model, SETTINGS) as attributor:
        for expected, part in zip(exact * 2, parts * 2, strict=True):
            assert_same(expected, attributor(part))
        assert attributor.graphs > 0


def test_scores_of_a_window_keep_their_bits_whatever_else_fills_its_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_on_a_gpu(monkeypatch)
    model, windows = model_of(), regions(25)
    settings = SETTINGS.updated({"methods": ("ig", "smoothgrad")}, "test")
    whole = attribute_windows(model, windows, settings)
    again = attribute_windows(model, windows, settings)
    for name, scores in whole.scores.items():
        assert scores.tobytes() == again.scores[name].tobytes()


class Device:
    """The memory of a model's device: it runs out in a pass of more positions than it holds."""

    def __init__(self, model: WindowModel, monkeypatch: pytest.MonkeyPatch, holds: int) -> None:
        whole = model.strand_logits
        self.tried: list[int] = []

        def limited(points: torch.Tensor, *others: Any) -> torch.Tensor:
            self.tried.append(points.shape[0] * points.shape[1])
            if self.tried[-1] > holds:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB. And so.")
            return whole(points, *others)

        monkeypatch.setattr(model, "strand_logits", limited)


def test_passes_that_the_memory_does_not_hold_are_halved_once_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_on_a_gpu(monkeypatch)
    model, windows = model_of(), regions(6)
    settings = SETTINGS.updated({"methods": ("ig",), "batch": 400}, "test")
    expected = attribute_windows(model, windows, settings)
    assert expected.positions == 400
    device = Device(model, monkeypatch, holds=120)
    with Attributor(model, settings) as attributor:
        first = attributor(windows)
        device.tried.clear()
        second = attributor(windows)
    assert first.positions == second.positions == 100
    assert max(device.tried) <= 120
    assert_same(expected, first)
    assert_same(first, second)


def test_a_window_that_the_memory_does_not_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_on_a_gpu(monkeypatch)
    model = model_of()
    Device(model, monkeypatch, holds=10)
    with pytest.raises(InputError, match="batch"):
        attribute_windows(model, regions(2), SETTINGS)
    assert all(parameter.requires_grad for parameter in model.parameters())
