"""A moving average of the weights is what its formula says, and leaves the training alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hyena_ray.model.window import WindowModel
from hyena_ray.training.ema import WeightAverage
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import new_model

DECAY = 0.4
"""From the seventh update on; (1 + n) / (10 + n) before."""


def small_model(architecture: str) -> WindowModel:
    changes: dict[str, Any] = {
        "model.architecture": architecture,
        "model.d_model": 8,
        "model.channels": 8,
        "model.n_layer": 1,
        "data.length": 20,
        "readout.flank": 4,
        "readout.lookahead": 4,
    }
    return new_model(RunSettings().updated(changes, "test"))


def shift(model: WindowModel, amount: float) -> None:
    """As a step would, running statistics included."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor += amount
            elif tensor.ndim == 0:
                tensor += 1


def expected(steps: list[Tensor]) -> Tensor:
    average = steps[0]
    for number, value in enumerate(steps[1:], start=1):
        share = min(DECAY, (1 + number) / (10 + number))
        average = share * average + (1 - share) * value
    return average


@pytest.mark.parametrize("architecture", ["hyenadna", "dilated_cnn"])
def test_every_weight_and_statistic_is_the_average_over_the_steps(architecture: str) -> None:
    model = small_model(architecture)
    average = WeightAverage(model, DECAY)
    seen: dict[str, list[Tensor]] = {name: [] for name in model.state_dict()}
    for step in range(12):
        shift(model, 0.1 * step)
        average.after_step()
        for name, value in model.state_dict().items():
            seen[name].append(value.clone())
    for name, value in average.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected(seen[name]), msg=name)
        else:
            assert torch.equal(value, seen[name][-1]), name


@pytest.mark.parametrize("architecture", ["hyenadna", "dilated_cnn"])
def test_the_average_and_its_state_equal_those_of_torch_to_the_last_bit(architecture: str) -> None:
    def move(averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
        kept = min(DECAY, (1 + int(steps)) / (10 + int(steps)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - kept)
            else:
                average.copy_(value)

    model = small_model(architecture)
    ours = WeightAverage(model, DECAY)
    theirs = AveragedModel(model, multi_avg_fn=move, use_buffers=True)  # type: ignore[arg-type]
    for step in range(9):
        shift(model, 0.1 * step)
        ours.after_step()
        with torch.no_grad():
            theirs.update_parameters(model)
        if step == 4:  # a checkpoint of torch's average can be resumed
            again = WeightAverage(model, DECAY)
            again.load_state_dict(theirs.state_dict())
            ours = again
    state, expected_state = ours.state_dict(), theirs.state_dict()
    assert state.keys() == expected_state.keys()
    for name, value in expected_state.items():
        assert torch.equal(state[name], value.cpu() if name == "n_averaged" else value), name


def test_averaging_leaves_the_trained_model_alone() -> None:
    model = small_model("dilated_cnn")
    average = WeightAverage(model, DECAY)
    for _ in range(3):
        shift(model, 1.0)
        before = copy.deepcopy(model.state_dict())
        average.after_step()
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), name
    assert average.model is not model


def test_without_a_decay_the_model_itself_is_kept() -> None:
    model = small_model("hyenadna")
    average = WeightAverage(model, 0.0)
    average.after_step()
    assert average.model is model
    assert average.state_dict() == {}
