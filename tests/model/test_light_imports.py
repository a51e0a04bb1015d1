"""A worker loads no library that its model does not need: half of a process's start is imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "transformers",
    "peft",
    "sklearn",
    "xgboost",
    "huggingface_hub",
    "ray",
    "pandas",
    "matplotlib",
)
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.build import build_model, parameter_groups
from hyena_ray.model.predictor import load
from hyena_ray.model.saved import load_window_model, save_window_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.tasks import TASKS

folder, enabled = Path(sys.argv[1]), sys.argv[2] == "lora"
settings = ModelSettings(d_model=16, n_layer=1)
readout = Readout(window=20, flank=4, lookahead=4)
model = build_model(settings, readout, LoraSettings(enabled=enabled), TASKS["zdna"], seed=0)
tokens = np.random.default_rng(0).integers(7, 11, (2, 28), dtype=np.uint8)
optimizer = torch.optim.AdamW([p for group in parameter_groups(model) for p in group])
model.train()(torch.from_numpy(tokens)).square().sum().backward()
optimizer.step()
save_window_model(model, folder)
model = load_window_model(folder)
labels = np.ones((2, 20), np.int8)
names = np.array(["a", "a"])
kinds = np.ones(2, np.uint8)
windows = Windows(np.arange(2), names, np.array([0, 20]), tokens, labels, kinds)
attribute_windows(model, windows, true_positive=labels.astype(bool))
load(folder).predict("ACGT" * 5)
loaded = {name.partition(".")[0] for name in sys.modules}
print(*sorted(loaded & set(sys.argv[3].split())))
"""
SETTINGS = """
import sys
from hyena_ray.model.provenance import public_name
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout, refuse_unused
refuse_unused(ModelSettings(), 0, "here")
print(*sorted({"torch", "transformers", "peft"} & set(sys.modules)))
"""


def loaded_by(*command: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_building_training_attributing_and_predicting_load_nothing_but_torch(
    tmp_path: Path,
) -> None:
    assert loaded_by(SCRIPT, str(tmp_path / "model"), "plain", " ".join(HEAVY)) == []


def test_only_lora_loads_peft(tmp_path: Path) -> None:
    assert "peft" in loaded_by(SCRIPT, str(tmp_path / "model"), "lora", " ".join(HEAVY))


@pytest.mark.parametrize("module", ["hyena_ray", "hyena_ray.model"])
def test_the_face_of_a_room_loads_no_torch(module: str) -> None:
    assert loaded_by(f"import sys, {module}; print('torch' in sys.modules)") == ["False"]


def test_settings_are_checked_without_torch() -> None:
    assert loaded_by(SETTINGS) == []
