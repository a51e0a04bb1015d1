"""The GPU memory of a run is estimated from what autograd saves in a pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.training.footprint import BYTES_PER_WEIGHT, saved_bytes, training_bytes
from hyena_ray.training.preflight import build_untrained
from hyena_ray.training.settings import RunSettings

SMALL = {
    "data.length": 40,
    "readout.flank": 8,
    "readout.lookahead": 8,
    "model.d_model": 16,
    "model.n_layer": 1,
    "model.max_seq_len": 130,
}


def run(**changes: Any) -> RunSettings:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return RunSettings.for_task("zdna").updated({**SMALL, **dotted}, "test")


def test_only_the_inputs_of_each_layer_and_no_weights_are_counted_as_saved() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 2))
    # The first layer saves its input, and the second the output of tanh, which tanh saves too.
    assert saved_bytes(model, torch.zeros(3, 8)) == 4 * 3 * (8 + 4)


def test_weights_are_counted_with_their_gradients_moments_and_average() -> None:
    settings = run()
    weights = sum(parameter.numel() for parameter in build_untrained(settings).parameters())
    assert training_bytes([settings]) > BYTES_PER_WEIGHT * weights


@pytest.mark.parametrize(
    "larger",
    [
        {"training__batch_size": 512},
        {"model__n_layer": 4},
        {"model__d_model": 64},
        {"data__length": 100},
    ],
)
def test_a_larger_run_takes_more_memory(larger: dict[str, Any]) -> None:
    base = run(training__batch_size=256)
    changed = base.updated({key.replace("__", "."): value for key, value in larger.items()}, "test")
    assert training_bytes([changed]) > training_bytes([base])


def test_a_run_that_reads_a_track_takes_more_memory() -> None:
    scale = SignalScale(name="dnase", number=2, spread=1, low=0, high=1, mean=0, sd=1)
    base = run()
    tracked = base.updated({"readout.tracks": ["dnase"]}, "test")
    assert training_bytes([tracked], [scale]) > training_bytes([base], [scale])


def test_the_largest_of_several_runs_is_estimated() -> None:
    runs = [run(training__batch_size=size) for size in (512, 1024, 256)]
    assert training_bytes(runs) == training_bytes([runs[1]])


def test_memory_grows_linearly_with_the_batch_size() -> None:
    sizes = [training_bytes([run(training__batch_size=size)]) for size in (256, 512, 768)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]
