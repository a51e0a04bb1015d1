"""A model's folder from elsewhere runs no code and reaches no file outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from hyena_ray.errors import InputError
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.huggingface import HyenaDNAForCausalLM, HyenaDNAModel
from hyena_ray.model.saved import StoredReadout, load_window_model
from hyena_ray.model.settings import Readout


@pytest.fixture
def folder(language_model: HyenaDNAForCausalLM, tmp_path: Path) -> Path:
    language_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_code_next_to_a_model_does_not_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "modeling_x.py").write_text(f"open({str(ran)!r}, 'w')\nclass Model: pass\n")
    values = json.loads((folder / "config.json").read_text())
    names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
    values["auto_map"] = dict.fromkeys(names, "modeling_x.Model")
    (folder / "config.json").write_text(json.dumps(values))
    assert isinstance(HyenaDNAModel.from_pretrained(folder), HyenaDNAModel)
    assert isinstance(AutoModel.from_pretrained(folder), HyenaDNAModel)
    assert not ran.exists()


def test_an_index_that_names_files_outside_is_not_followed(
    folder: Path, language_model: HyenaDNAForCausalLM
) -> None:
    weights = {name: value.clone() for name, value in language_model.state_dict().items()}
    (folder / "model.safetensors").unlink()
    save_file(weights, folder.parent / "outside.safetensors")
    names = dict.fromkeys(weights, "../outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(InputError, match=r"holds none of model\.safetensors"):
        HyenaDNAModel.from_pretrained(folder)


def test_a_window_model_is_read_from_safetensors_alone(
    folder: Path, language_model: HyenaDNAForCausalLM
) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(language_model.state_dict(), folder / "pytorch_model.bin")
    StoredReadout(
        readout=Readout(window=8),
        calibration=BetaCalibration(),
        threshold=0.5,
        tile_threshold=0.5,
        min_length=1,
        merge_gap=0,
        contents=(),
    ).write(folder)
    with pytest.raises(InputError, match=r"model\.safetensors: is not listed"):
        load_window_model(folder)
