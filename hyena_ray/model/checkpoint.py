"""Read the published checkpoints, whatever their layout, and refuse what cannot be one.

Two layouts are around: the Hugging Face port (`hyena.backbone...` in model.safetensors or
pytorch_model.bin, `model_type` in config.json) and the original Lightning files
(`model.backbone...` under `state_dict` in weights.ckpt, the sizes of the filters under `layer` in
config.json).
"""

from __future__ import annotations

import atexit
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import Any, TypeVar

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import logging as hf_logging

from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.model.classification import HEAD_PREFIXES
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.storage import S3Path, local_copy, location

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "weights.ckpt")
"""In order of preference."""
ConfigType = TypeVar("ConfigType", bound=PreTrainedConfig)

EMBEDDINGS = "backbone.embeddings.word_embeddings.weight"
LM_HEAD = "lm_head.weight"

_ORIGINAL_NAMES = {
    "emb_dim": "emb_dim",
    "filter_order": "filter_order",
    "short_filter_order": "short_filter_order",
    "num_inner_mlps": "num_inner_mlps",
    "l_max": "max_seq_len",
    "w": "activation_freq",
}
"""Keys under `layer` in an original config.json, and ours."""


def is_hub_id(source: str | PurePath) -> bool:
    """Whether `source` can only be the id of a model on the hub."""
    return (
        re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)) is not None
        and not Path(source).expanduser().exists()
    )


def public_name(source: str | PurePath) -> str:
    """A hub id, or the last part of a folder's path: the rest tells of somebody's machine."""
    return str(source) if is_hub_id(source) else PurePath(source).name


def resolve_checkpoint(
    source: str | PurePath, revision: str | None = None, *, more: tuple[str, ...] = ()
) -> Path:
    """The folder of a checkpoint, downloaded first when `source` is on S3 or a hub id.

    Args:
        source: a folder, its URI, or an id such as `LongSafari/hyenadna-tiny-1k-seqlen-hf`.
        revision: commit, tag or branch; required for a hub id, so that runs can be repeated.
        more: files to download beside configuration and weights.

    Raises:
        InputError: there is no such folder and `source` is no hub id, the revision is missing, or
            the download fails.
    """
    place = location(str(source)).expanduser()
    if isinstance(place, S3Path) and place.is_dir():
        copies = ExitStack()
        atexit.register(copies.close)  # the copy stays as long as the process
        return copies.enter_context(local_copy(place))
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_id(source):
        raise InputError("checkpoint", source, "no folder and no hub id", "check the path")
    if revision is None:
        raise InputError(
            "checkpoint",
            source,
            "no such folder, and a hub id needs a revision",
            "give the commit to use as revision",
        )
    try:
        patterns = ["config.json", *WEIGHT_FILES, *more]
        return Path(snapshot_download(str(source), revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "checkpoint",
            f"{source} at {revision}",
            f"cannot be downloaded ({reason})",
            "check id, revision and network, or give a folder",
        ) from None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing bars for files of a few megabytes, and from a table of what
    was loaded: `complete_weights` has refused what does not fit."""
    shown, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if shown:
            hf_logging.enable_progress_bar()


def read_config(folder: Path, **changes: Any) -> HyenaDNAConfig:
    """The configuration in config.json, of either layout, with `changes` to its values.

    Raises:
        InputError: config.json is missing, is no JSON or is not HyenaDNA's, or a value is unfit.
    """
    path = folder / "config.json"
    values = read_json(path)
    if isinstance(values, dict) and isinstance(layer := values.get("layer"), dict):
        shared = ("d_model", "d_inner", "n_layer", "vocab_size", "pad_vocab_size_multiple")
        own = {name: values[name] for name in shared if name in values}
        values = own | {
            ours: layer[name] for name, ours in _ORIGINAL_NAMES.items() if name in layer
        }
    elif not isinstance(values, dict) or values.get("model_type") != HyenaDNAConfig.model_type:
        raise InputError(path, None, "not the configuration of a HyenaDNA model", "give its folder")
    return checked_config(HyenaDNAConfig, values | changes, path)


def checked_config(kind: type[ConfigType], values: dict[str, Any], path: PurePath) -> ConfigType:
    """The configuration of class `kind` with these values.

    Raises:
        InputError: a value has the wrong type or is out of range; names `path`.
    """
    try:
        config: ConfigType = kind(**values)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(path, None, f"unfit value ({reason})", "correct the file") from None
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a checkpoint under the names of this package, without any prefix.

    The names are `backbone...`, `lm_head.weight` and those of a classifier's head; what a trainer
    stored beside the weights is left out. A language-model head that is missing is the table of
    embeddings, to which the original models tied it. Copies of a shared frequency are made up.

    Raises:
        InputError: no file, a damaged one, one with anything but tensors in it, or no backbone.
    """
    path = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError(
            folder, None, f"holds none of {', '.join(WEIGHT_FILES)}", "give a checkpoint's folder"
        )
    weights: dict[str, Tensor] = {}
    for name, value in read_tensors(path).items():
        ours = re.sub(r"^(model|hyena)\.", "", name)
        # Models trained with activation checkpointing have one more level.
        ours = re.sub(r"\.(mixer|mlp)\.layer\.", r".\1.", ours)
        if ours.startswith(("backbone.", *HEAD_PREFIXES)) or ours == LM_HEAD:
            weights[ours] = value
    if EMBEDDINGS not in weights:
        raise InputError(path, None, "holds no HyenaDNA weights", "give a checkpoint of HyenaDNA")
    weights.setdefault(LM_HEAD, weights[EMBEDDINGS])
    return weights


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, on the CPU; code in a pickle is not run.

    Raises:
        InputError: the file is damaged, or holds anything but named tensors.
    """
    remedy = "download or make it again"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    # torch answers damage with RuntimeError, EOFError, UnpicklingError, KeyError and others.
    except (SafetensorError, Exception) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise InputError(path, None, f"damaged or unsafe weights ({reason})", remedy) from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise InputError(path, type(content).__name__, "not a table of weights", remedy)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def complete_weights(
    weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size], place: PurePath
) -> dict[str, Tensor]:
    """Check that `weights` fill a model; the result has exactly the names of `expected`.

    Args:
        weights: by name; names that are not expected are left out.
        expected: shapes by name. Of the copies of one frequency (`...freq`) any will do, and what
            only restates the configuration (`...pos_emb.*`, `...deltas`) may be missing.
        place: the checkpoint, for messages.

    Raises:
        InputError: a weight is missing, has another shape, or holds NaN or infinity.
    """
    filled = dict(weights)
    for name in expected:
        if name.endswith(".freq") and name not in filled:
            layer = name.split("implicit_filter.")[0]
            copies = [key for key in weights if key.startswith(layer) and key.endswith(".freq")]
            if copies:
                filled[name] = weights[copies[0]]
    missing = [
        name
        for name in expected
        if name not in filled and not re.search(r"\.pos_emb\.[tz]$|\.deltas$", name)
    ]
    if missing:
        raise InputError(
            place,
            missing[0],
            f"missing, with {len(missing) - 1} more weights",
            "give weights and config.json of the same model",
        )
    for name, shape in expected.items():
        if name not in filled:
            continue
        if filled[name].shape != shape:
            kind = "vocabulary" if name.endswith((EMBEDDINGS, LM_HEAD)) else "shape"
            raise InputError(
                place,
                name,
                f"{kind} mismatch: {tuple(filled[name].shape)} here, {tuple(shape)} by config.json",
                "give weights and config.json of the same model",
            )
        if not torch.isfinite(filled[name]).all():
            raise InputError(place, name, "holds NaN or infinity", "use another checkpoint")
    return {name: filled[name] for name in expected if name in filled}
