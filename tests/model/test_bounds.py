"""A config.json that somebody else wrote takes neither memory nor time, whatever it says."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from hyena_ray.errors import InputError
from hyena_ray.model.build import build_model
from hyena_ray.model.configuration import CONFIG_CLASSES, parse_config
from hyena_ray.model.pretrained import weight_shapes
from hyena_ray.model.saved import (
    CLASSIFIERS,
    StoredReadout,
    load_window_model,
    save_window_model,
)
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.tasks import TASKS

NUMBERS = [
    (name, field.name)
    for name, config_class in CONFIG_CLASSES.items()
    for field in fields(config_class)
    if "int" in str(field.type) or "float" in str(field.type)
]
FIXED = {"hyena_order"}
"""Has one value only."""


@pytest.mark.parametrize(("model", "number"), NUMBERS)
@pytest.mark.parametrize("value", [-(10**7), 10**9, 10**30, 1e300, -1e300, float("inf")])
def test_no_number_of_a_configuration_is_without_bounds(
    model: str, number: str, value: float
) -> None:
    config_class = CONFIG_CLASSES[model]
    assert number in FIXED or number in config_class.BOUNDS
    values = {number: value}
    for shape in (value, [value], [value, value], [[value, value]]):
        with pytest.raises(InputError, match=number):
            parse_config(config_class, values | {number: shape}, Path("config.json"))


@pytest.mark.parametrize("model", CONFIG_CLASSES)
def test_shapes_are_known_without_a_model(model: str) -> None:
    config = CONFIG_CLASSES[model]()
    state = torch.random.get_rng_state()
    shapes = weight_shapes(CLASSIFIERS[model], config)
    assert torch.equal(state, torch.random.get_rng_state())
    built = CLASSIFIERS[model](config).state_dict()
    assert shapes == {name: weight.shape for name, weight in built.items()}


LARGE = {
    "hyenadna": {"d_model": 65536, "d_inner": 65536, "n_layer": 64, "filter_order": 65536},
    "dilated_cnn": {"channels": 65536, "kernel_size": 1001},
    "bilstm": {"channels": 65536, "n_layer": 64},
}
"""Sizes within their bounds, whose weights would take terabytes."""


@pytest.mark.parametrize("model", LARGE)
def test_a_model_that_its_file_does_not_hold_is_not_built(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ModelSettings(architecture=model, d_model=8, n_layer=1, channels=8)  # type: ignore[arg-type]
    readout = Readout(window=20, flank=4, lookahead=4)
    built = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
    save_window_model(built, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    values = json.loads(path.read_text()) | LARGE[model]
    path.write_text(json.dumps(values))
    StoredReadout.read(path.parent).write(path.parent)  # the file is listed as it is
    devices = []
    whole = torch.nn.Module.__init__

    def note(self: torch.nn.Module, *given: object, **named: object) -> None:
        devices.append(torch.get_default_device().type)
        whole(self, *given, **named)

    monkeypatch.setattr(torch.nn.Module, "__init__", note)
    with pytest.raises(InputError, match=r"model\.safetensors.*(mismatch|missing)"):
        load_window_model(tmp_path / "model")
    assert set(devices) == {"meta"}
