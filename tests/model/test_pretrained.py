"""Every published layout is read to the same weights, and nothing else passes for a checkpoint."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForTokenClassification
from transformers.utils import logging as hf_logging

from hyena_ray.errors import InputError
from hyena_ray.model.huggingface import (
    HyenaDNAConfig,
    HyenaDNAForCausalLM,
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
    HyenaDNAModel,
)
from hyena_ray.model.pretrained import resolve_checkpoint


@pytest.fixture
def weights(language_model: HyenaDNAForCausalLM) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in language_model.state_dict().items()}


@pytest.fixture
def folder(language_model: HyenaDNAForCausalLM, tmp_path: Path) -> Path:
    language_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def bare(folder: Path) -> Path:
    """A folder with config.json alone."""
    (folder / "model.safetensors").unlink()
    return folder


def original_config(config: HyenaDNAConfig) -> dict[str, object]:
    return {
        "d_model": config.d_model,
        "n_layer": config.n_layer,
        "d_inner": config.d_inner,
        "vocab_size": 12,
        "resid_dropout": 0.0,
        "embed_dropout": 0.1,
        "pad_vocab_size_multiple": 8,
        "checkpoint_mixer": True,
        "layer": {
            "_name_": "hyena",
            "emb_dim": 5,
            "filter_order": config.filter_order,
            "local_order": 3,
            "l_max": config.max_seq_len,
            "modulate": True,
            "w": 10,
            "lr": 6e-4,
        },
    }


def lightning(weights: dict[str, Tensor], level: str = "") -> dict[str, object]:
    """Under the names of the original files; `level` is what activation checkpointing adds."""
    state: dict[str, object] = {
        "model."
        + name.removeprefix("hyena.")
        .replace(".mixer.", f".mixer.{level}")
        .replace(".mlp.", f".mlp.{level}"): value
        for name, value in weights.items()
    }
    return {"epoch": 3, "state_dict": state | {"train_torchmetrics.count": torch.tensor(1)}}


@pytest.mark.parametrize("copies", [(1,), (3,), (5,), (1, 5), (1, 3, 5)])
def test_a_shared_frequency_may_be_stored_once_twice_or_thrice(
    copies: tuple[int, ...], weights: dict[str, Tensor], bare: Path, ids: Tensor
) -> None:
    kept = {
        name: value
        for name, value in weights.items()
        if not name.endswith(".freq") or int(name.split(".")[-2]) in copies
    }
    for name in kept:
        if name.endswith(".freq"):
            kept[name] = torch.linspace(5, 15, 8)[None].clone()
    save_file(kept, bare / "model.safetensors")
    model = HyenaDNAForCausalLM.from_pretrained(bare)
    sines = model.hyena.backbone.layers[1].mixer.filter_fn.implicit_filter
    assert torch.equal(sines[5].freq, torch.linspace(5, 15, 8)[None])
    assert sines[1].freq is sines[5].freq


@pytest.mark.parametrize("level", ["", "layer."])
def test_an_original_lightning_file_is_read(
    level: str,
    language_model: HyenaDNAForCausalLM,
    weights: dict[str, Tensor],
    config: HyenaDNAConfig,
    tmp_path: Path,
    ids: Tensor,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(original_config(config)))
    torch.save(lightning(weights, level), tmp_path / "weights.ckpt")
    model = HyenaDNAForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(model(ids).logits, language_model(ids).logits)


def test_a_torch_file_of_the_port_is_read(
    language_model: HyenaDNAForCausalLM, weights: dict[str, Tensor], bare: Path, ids: Tensor
) -> None:
    torch.save(weights, bare / "pytorch_model.bin")
    model = HyenaDNAForCausalLM.from_pretrained(bare).eval()
    assert torch.equal(model(ids).logits, language_model(ids).logits)


def test_without_a_language_model_head_the_embeddings_stand_in(
    language_model: HyenaDNAForCausalLM, weights: dict[str, Tensor], bare: Path
) -> None:
    del weights["lm_head.weight"]
    torch.save(weights, bare / "pytorch_model.bin")
    model = HyenaDNAForCausalLM.from_pretrained(bare)
    assert torch.equal(model.lm_head.weight, language_model.get_input_embeddings().weight)


@pytest.mark.parametrize(
    "kind", [HyenaDNAModel, HyenaDNAForTokenClassification, HyenaDNAForSequenceClassification]
)
def test_a_language_model_gives_its_backbone_to_every_head(
    kind: type, language_model: HyenaDNAForCausalLM, folder: Path
) -> None:
    model = kind.from_pretrained(folder)
    backbone = model if kind is HyenaDNAModel else model.hyena
    for name, value in language_model.hyena.state_dict().items():
        assert torch.equal(backbone.state_dict()[name], value)


@pytest.mark.parametrize(
    "kind",
    [
        HyenaDNAModel,
        HyenaDNAForCausalLM,
        HyenaDNAForTokenClassification,
        HyenaDNAForSequenceClassification,
    ],
)
def test_saving_and_loading_keeps_every_bit(
    kind: type, config: HyenaDNAConfig, tmp_path: Path
) -> None:
    config.num_labels = 2 if kind in (HyenaDNAModel, HyenaDNAForCausalLM) else 3
    model = kind(config)
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.config.num_labels == config.num_labels
    assert model.state_dict().keys() == again.state_dict().keys()
    assert sum(name.endswith(".freq") for name in load_file(tmp_path / "model.safetensors")) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_auto_classes_know_the_models(folder: Path) -> None:
    assert type(AutoModel.from_pretrained(folder)) is HyenaDNAModel
    assert type(AutoModelForCausalLM.from_pretrained(folder)) is HyenaDNAForCausalLM
    classifier = AutoModelForTokenClassification.from_pretrained(folder, num_labels=4)
    assert type(classifier) is HyenaDNAForTokenClassification
    assert classifier.score.out_features == 4


def test_a_head_that_is_to_be_trained_is_one_line_of_the_log(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = hf_logging.get_verbosity()
    with caplog.at_level(logging.INFO):
        model = HyenaDNAForTokenClassification.from_pretrained(folder)
        (line,) = caplog.messages
        assert line == f"{folder}: holds no weights of a head (score), which is to be trained"
        model.save_pretrained(tmp_path / "whole")
        HyenaDNAForTokenClassification.from_pretrained(tmp_path / "whole")
        HyenaDNAModel.from_pretrained(folder)
        assert caplog.messages == [line]
    assert hf_logging.get_verbosity() == before


def test_values_of_the_configuration_may_be_given(folder: Path) -> None:
    model = HyenaDNAForTokenClassification.from_pretrained(
        folder, num_labels=3, class_weights=[1.0, 2.0, 3.0], dtype=torch.bfloat16
    )
    assert model.config.class_weights == [1.0, 2.0, 3.0]
    assert model.dtype == torch.bfloat16
    filters = model.hyena.backbone.layers[0].mixer.filter_fn
    assert {tensor.dtype for tensor in filters.state_dict().values()} == {torch.float32}


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_does_not_run(name: str, zipped: bool, bare: Path) -> None:
    target = bare / "ran"
    if zipped:
        torch.save({"state_dict": Payload(target)}, bare / name)
    else:
        (bare / name).write_bytes(pickle.dumps(Payload(target)))
    with pytest.raises(InputError, match="damaged or unsafe"):
        HyenaDNAModel.from_pretrained(bare)
    assert not target.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "weights.ckpt"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.999])
def test_a_truncated_or_empty_file_is_refused(
    name: str, kept: float, weights: dict[str, Tensor], bare: Path
) -> None:
    path = bare / name
    if name.endswith(".safetensors"):
        save_file({key: value for key, value in weights.items() if "freq" not in key}, path)
    else:
        torch.save(weights, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match=r"damaged|holds no"):
        HyenaDNAModel.from_pretrained(bare)


def damage(name: str) -> Callable[[dict[str, Tensor]], None]:
    def apply(weights: dict[str, Tensor]) -> None:
        key = next(key for key in weights if key.endswith(name))
        weights[key] = weights[key].clone()
        weights[key].flatten()[1] = float("nan")

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("fc1.weight"), "NaN"),
        (damage("pos_emb.z"), "NaN"),
        (lambda w: w.pop("hyena.backbone.ln_f.bias"), "ln_f.bias: missing"),
        (
            lambda w: w.update({"hyena.backbone.ln_f.bias": torch.zeros(3)}),
            r"shape mismatch: \(3,\) here, \(16,\) by config.json",
        ),
        (
            lambda w: w.update(
                {"hyena.backbone.embeddings.word_embeddings.weight": torch.zeros(24, 16)}
            ),
            "vocabulary mismatch",
        ),
        (lambda w: w.clear(), "holds no HyenaDNA weights"),
    ],
)
def test_unfit_weights_are_refused_in_one_line(
    change: Callable[[dict[str, Tensor]], None],
    message: str,
    weights: dict[str, Tensor],
    bare: Path,
) -> None:
    change(weights)
    torch.save(weights, bare / "pytorch_model.bin")
    with pytest.raises(InputError, match=message) as caught:
        HyenaDNAForCausalLM.from_pretrained(bare)
    assert "\n" not in str(caught.value)


def test_buffers_that_restate_the_configuration_may_be_missing(
    weights: dict[str, Tensor], bare: Path, language_model: HyenaDNAForCausalLM, ids: Tensor
) -> None:
    kept = {k: v for k, v in weights.items() if "pos_emb" not in k and "deltas" not in k}
    torch.save(kept, bare / "pytorch_model.bin")
    model = HyenaDNAForCausalLM.from_pretrained(bare).eval()
    assert torch.equal(model(ids).logits, language_model(ids).logits)


def test_a_folder_without_configuration_or_weights_is_refused(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace("hyenadna", "gpt2"))
    with pytest.raises(InputError, match="not the configuration of a HyenaDNA"):
        HyenaDNAModel.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        HyenaDNAModel.from_pretrained(folder)
    (folder / "config.json").write_text(text)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="holds none of"):
        HyenaDNAModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("d_model", "wide"), ("d_model", -4), ("n_layer", 1.5), ("hyena_order", 4)]
)
def test_a_configuration_with_unfit_values_is_refused(
    key: str, value: object, folder: Path
) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {key: value}))
    with pytest.raises(InputError, match=key):
        HyenaDNAModel.from_pretrained(folder)


def test_a_hub_id_needs_a_revision() -> None:
    with pytest.raises(InputError, match="needs a revision"):
        resolve_checkpoint("LongSafari/hyenadna-tiny-1k-seqlen-hf")


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder and no hub id"):
        resolve_checkpoint(tmp_path / "nothing", revision="main")


def test_a_hub_id_is_downloaded_at_its_revision(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repo: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        assert "config.json" in allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    HyenaDNAModel.from_pretrained("someone/some-model", revision="0123abc")
    assert asked == [("someone/some-model", "0123abc")]


def test_a_failed_download_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise OSError("offline\nwith details")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError, match=r"cannot be downloaded \(offline\)"):
        resolve_checkpoint("someone/some-model", "0123abc")
