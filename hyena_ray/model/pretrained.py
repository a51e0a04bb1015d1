"""Read pretrained weights, whatever their layout, refuse what cannot be any, and write them.

Two layouts are published: the Hugging Face port (`hyena.backbone...` in model.safetensors or
pytorch_model.bin, `model_type` in config.json) and the original Lightning files
(`model.backbone...` under `state_dict` in weights.ckpt, the sizes of the filters under `layer` in
config.json).
"""

from __future__ import annotations

import atexit
import logging
import re
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.files import read_json, sha256_file
from hyena_ray.model.configuration import (
    ClassifierFields,
    ConfigType,
    HyenaConfig,
    parse_config,
    write_config,
)
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.provenance import PROVENANCE, is_hub_id
from hyena_ray.runs.plan import fingerprint
from hyena_ray.storage import S3Path, local_copy, location

logger = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
WEIGHT_FILES = (WEIGHTS, "pytorch_model.bin", "weights.ckpt")
"""Files of weights in order of preference."""

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

ModelType = TypeVar("ModelType", bound=nn.Module)


def load_pretrained(
    build: Callable[[HyenaConfig], ModelType],
    source: str | PurePath,
    revision: str | None = None,
    **changes: Any,
) -> ModelType:
    """Build a model with the backbone of a checkpoint of any published layout.

    The weights of a head that the checkpoint lacks are drawn from torch's global generator, and a
    line of the log says so.

    Args:
        build: `HyenaDNAClassifier` or `HyenaDNALanguageModel`.
        source: A folder, its URI, or a hub id with `revision`.
        revision: Commit of the hub id.
        changes: Values of the configuration that override the checkpoint's (`num_labels=3`).

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        InputError: The checkpoint cannot be used.
    """
    folder = resolve_checkpoint(source, revision)
    config = read_config(folder, **changes)
    shapes = weight_shapes(build, config)
    expected = {name.removeprefix("hyena."): shape for name, shape in shapes.items()}
    weights = matching_weights(folder, expected, source)
    with torch.random.fork_rng(devices=[]):  # what is drawn here is replaced below
        model = build(config)
    state = model.state_dict()
    named = {name: weights.get(name.removeprefix("hyena.")) for name in state}
    model.load_state_dict(
        {name: value for name, value in named.items() if value is not None}, strict=False
    )
    for prefix in HEAD_PREFIXES:
        part = getattr(model, prefix.removesuffix("."), None)
        if part is not None and not any(name.startswith(prefix) for name in weights):
            part.apply(model.initialise_module)
    return model.eval()


def weight_shapes(
    build: Callable[[ConfigType], nn.Module], config: ConfigType
) -> dict[str, torch.Size]:
    """Return the shapes of the weights that a model would have, by name; none is allocated.

    They are compared with a file before a model is built as its config.json wants it.

    Args:
        build: Class of the model.
        config: Its configuration.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return {name: weight.shape for name, weight in build(config).state_dict().items()}


def resolve_checkpoint(
    source: str | PurePath, revision: str | None = None, *, more: tuple[str, ...] = ()
) -> Path:
    """Return the folder of a checkpoint, downloaded first when it is on S3 or on the hub.

    Args:
        source: A folder, its URI, or an id such as `LongSafari/hyenadna-tiny-1k-seqlen-hf`.
        revision: Commit, tag or branch; required for a hub id, so that runs can be repeated.
        more: Files to download next to configuration and weights.

    Raises:
        InputError: There is no such folder and `source` is no hub id, the revision is missing, or
            the download fails.
    """
    folder = location(source)
    if isinstance(folder, S3Path) and folder.is_dir():
        copies = ExitStack()
        atexit.register(copies.close)  # the copy stays as long as the process
        return copies.enter_context(local_copy(folder))
    if isinstance(folder, Path) and folder.is_dir():
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
    return _download(str(source), revision, ["config.json", *WEIGHT_FILES, *more])


def weights_by_content(source: str | PurePath | None, revision: str | None = None) -> str | None:
    """Say which weights a model starts from, wherever they are stored.

    Args:
        source: A folder, its URI, or a hub id with `revision`; None for random weights.
        revision: Commit of the hub id.

    Returns:
        The digest of configuration, weights and what is known of their pretraining; None for random
        weights.

    Raises:
        InputError: There is no such checkpoint.
    """
    if source is None:
        return None
    folder = resolve_checkpoint(source, revision)
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), WEIGHTS)
    files = [folder / name for name in ("config.json", weights, PROVENANCE)]
    digests = {path.name: sha256_file(path) for path in files if path.is_file()}
    return f"sha256:{fingerprint(digests)}"


def _download(source: str, revision: str, files: list[str]) -> Path:
    # Only what is downloaded needs the hub's client.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=files))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "checkpoint",
            f"{source} at {revision}",
            f"cannot be downloaded ({reason})",
            "check id, revision and network, or give a folder",
        ) from None


def config_values(folder: Path) -> dict[str, Any]:
    """Read config.json of either layout, under the names of this package.

    Args:
        folder: A checkpoint.

    Raises:
        InputError: config.json is missing, is no JSON or is not HyenaDNA's.
    """
    path = folder / "config.json"
    values = read_json(path)
    if isinstance(values, dict) and isinstance(layer := values.get("layer"), dict):
        shared = ("d_model", "d_inner", "n_layer", "vocab_size", "pad_vocab_size_multiple")
        own = {name: values[name] for name in shared if name in values}
        return own | {ours: layer[name] for name, ours in _ORIGINAL_NAMES.items() if name in layer}
    if not isinstance(values, dict) or values.get("model_type") != HyenaConfig.model_type:
        raise InputError(path, None, "not the configuration of a HyenaDNA model", "give its folder")
    return values


def read_config(folder: Path, **changes: Any) -> HyenaConfig:
    """Read the configuration of a HyenaDNA checkpoint.

    Args:
        folder: A checkpoint of either layout.
        changes: Values that override the file's.

    Raises:
        InputError: config.json is missing, is no JSON or is not HyenaDNA's, or a value is unfit.
    """
    return parse_config(HyenaConfig, config_values(folder) | changes, folder / "config.json")


def matching_weights(
    folder: Path, shapes: Mapping[str, torch.Size], source: str | PurePath
) -> dict[str, Tensor]:
    """Read the weights of a model from a checkpoint, without the parts of a head that it lacks.

    Args:
        folder: A checkpoint of either layout.
        shapes: Shapes of the model's weights by name, without the prefix `hyena.`.
        source: What people know the checkpoint as, for the log.

    Raises:
        InputError: The checkpoint does not fit.
    """
    stored = read_weights(folder)
    absent = tuple(
        prefix for prefix in HEAD_PREFIXES if not any(name.startswith(prefix) for name in stored)
    )
    untrained = {name for name in shapes if name.startswith(absent)}
    if untrained:
        parts = ", ".join(sorted({name.split(".")[0] for name in untrained}))
        said = "%s: holds no weights of a head (%s), which is to be trained"
        logger.info(said, source, parts)
    wanted = {name: shape for name, shape in shapes.items() if name not in untrained}
    return complete_weights(stored, wanted, folder)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a checkpoint under the names of this package, without any prefix.

    The names are `backbone...`, `lm_head.weight` and those of a classifier's head; what a trainer
    stored next to the weights is left out. A missing language-model head gets the token embeddings,
    to which the original models tied it.

    Args:
        folder: A checkpoint of either layout.

    Raises:
        InputError: No file, a damaged one, one with anything but tensors in it, or no backbone.
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
    """Read the tensors of a safetensors or torch file, on the CPU; code in a pickle is not run.

    Args:
        path: A file with suffix `.safetensors`, or one that `torch.save` wrote.

    Raises:
        InputError: The file may not be read, is damaged, or holds anything but named tensors.
    """
    remedy = "download or make it again"
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise InputError(path, None, "permission denied", "ask its owner for chmod a+r") from error
    except OSError:  # said below
        pass
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_archive(path)
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


def _check_archive(path: Path) -> None:
    """Refuse an archive whose parts are damaged, or compressed, and then of any size.

    torch stores them as they are, with checksums that it does not compare.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise ValueError("its parts are compressed, as torch never writes them")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} differs from its checksum")


def complete_weights(
    weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size], place: PurePath
) -> dict[str, Tensor]:
    """Check that weights fill a model; the result has exactly the names that are expected.

    Args:
        weights: Tensors by name; names that are not expected are left out.
        expected: Shapes by name. Of the copies of one frequency (`...freq`) any will do, and what
            only restates the configuration (`...pos_emb.*`, `...deltas`) may be missing.
        place: The checkpoint, for messages.

    Raises:
        InputError: A weight is missing, has another shape, or holds NaN or infinity.
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


def write_model(
    folder: Path, config: ClassifierFields, weights: Mapping[str, Tensor], architecture: str
) -> None:
    """Write config.json and model.safetensors, byte for byte as `save_pretrained` does.

    Args:
        folder: An existing folder.
        config: The model's configuration.
        weights: Tensors by name, on any device. Of names that share one tensor the first is
            written.
        architecture: Name of the Hugging Face class that reads the weights.
    """
    stored: dict[str, Tensor] = {}
    addresses = set()
    for name, tensor in weights.items():
        if tensor.data_ptr() not in addresses or not tensor.numel():
            stored[name] = tensor.detach().contiguous()
            addresses.add(tensor.data_ptr())
    numbers = next(tensor.dtype for tensor in stored.values() if tensor.is_floating_point())
    write_config(folder, config, architecture, str(numbers).removeprefix("torch."))
    # Not by its own writer, which leaves a file that its user alone may read, and does not say why
    # it fails.
    (folder / WEIGHTS).write_bytes(save(stored, metadata={"format": "pt"}))
