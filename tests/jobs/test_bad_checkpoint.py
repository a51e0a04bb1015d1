"""Weights that are damaged, foreign or unsafe: the checkpoint part of the list of bad inputs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hyena_ray.model.saved import StoredReadout
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    EVALUATE,
    SANITY,
    TRAIN,
    TRAIN_FROM,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    both,
    check_line,
    edited,
    holds,
    removed,
    with_json,
)

PREDICT = "predict --genome genome.fa --model model --out out"
WEIGHTS, CONFIG = "model/model.safetensors", "model/config.json"


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
    """The readout lists the files of the model as they now are."""
    StoredReadout.read(folder / "model").write(folder / "model")


MODEL: dict[str, tuple[Change, Line]] = {
    "missing": (
        removed(WEIGHTS),
        at(WEIGHTS, "missing"),
    ),
    "truncated": (
        edited(WEIGHTS, lambda content: content[:-9]),
        at(WEIGHTS, "damaged"),
    ),
    "saved truncated": (
        both(edited(WEIGHTS, lambda content: content[:-9]), acknowledged),
        at(WEIGHTS, "damaged"),
    ),
    "empty": (holds(WEIGHTS, b""), at(WEIGHTS, "damaged")),
    "a pickle": (
        both(lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps(Payload())), acknowledged),
        at(WEIGHTS, "damaged"),
    ),
    "a link to itself": (
        both(
            lambda folder: (folder / "model").rename(folder / "other"),
            lambda folder: (folder / "model").symlink_to("model"),
        ),
        at("--model", "model", "no such folder"),
    ),
    "no config": (removed(CONFIG), at(CONFIG, "missing")),
    "edited config": (
        edited(CONFIG, lambda content: content.replace(b'_freq": 10', b'_freq": 11')),
        at(CONFIG, "changed", "sha256"),
    ),
    "config of another model": (
        both(configured(CONFIG, model_type="bert"), acknowledged),
        at(CONFIG, "bert", "unknown"),
    ),
    "config that is no number": (
        both(configured(CONFIG, d_model="wide"), acknowledged),
        at(CONFIG, "d_model"),
    ),
    "no readout": (
        removed("model/readout.json"),
        at("--model", "model", "readout.json"),
    ),
    "readout without a threshold": (
        configured("model/readout.json", threshold=None),
        at("model/readout.json", "threshold", "null", "valid number"),
    ),
    "edited threshold": (
        edited("model/readout.json", lambda content: content.replace(b'old": 0.0', b'old": 0.1')),
        at("model/readout.json", "changed", "sha256"),
    ),
    "threshold that is no probability": (
        configured("model/readout.json", threshold=3.0),
        at("model/readout.json", "threshold", "3", "1"),
    ),
    "threshold of tiles that is none": (
        configured("model/readout.json", tile_threshold=-0.1),
        at("model/readout.json", "tile_threshold", "0"),
    ),
    "tokenizer of others": (
        edited("model/tokenizer_config.json", lambda content: content + b" "),
        at("model/tokenizer_config.json", "damaged", "bytes"),
    ),
    "sizes that would take all memory": (
        both(configured(CONFIG, d_model=65536, d_inner=65536, n_layer=64), acknowledged),
        at(WEIGHTS, "missing", "config.json"),
    ),
    "sizes without end": (
        both(configured(CONFIG, d_model=10**7), acknowledged),
        at(CONFIG, "d_model", "10000000", "65536"),
    ),
    "dropout above 1": (
        both(configured(CONFIG, head_dropout=1.5), acknowledged),
        at(CONFIG, "head_dropout", "1.5"),
    ),
    "shape": (
        both(configured(CONFIG, d_inner=64), acknowledged),
        at(WEIGHTS, "shape mismatch", "(32, 8)", "(64, 8)", "config.json"),
    ),
    "vocabulary": (
        both(configured(CONFIG, vocab_size=30), acknowledged),
        at(
            "model/model.safetensors",
            "vocabulary mismatch",
            "(16, 8)",
            "(32, 8)",
            "config.json",
        ),
    ),
    "NaN": (
        both(with_weights(WEIGHTS, spoilt("fc1.weight")), acknowledged),
        at(WEIGHTS, "fc1.weight", "NaN or infinity"),
    ),
    "another hash": (
        edited(WEIGHTS, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
        at(WEIGHTS, "sha256", "differs"),
    ),
}


@pytest.mark.parametrize("case", MODEL)
def test_a_model_that_cannot_be_used_is_refused(user: User, case: str) -> None:
    change, line = MODEL[case]
    user.is_refused(Case(change, EVALUATE, line))


OVERFLOWING = both(
    with_weights(WEIGHTS, lambda weights: [weight.fill_(3e38) for weight in weights.values()]),
    acknowledged,
)
"""Every weight is finite, and every logit is not."""


@pytest.mark.parametrize("job", [EVALUATE, SANITY, PREDICT, ATTRIBUTE])
def test_a_model_whose_logits_overflow_is_named(user: User, cluster: object, job: str) -> None:
    OVERFLOWING(user.folder)
    done = user.runs(job)
    check_line(done.stderr, at("model", "logits overflow", "NaN"), user.folder)
    assert done.code == 2
    assert not (user.folder / "out" / "manifest.json").exists()


BACKBONE = f"{TRAIN_FROM} backbone"
SAFE, BIN, LIGHTNING = (
    f"backbone/{name}" for name in ("model.safetensors", "pytorch_model.bin", "weights.ckpt")
)
PUBLISHED: dict[str, tuple[Change, Line]] = {
    "missing": (
        removed(SAFE),
        at("backbone", "model.safetensors", "pytorch_model.bin", "weights.ckpt"),
    ),
    "truncated": (
        edited(SAFE, lambda content: content[:-9]),
        at(SAFE, "damaged"),
    ),
    "empty": (holds(SAFE, b""), at(SAFE, "damaged")),
    "truncated bin": (
        both(removed(SAFE), pickled(BIN), edited(BIN, lambda content: content[:-99])),
        at(BIN, "damaged"),
    ),
    "empty bin": (
        both(removed(SAFE), holds(BIN, b"")),
        at(BIN, "damaged"),
    ),
    "pickle payload": (
        both(removed(SAFE), pickled(BIN)),
        at(BIN, "damaged"),
    ),
    "bare pickle payload": (
        both(removed(SAFE), holds(LIGHTNING, pickle.dumps(Payload()))),
        at(LIGHTNING, "damaged"),
    ),
    "no config": (
        removed("backbone/config.json"),
        at("backbone/config.json", "no such file"),
    ),
    "config of another model": (
        configured("backbone/config.json", model_type="gpt2"),
        at("backbone/config.json", "not the configuration"),
    ),
    "missing weight": (
        with_weights(SAFE, lambda weights: weights.pop("hyena.backbone.ln_f.bias")),
        at("backbone", "backbone.ln_f.bias", "missing", "config.json"),
    ),
    "shape": (
        with_weights(SAFE, resized("ln_f.bias", 3)),
        at("backbone", "backbone.ln_f.bias", "shape mismatch", "(3,)", "(8,)", "config.json"),
    ),
    "vocabulary": (
        with_weights(SAFE, resized("word_embeddings.weight", 24)),
        at(
            "backbone",
            "backbone.embeddings.word_embeddings.weight",
            "vocabulary mismatch",
            "(24, 8)",
            "(16, 8)",
            "config.json",
        ),
    ),
    "NaN": (
        with_weights(SAFE, spoilt("fc1.weight")),
        at("backbone", "fc1.weight", "NaN or infinity"),
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_a_published_checkpoint_that_cannot_be_used_is_refused(user: User, case: str) -> None:
    change, line = PUBLISHED[case]
    user.is_refused(Case(change, BACKBONE, line))


OTHER_BACKBONES: dict[str, tuple[Change, Line]] = {
    "code of its own": (
        configured("backbone/config.json", auto_map={"AutoModel": "modeling_x.Model"}),
        at("backbone/config.json: auto_map", "code from its own repository", "never run"),
    ),
    "another architecture": (
        as_it_is,
        at("backbone/config.json: model_type", "hyenadna", "is no mamba"),
    ),
    "a size without bounds": (
        configured("backbone/config.json", model_type="mamba", num_hidden_layers=10**9),
        at("backbone/config.json: config: num_hidden_layers", "1000000000", "1 to 64"),
    ),
}


@pytest.mark.parametrize("case", OTHER_BACKBONES)
def test_a_checkpoint_of_transformers_that_cannot_be_used_is_refused(user: User, case: str) -> None:
    change, line = OTHER_BACKBONES[case]
    command = f"{BACKBONE} --set model.architecture=mamba"
    user.is_refused(Case(change, command, line))


def test_a_checkpoint_given_as_a_path_that_is_not_there_is_refused(user: User) -> None:
    line = at("checkpoint", "../../x/y", "no folder", "hub id")
    user.is_refused(Case(as_it_is, f"{TRAIN_FROM} ../../x/y", line))
    line = at("checkpoint", "someone/model", "no such folder", "hub id", "revision")
    user.is_refused(Case(as_it_is, f"{TRAIN_FROM} someone/model", line))


STATE: dict[str, Change] = {
    "truncated": edited("run/checkpoint.pt", lambda content: content[: len(content) // 2]),
    "empty": holds("run/checkpoint.pt", b""),
    "pickle payload": pickled("run/checkpoint.pt"),
    "bare pickle payload": holds("run/checkpoint.pt", pickle.dumps(Payload())),
    "other content": lambda folder: torch.save({"epoch": 3}, folder / "run/checkpoint.pt"),
}


@pytest.mark.parametrize("case", STATE)
def test_a_run_is_not_resumed_from_a_damaged_state(begun: User, case: str) -> None:
    line = at("run/checkpoint.pt", "damaged")
    command = TRAIN.replace("--out out", "--out run --resume")
    begun.is_refused(Case(STATE[case], command, line))
