"""A window model as a folder: weights, configuration and readout.

The folder is a Hugging Face one too: `AutoModelFor...Classification.from_pretrained` reads it, once
`hyena_ray.model.huggingface` is imported.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path

from hyena_ray.dataset.tokens import TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, read_json, sha256_file, write_json
from hyena_ray.model.baseline_models import BASELINES
from hyena_ray.model.boosted_trees import BoostedTrees
from hyena_ray.model.classifier import Classifier, HyenaDNAClassifier
from hyena_ray.model.configuration import (
    CONFIG_CLASSES,
    HUGGING_FACE_CLASSES,
    BoostedTreesConfig,
    HyenaConfig,
    ZHuntConfig,
    kind_of,
    parse_config,
)
from hyena_ray.model.lora import has_lora, has_peft_adapters, merge_lora, save_adapter
from hyena_ray.model.pretrained import (
    WEIGHTS,
    complete_weights,
    read_tensors,
    weight_shapes,
    write_model,
)
from hyena_ray.model.provenance import PROVENANCE, Provenance
from hyena_ray.model.settings import READOUT, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.model.zhunt import ZHuntModel
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath, local_copy

CLASSIFIERS: dict[str, type[Classifier]] = {
    HyenaConfig.model_type: HyenaDNAClassifier,
    **BASELINES,
    ZHuntConfig.model_type: ZHuntModel,
    BoostedTreesConfig.model_type: BoostedTrees,
}
"""All classifiers by the `model_type` of their configuration."""
ADAPTER = "adapter"
"""Folder in that of a model trained with LoRA: its adapters and head by themselves, as peft's."""

_SPECIAL_TOKENS = {
    "bos": "[BOS]",
    "cls": "[CLS]",
    "eos": "[SEP]",
    "mask": "[MASK]",
    "pad": "[PAD]",
    "sep": "[SEP]",
    "unk": "[UNK]",
}
LONGEST_INPUT = 1_000_002
"""Tokens that the tokenizer takes at most, as published."""


class StoredReadout(Settings):
    """Content of readout.json."""

    readout: Readout
    threshold: float
    """Probability from which a label counts as positive."""
    tile_threshold: float
    """The same for tiles, see `WindowModel.tile_threshold`."""
    sha256: str
    """Digest of model.safetensors."""


def save_window_model(
    model: WindowModel, folder: AnyPath, provenance: Provenance | None = None
) -> None:
    """Write config.json, model.safetensors, the tokenizer's files and readout.json.

    Adapters are merged into a copy, so that training can continue, and written by themselves to
    adapter/. An existing model is replaced.

    Args:
        model: A trained model.
        folder: The folder to make.
        provenance: Provenance of the backbone that the model was made from, which is stored with
            these weights too: they may become somebody's backbone.
    """
    classifier = model.classifier
    merged = merge_lora(copy.deepcopy(classifier)) if has_lora(classifier) else classifier
    with atomic_folder(folder, last=READOUT, replace=True) as temporary:
        config = merged.config
        architecture = HUGGING_FACE_CLASSES[config.model_type, kind_of(config)]
        write_model(temporary, config, merged.state_dict(), architecture)
        write_tokenizer_config(temporary)
        if has_peft_adapters(classifier):
            (temporary / ADAPTER).mkdir()
            save_adapter(classifier, temporary / ADAPTER)
        stored = StoredReadout(
            readout=model.readout,
            threshold=model.threshold,
            tile_threshold=model.tile_threshold,
            sha256=sha256_file(temporary / WEIGHTS),
        )
        write_json(temporary / READOUT, stored.model_dump(mode="json"))
        if provenance is not None:
            write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))


def load_window_model(folder: AnyPath) -> WindowModel:
    """Read what `save_window_model` wrote; in evaluation mode, on the CPU.

    Args:
        folder: Folder `model/` of a run, on a disk or on S3.

    Raises:
        InputError: A file is missing, damaged or changed.

    Example:
        >>> import tempfile
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings
        >>> from hyena_ray.tasks import TASKS
        >>> settings = ModelSettings(architecture="kmer_logistic", k=3)
        >>> model = build_model(settings, Readout(window=100), LoraSettings(), TASKS["g4"], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_window_model(model, Path(folder) / "model")
        ...     load_window_model(Path(folder) / "model").readout.window
        100
    """
    path = folder / READOUT
    stored = StoredReadout.parse(read_json(path), path)
    values = read_json(folder / "config.json")
    name = values.get("model_type") if isinstance(values, dict) else None
    if name not in CONFIG_CLASSES:
        raise InputError(
            folder / "config.json", name, "unknown model_type", f"use {', '.join(CONFIG_CLASSES)}"
        )
    weights_path = folder / WEIGHTS
    if not weights_path.is_file():
        raise InputError(weights_path, None, "there is no such file", "save the model again")
    with local_copy(weights_path) as file:
        weights, sha256 = read_tensors(file), sha256_file(file)
    if sha256 != stored.sha256:
        raise InputError(
            weights_path, None, "not the weights that were saved (sha256 differs)", "save it again"
        )
    config = parse_config(CONFIG_CLASSES[name], values, folder / "config.json")
    shapes = weight_shapes(CLASSIFIERS[name], config)
    state = complete_weights(weights, shapes, weights_path)
    classifier = CLASSIFIERS[name](config)
    classifier.load_state_dict(state)
    model = WindowModel(classifier, stored.readout)
    model.threshold = stored.threshold
    model.tile_threshold = stored.tile_threshold
    return model.eval()


def write_tokenizer_config(folder: Path) -> None:
    """Write tokenizer_config.json, byte for byte as `HyenaDNATokenizer.save_pretrained` does.

    Args:
        folder: An existing folder.
    """
    added = {
        str(TOKEN_IDS[token]): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token in sorted(set(_SPECIAL_TOKENS.values()), key=TOKEN_IDS.__getitem__)
    }
    values = {
        "added_tokens_decoder": added,
        "backend": "custom",
        **{f"{role}_token": token for role, token in _SPECIAL_TOKENS.items()},
        "model_max_length": LONGEST_INPUT,
        "padding_side": "left",
        "tokenizer_class": "HyenaDNATokenizer",
    }
    text = json.dumps(dict(sorted(values.items())), indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def model_sha256(model: WindowModel) -> str:
    """Return the sha256 of a model's weights, readout and threshold, whatever file it came from.

    Args:
        model: Model on any device.
    """
    digest = hashlib.sha256(model.readout.model_dump_json().encode())
    digest.update(repr(float(model.threshold)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()
