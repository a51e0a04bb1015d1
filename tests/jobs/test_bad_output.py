"""Folders that a job must not write to: of the list of bad inputs, what stands under `--out`."""

from __future__ import annotations

import shutil

import pytest

from hyena_ray.cluster.resources import Cluster
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    BACKBONE_SPACE,
    COMBINE,
    COMPARE,
    EVALUATE,
    PREPARE,
    PRETRAIN,
    PRETRAIN_FROM,
    SANITY,
    SEQUENCES,
    TRAIN,
    TRAIN_FROM,
    TUNE,
    Case,
    User,
    as_it_is,
    at,
    both,
    edited,
    holds,
    is_folder,
)

RUNS = {command.split()[0]: command for command in (TRAIN, TUNE, ATTRIBUTE, COMPARE)}
WRITERS = RUNS | {
    "pretrain": PRETRAIN,
    "prepare windows": PREPARE,
    "prepare sequences": SEQUENCES,
    "evaluate": EVALUATE,
    "sanity": SANITY,
    "combine": COMBINE,
}


@pytest.mark.parametrize("job", WRITERS)
def test_an_output_that_exists_is_refused_even_when_it_is_empty(user: User, job: str) -> None:
    ways = ("--overwrite", "--resume") if job in (*RUNS, "pretrain") else ("--overwrite",)
    line = at("--out", *ways, "exists already")
    user.is_refused(Case(is_folder("out"), WRITERS[job], line))


@pytest.mark.parametrize("job", [*WRITERS])
def test_an_output_that_is_a_file_is_refused(user: User, job: str) -> None:
    line = at("--out", "plain folder")
    user.is_refused(Case(holds("out", "years of work"), WRITERS[job], line))


THESIS = both(is_folder("out"), holds("out/thesis.tex", "years of work"))


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
@pytest.mark.parametrize("job", [*RUNS, "pretrain"])
def test_a_folder_that_is_no_run_is_neither_resumed_nor_replaced(
    user: User, job: str, flag: str
) -> None:
    line = at("--out", "something other than a run")
    user.is_refused(Case(THESIS, f"{WRITERS[job]} {flag}", line))


def test_a_folder_that_prepare_or_sanity_did_not_write_is_not_replaced(user: User) -> None:
    line = at("--out", "something other than")
    user.is_refused(Case(THESIS, f"{PREPARE} --overwrite", line))
    line = at("--out", "something other than a run")
    user.is_refused(Case(as_it_is, f"{SANITY} --overwrite", line))


CHANGED = {
    "attribute": ("--k 4", "settings.k"),
    "tune": ("--space other.yaml", "space.settings.model.d_model"),
    "pretrain": ("--set training.steps=3", "settings.training.steps"),
    "compare": ("--set training.epochs=2", "changes.training.epochs"),
    "train": ("--set training.epochs=2", "settings.training.epochs"),
}
"""Of every job that is resumed, another setting, and what it is called in the run's plan."""


@pytest.mark.parametrize("job", CHANGED)
def test_a_run_is_not_resumed_with_a_changed_configuration(
    user: User, cluster: Cluster, job: str
) -> None:
    more, key = CHANGED[job]
    space = (user.folder / "space.yaml").read_text()
    (user.folder / "other.yaml").write_text(space.replace("d_model: 8", "d_model: 16"))
    user.starts(WRITERS[job])
    line = at(f"out/plan.json: {key}")
    user.is_refused(Case(as_it_is, f"{WRITERS[job]} --resume {more}", line))


FIXED = {
    "--backbone other": "space.settings.model.backbone",
    "": "space.settings.model.backbone",
    "--backbone backbone --set training.batch_size=8": "space.settings.training.batch_size",
}
"""What a search with a backbone may be resumed with, and what is then another in its plan."""


def test_a_search_is_not_resumed_with_other_fixed_values(user: User, cluster: Cluster) -> None:
    holds("space.yaml", BACKBONE_SPACE)(user.folder)
    shutil.copytree(user.folder / "backbone", user.folder / "other")
    edited("other/config.json", lambda content: content.replace(b'_freq": 10', b'_freq": 11'))(
        user.folder
    )
    user.starts(f"{TUNE} --backbone backbone")
    for more, key in FIXED.items():
        line = at(f"out/plan.json: {key}")
        user.is_refused(Case(as_it_is, f"{TUNE} --resume {more}", line))


@pytest.mark.parametrize("flag", ["--resume", "--overwrite"])
@pytest.mark.parametrize("job", RUNS)
def test_the_data_are_never_the_output(user: User, job: str, flag: str) -> None:
    command = RUNS[job].replace("--out out", "--out data")
    line = at("--out", "data", "holds the input")
    user.is_refused(Case(as_it_is, f"{command} {flag}", line))


INPUTS: dict[str, tuple[str, str, str]] = {
    "genome": (PREPARE, "genome.fa", "genome.fa"),
    "folder of the genome": (PREPARE, "../{here}", "genome.fa"),
    "genome that is pretrained on": (PRETRAIN, "../{here}", "genome.fa"),
    "backbone that it goes on from": (
        f"{PRETRAIN_FROM} backbone",
        "backbone",
        "backbone",
    ),
    "folder of the sequences": (SEQUENCES, "../{here}", "train.csv"),
    "model that is attributed": (ATTRIBUTE, "model", "model"),
    "attribution that is combined": (COMBINE, "second", "second"),
    "model that is checked": (SANITY, "model", "model"),
    "data that it is checked on": (SANITY, "data", "data"),
    "model that it is compared with": (f"{SANITY} --random-labels deaf", "deaf", "deaf"),
    "backbone": (f"{TRAIN_FROM} backbone", "backbone", "backbone"),
    "folder of the space": (TUNE.replace("--data data ", ""), "../{here}", "space.yaml"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_no_input_is_overwritten_by_the_output(user: User, case: str) -> None:
    command, out, held = INPUTS[case]
    out = out.format(here=user.folder.name)
    command = command.replace("--out out", f"--out {out} --overwrite")
    line = at("--out", held) if out == held and "." in out else at("--out", "input", held)
    user.is_refused(Case(as_it_is, command, line))


def test_an_input_that_cannot_be_used_leaves_the_run_that_was_to_be_replaced(begun: User) -> None:
    command = TRAIN.replace("--out out", "--out run --overwrite")
    line = at("--set", "training.epochs", "0")
    begun.is_refused(Case(as_it_is, f"{command} --set training.epochs=0", line))
    damaged = edited("backbone/model.safetensors", lambda content: content[:-9])
    line = at("backbone/model.safetensors", "damaged")
    command = TRAIN_FROM.replace("--out out", "--out run --overwrite")
    begun.is_refused(Case(damaged, f"{command} backbone", line))
