"""Weights that are damaged, foreign or unsafe: the checkpoint part of the list of bad inputs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyena_ray.files import sha256_file
from tests.jobs.bad_inputs import (
    EVALUATE,
    TRAIN,
    Case,
    Change,
    User,
    as_it_is,
    both,
    edited,
    holds,
    removed,
    with_json,
)

WEIGHTS, CONFIG = "model/model.safetensors", "model/config.json"
SAME = "give weights and config.json of the same model"
AGAIN = "download or make it again"


class Payload:
    """Unpickling it makes a file called `ran` where the job runs."""

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (Path("ran"),))


def test_the_payload_would_run_if_it_were_unpickled(user: User) -> None:
    pickle.loads(pickle.dumps(Payload()))
    assert (user.folder / "ran").exists()


def pickled(name: str) -> Change:
    """A torch file with code in it, as a zip archive that torch itself writes."""
    return lambda folder: torch.save({"state_dict": Payload()}, folder / name)


def with_weights(name: str, change: Callable[[dict[str, Tensor]], object]) -> Change:
    """The tensors of a safetensors file are changed."""

    def rewrite(folder: Path) -> None:
        weights = load_file(folder / name)
        change(weights)
        save_file(weights, folder / name)

    return rewrite


def configured(name: str, **values: object) -> Change:
    """A JSON file has other values."""
    return with_json(name, lambda stored: stored.update(values))


def spoilt(part: str) -> Callable[[dict[str, Tensor]], None]:
    """The first value of a weight is not a number."""

    def spoil(weights: dict[str, Tensor]) -> None:
        name = next(name for name in weights if name.endswith(part))
        weights[name].flatten()[0] = torch.nan

    return spoil


def resized(part: str, rows: int) -> Callable[[dict[str, Tensor]], None]:
    """A weight has another number of rows."""

    def resize(weights: dict[str, Tensor]) -> None:
        name = next(name for name in weights if name.endswith(part))
        weights[name] = torch.zeros(rows, *weights[name].shape[1:])

    return resize


def acknowledged(folder: Path) -> None:
    """The readout names the hash of the weights as they now are."""
    configured("model/readout.json", sha256=sha256_file(folder / WEIGHTS))(folder)


MODEL: dict[str, tuple[Change, str]] = {
    "missing": (
        removed(WEIGHTS),
        f"{WEIGHTS}: there is no such file; save the model again",
    ),
    "truncated": (
        edited(WEIGHTS, lambda content: content[:-9]),
        f"{WEIGHTS}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "empty": (holds(WEIGHTS, b""), f"{WEIGHTS}: damaged or unsafe weights (...); {AGAIN}"),
    "a pickle": (
        lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps(Payload())),
        f"{WEIGHTS}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "a link to itself": (
        both(
            lambda folder: (folder / "model").rename(folder / "other"),
            lambda folder: (folder / "model").symlink_to("model"),
        ),
        "model/readout.json: ...; ...",
    ),
    "no config": (removed(CONFIG), f"{CONFIG}: there is no such file; check the folder you gave"),
    "config of another model": (
        configured(CONFIG, model_type="bert"),
        f"{CONFIG}: bert: unknown model_type; use hyenadna, ...",
    ),
    "config that is no number": (
        configured(CONFIG, d_model="wide"),
        f"{CONFIG}: unfit value (...d_model...); correct the file",
    ),
    "no readout": (
        removed("model/readout.json"),
        "model/readout.json: there is no such file; check the folder you gave",
    ),
    "readout without a threshold": (
        configured("model/readout.json", threshold=None),
        "model/readout.json: threshold: null: Input should be a valid number; correct the value",
    ),
    "shape": (
        configured(CONFIG, d_inner=64),
        f"{WEIGHTS}: ...: shape mismatch: (32, 8) here, (64, 8) by config.json; {SAME}",
    ),
    "vocabulary": (
        configured(CONFIG, vocab_size=30),
        f"{WEIGHTS}: ...: vocabulary mismatch: (16, 8) here, (32, 8) by config.json; {SAME}",
    ),
    "NaN": (
        both(with_weights(WEIGHTS, spoilt("fc1.weight")), acknowledged),
        f"{WEIGHTS}: ...fc1.weight: holds NaN or infinity; use another checkpoint",
    ),
    "another hash": (
        with_weights(WEIGHTS, resized("fc1.weight", 32)),
        f"{WEIGHTS}: not the weights that were saved (sha256 differs); save it again",
    ),
}


@pytest.mark.parametrize("case", MODEL)
def test_a_model_that_cannot_be_used_is_refused(user: User, case: str) -> None:
    change, line = MODEL[case]
    user.is_refused(Case(change, EVALUATE, line))


BACKBONE = f"{TRAIN} --backbone backbone"
SAFE, BIN, LIGHTNING = (
    f"backbone/{name}" for name in ("model.safetensors", "pytorch_model.bin", "weights.ckpt")
)
PUBLISHED: dict[str, tuple[Change, str]] = {
    "missing": (
        removed(SAFE),
        "backbone: holds none of model.safetensors, pytorch_model.bin, weights.ckpt; "
        "give a checkpoint's folder",
    ),
    "truncated": (
        edited(SAFE, lambda content: content[:-9]),
        f"{SAFE}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "empty": (holds(SAFE, b""), f"{SAFE}: damaged or unsafe weights (...); {AGAIN}"),
    "truncated bin": (
        both(removed(SAFE), pickled(BIN), edited(BIN, lambda content: content[:-99])),
        f"{BIN}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "empty bin": (
        both(removed(SAFE), holds(BIN, b"")),
        f"{BIN}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "pickle payload": (
        both(removed(SAFE), pickled(BIN)),
        f"{BIN}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "bare pickle payload": (
        both(removed(SAFE), holds(LIGHTNING, pickle.dumps(Payload()))),
        f"{LIGHTNING}: damaged or unsafe weights (...); {AGAIN}",
    ),
    "no config": (
        removed("backbone/config.json"),
        "backbone/config.json: there is no such file; check the folder you gave",
    ),
    "config of another model": (
        configured("backbone/config.json", model_type="gpt2"),
        "backbone/config.json: not the configuration of a HyenaDNA model; give its folder",
    ),
    "missing weight": (
        with_weights(SAFE, lambda weights: weights.pop("hyena.backbone.ln_f.bias")),
        f"backbone: backbone.ln_f.bias: missing, with 0 more weights; {SAME}",
    ),
    "shape": (
        with_weights(SAFE, resized("ln_f.bias", 3)),
        f"backbone: backbone.ln_f.bias: shape mismatch: (3,) here, (8,) by config.json; {SAME}",
    ),
    "vocabulary": (
        with_weights(SAFE, resized("word_embeddings.weight", 24)),
        "backbone: backbone.embeddings.word_embeddings.weight: vocabulary mismatch: (24, 8) here, "
        f"(16, 8) by config.json; {SAME}",
    ),
    "NaN": (
        with_weights(SAFE, spoilt("fc1.weight")),
        "backbone: ...fc1.weight: holds NaN or infinity; use another checkpoint",
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_a_published_checkpoint_that_cannot_be_used_is_refused(user: User, case: str) -> None:
    change, line = PUBLISHED[case]
    user.is_refused(Case(change, BACKBONE, line))


def test_a_checkpoint_given_as_a_path_that_is_not_there_is_refused(user: User) -> None:
    line = "checkpoint: ../../x/y: no folder and no hub id; check the path"
    user.is_refused(Case(as_it_is, f"{TRAIN} --backbone ../../x/y", line))
    line = "checkpoint: someone/model: no such folder, and a hub id needs a revision; give ..."
    user.is_refused(Case(as_it_is, f"{TRAIN} --backbone someone/model", line))


STATE: dict[str, Change] = {
    "truncated": edited("run/checkpoint.pt", lambda content: content[: len(content) // 2]),
    "empty": holds("run/checkpoint.pt", b""),
    "pickle payload": pickled("run/checkpoint.pt"),
    "bare pickle payload": holds("run/checkpoint.pt", pickle.dumps(Payload())),
    "other content": lambda folder: torch.save({"epoch": 3}, folder / "run/checkpoint.pt"),
}


@pytest.mark.parametrize("case", STATE)
def test_a_run_is_not_resumed_from_a_damaged_state(begun: User, case: str) -> None:
    line = "run/checkpoint.pt: damaged checkpoint (...); delete it and start again"
    command = TRAIN.replace("--out out", "--out run --resume")
    begun.is_refused(Case(STATE[case], command, line))
