"""A window model as a folder: weights, configuration and readout."""

from __future__ import annotations

import copy
from typing import get_args

from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, read_json, sha256_file, write_json
from hyena_ray.model.baselines import BASELINES
from hyena_ray.model.checkpoint import (
    checked_config,
    complete_weights,
    quiet_transformers,
    read_tensors,
)
from hyena_ray.model.classification import kind_of
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.heads import (
    HyenaDNAForSequenceClassification,
    HyenaDNAForTokenClassification,
)
from hyena_ray.model.lora import has_lora, has_peft_adapters, merge_lora, save_adapter
from hyena_ray.model.provenance import PROVENANCE, Provenance
from hyena_ray.model.settings import Readout
from hyena_ray.model.tokenizer import HyenaDNATokenizer
from hyena_ray.model.window import WindowModel
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath, local_copy
from hyena_ray.tasks import Kind

HYENADNA = HyenaDNAConfig.model_type
MODEL_CLASSES: dict[tuple[str, Kind], type[PreTrainedModel]] = {
    (HYENADNA, "base"): HyenaDNAForTokenClassification,
    (HYENADNA, "sequence"): HyenaDNAForSequenceClassification,
} | {
    (baseline.config_class.model_type, kind): baseline
    for baseline in BASELINES
    for kind in get_args(Kind)
}
"""All classifiers, by the `model_type` of their configuration and by what they label."""
CONFIG_CLASSES = {
    name: model_class.config_class for (name, _), model_class in MODEL_CLASSES.items()
}
"""Their configurations by `model_type`."""
READOUT = "readout.json"
"""What stands beside weights and configuration: which positions are read, and the threshold."""
ADAPTER = "adapter"
"""Folder there, of a model trained with LoRA: its adapters and head by themselves, as peft's."""


class StoredReadout(Settings):
    """What readout.json holds."""

    readout: Readout
    threshold: float
    """Probability from which a label counts as positive."""
    sha256: str
    """Of model.safetensors."""


def save_window_model(
    model: WindowModel, folder: AnyPath, provenance: Provenance | None = None
) -> None:
    """Write config.json, model.safetensors, the tokenizer's configuration and readout.json (readout
    and threshold), atomically.

    Adapters are merged into a copy, so that training can go on, and written by themselves to
    adapter/. An existing model is replaced.

    Args:
        model: a trained one.
        folder: to make.
        provenance: of the backbone that it was made from, which then stands beside these weights
            too: they may become somebody's backbone.
    """
    classifier = model.classifier
    merged = merge_lora(copy.deepcopy(classifier)) if has_lora(classifier) else classifier
    with atomic_folder(folder, last=READOUT, replace=True) as temporary:
        with quiet_transformers():
            merged.save_pretrained(temporary)
        HyenaDNATokenizer().save_pretrained(temporary)
        if has_peft_adapters(classifier):
            (temporary / ADAPTER).mkdir()
            save_adapter(classifier, temporary / ADAPTER)
        stored = StoredReadout(
            readout=model.readout,
            threshold=model.threshold,
            sha256=sha256_file(temporary / "model.safetensors"),
        )
        write_json(temporary / READOUT, stored.model_dump(mode="json"))
        if provenance is not None:
            write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


def load_window_model(folder: AnyPath) -> WindowModel:
    """Read what `save_window_model` wrote; in evaluation mode, on the CPU.

    Raises:
        InputError: a file is missing, damaged or changed.
    """
    path = folder / READOUT
    stored = StoredReadout.parse(read_json(path), path)
    config_values = read_json(folder / "config.json")
    name = config_values.get("model_type") if isinstance(config_values, dict) else None
    if name not in CONFIG_CLASSES:
        raise InputError(
            folder / "config.json", name, "unknown model_type", f"use {', '.join(CONFIG_CLASSES)}"
        )
    weights_path = folder / "model.safetensors"
    if not weights_path.is_file():
        raise InputError(weights_path, None, "there is no such file", "save the model again")
    with local_copy(weights_path) as file:
        weights, sha256 = read_tensors(file), sha256_file(file)
    if sha256 != stored.sha256:
        raise InputError(
            weights_path, None, "not the weights that were saved (sha256 differs)", "save it again"
        )
    config = checked_config(CONFIG_CLASSES[name], config_values, folder / "config.json")
    classifier = MODEL_CLASSES[name, kind_of(config)](config)
    shapes = {name: tensor.shape for name, tensor in classifier.state_dict().items()}
    classifier.load_state_dict(complete_weights(weights, shapes, weights_path))
    model = WindowModel(classifier, stored.readout)
    model.threshold = stored.threshold
    return model.eval()
