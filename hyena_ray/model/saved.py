"""A window model as a folder: weights, configuration and readout.

The folder is a Hugging Face one too: `AutoModelFor...Classification.from_pretrained` reads it, once
`hyena_ray.model.huggingface` is imported.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePath

from pydantic import Field

from hyena_ray.dataset.tokens import TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_folder, read_json, write_json
from hyena_ray.model.baseline_models import BASELINES
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.boosted_trees import BoostedTrees
from hyena_ray.model.classifier import Classifier, HyenaDNAClassifier
from hyena_ray.model.configuration import (
    CONFIG_CLASSES,
    HUGGING_FACE_CLASSES,
    BoostedTreesConfig,
    HyenaConfig,
    TransformersConfig,
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
from hyena_ray.model.settings import CARD, READOUT, Readout
from hyena_ray.model.transformers_classifier import TransformersClassifier
from hyena_ray.model.window import WindowModel, WindowScorer
from hyena_ray.model.zhunt import ZHuntModel
from hyena_ray.runs.plan import SEAL, check_seal, sealed
from hyena_ray.runs.stored_files import Fault, StoredFile, find_faults, list_files
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath, local_copy, location

CLASSIFIERS: dict[str, type[Classifier]] = {
    HyenaConfig.model_type: HyenaDNAClassifier,
    TransformersConfig.model_type: TransformersClassifier,
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
SAVE_AGAIN = "copy the model again, or make it again"
"""Remedy for a model whose files are not those that were saved."""
LONGEST_INPUT = 1_000_002
"""Tokens that the tokenizer takes at most, as published."""


class StoredReadout(Settings):
    """Content of readout.json, which is sealed; see `hyena_ray.runs.plan.sealed`."""

    readout: Readout
    calibration: BetaCalibration
    """Map from log-odds to probabilities."""
    threshold: float = Field(ge=0, le=1)
    """Calibrated probability from which a label counts as positive."""
    tile_threshold: float = Field(ge=0, le=1)
    """The same for tiles, see `WindowModel.tile_threshold`."""
    min_length: int = Field(ge=1)
    """Bases of the shortest region that is called."""
    merge_gap: int = Field(ge=0)
    """Most uncalled bases between two runs of called ones that are one region."""
    contents: tuple[StoredFile, ...]
    """Every other file of the model but its card, a text that people may edit."""

    @classmethod
    def read(cls, folder: AnyPath) -> StoredReadout:
        """Read the readout of a model, whose other files are not looked at.

        Args:
            folder: Folder of the model.

        Raises:
            InputError: The file is missing, damaged or was changed.
        """
        path = folder / READOUT
        values = read_json(path)
        if not isinstance(values, dict):
            raise InputError(path, None, "holds no readout", SAVE_AGAIN)
        stored = cls.parse({key: value for key, value in values.items() if key != SEAL}, path)
        check_seal(values, path)
        return stored

    def write(self, folder: AnyPath) -> None:
        """List the files that are in a folder, and write the readout of its model.

        Args:
            folder: Folder of the model.
        """
        names = sorted(path.name for path in folder.iterdir() if path.name not in (READOUT, CARD))
        complete = self.model_copy(update={"contents": list_files(folder, names)})
        write_json(folder / READOUT, sealed(complete.model_dump(mode="json")))

    def faults(self, folder: AnyPath) -> list[Fault]:
        """Return the files of the model that are missing or differ from those that were saved.

        Args:
            folder: Folder of the model.
        """
        listed = {file.path for file in self.contents}
        unlisted = [name for name in ("config.json", WEIGHTS) if name not in listed]
        return [
            *(Fault(name, f"is not listed in {READOUT}") for name in unlisted),
            *find_faults(folder, self.contents),
        ]


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
        if provenance is not None:
            write_json(temporary / PROVENANCE, provenance.model_dump(mode="json"))
        stored = StoredReadout(
            readout=model.readout,
            calibration=model.calibration,
            threshold=model.threshold,
            tile_threshold=model.tile_threshold,
            min_length=model.min_length,
            merge_gap=model.merge_gap,
            contents=(),
        )
        stored.write(temporary)


@contextmanager
def adding_to_model(folder: AnyPath, *names: str) -> Iterator[None]:
    """List files of a model that the block writes, and none of them until it has.

    Args:
        folder: Folder of the model.
        names: Names of the files.
    """
    stored = StoredReadout.read(folder)
    others = tuple(file for file in stored.contents if file.path not in names)
    if others != stored.contents:
        # A job that is killed in the block leaves a model that can still be read.
        listed = stored.model_copy(update={"contents": others})
        write_json(folder / READOUT, sealed(listed.model_dump(mode="json")))
    yield
    stored.write(folder)


def copy_with_threshold(folder: AnyPath, out: AnyPath, threshold: float) -> float:
    """Copy a trained model, and give the copy another threshold.

    Its card says so. The figures that the model was scored with stay those of their threshold.

    Args:
        folder: Folder of the model.
        out: Folder to make.
        threshold: Probability from which a label counts as positive, 0 to 1.

    Returns:
        The threshold of the model that was copied.

    Raises:
        InputError: A file of the model is missing, damaged or changed.
    """
    with local_copy(folder) as model, atomic_folder(out, last=READOUT) as temporary:
        stored = checked_readout(model)
        shutil.copytree(model, temporary, dirs_exist_ok=True)
        note = (
            f"> **Another threshold.** Bases are called from a probability of {threshold:g}. "
            f"Everything below is about the model as it was trained, with {stored.threshold:g}.\n\n"
        )
        if (temporary / CARD).is_file():
            card = (temporary / CARD).read_text(encoding="utf-8")
            # What the Hub reads of it stays at its beginning.
            data, mark, text = card.partition("\n---\n")
            noted = f"{data}{mark}\n{note}{text.lstrip()}" if mark else f"{note}{card}"
            (temporary / CARD).write_text(noted, encoding="utf-8")
        stored.model_copy(update={"threshold": threshold}).write(temporary)
    return stored.threshold


def checked_readout(folder: Path) -> StoredReadout:
    """Read the readout of a model whose files are those that were saved.

    Args:
        folder: Folder of the model.

    Raises:
        InputError: A file is missing, damaged or was changed; names the first one.
    """
    stored = StoredReadout.read(folder)
    for fault in stored.faults(folder):
        raise InputError(folder / fault.path, None, fault.problem, SAVE_AGAIN)
    return stored


def load_window_model(folder: str | PurePath) -> WindowModel:
    """Read what `save_window_model` wrote; in evaluation mode, on the CPU.

    Args:
        folder: Folder of a run, or `model/` in it, on a disk or on S3.

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
    with local_copy(model_folder(location(folder))) as files:
        stored = checked_readout(files)
        classifier = _load_classifier(files)
    model = WindowModel(classifier, stored.readout)
    model.calibration = stored.calibration
    model.threshold = stored.threshold
    model.tile_threshold = stored.tile_threshold
    model.min_length, model.merge_gap = stored.min_length, stored.merge_gap
    return model.eval()


def model_folder(folder: AnyPath) -> AnyPath:
    """Return the folder of the trained model that a run has, before all of it is copied from S3.

    Args:
        folder: The folder of a model, or that of a training or a search.

    Raises:
        InputError: There is no model in either place.
    """
    places = (folder, folder / "model")
    found = next((place for place in places if (place / READOUT).is_file()), None)
    if found is None:
        wanted = " nor ".join(str(place / READOUT) for place in places)
        problem = f"no trained model is there: neither {wanted} exists"
        remedy = "give the folder of a complete training or search, or of a model"
        raise InputError("model", folder, problem, remedy)
    return found


def _load_classifier(folder: Path) -> Classifier:
    values = read_json(folder / "config.json")
    name = values.get("model_type") if isinstance(values, dict) else None
    if name not in CONFIG_CLASSES:
        raise InputError(
            folder / "config.json", name, "unknown model_type", f"use {', '.join(CONFIG_CLASSES)}"
        )
    weights = read_tensors(folder / WEIGHTS)
    config = parse_config(CONFIG_CLASSES[name], values, folder / "config.json")
    shapes = weight_shapes(CLASSIFIERS[name], config)
    state = complete_weights(weights, shapes, folder / WEIGHTS)
    classifier = CLASSIFIERS[name](config)
    classifier.load_state_dict(state)
    return classifier


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


def model_sha256(model: WindowScorer) -> str:
    """Return the sha256 of all that a model's figures depend on, whatever file it came from.

    These are its configuration, weights, readout, calibration, thresholds and what it calls a
    region.

    Args:
        model: Model on any device.

    Returns:
        Hex SHA-256; of an ensemble those of its members, with commas between them.
    """
    return ",".join(map(_sha256, model.members))


def _sha256(model: WindowModel) -> str:
    digest = hashlib.sha256(model.readout.model_dump_json().encode())
    digest.update(model.calibration.model_dump_json().encode())
    thresholds = float(model.threshold), float(model.tile_threshold)
    digest.update(repr((*thresholds, model.min_length, model.merge_gap)).encode())
    config = asdict(model.classifier.config)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()
