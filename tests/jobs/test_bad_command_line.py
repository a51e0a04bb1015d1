"""Commands that mean nothing or ask for too much: of the list of bad inputs, the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from hyena_ray.cluster.resources import Cluster
from tests.command_line import ROOT, run_process
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMPARE,
    EVALUATE,
    PREPARE,
    SANITY,
    SEARCHED_SIZES,
    SPACE,
    TRAIN,
    TRAIN_FROM,
    TUNE,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    both,
    check_line,
    contents,
    edited,
    holds,
    reads,
    with_json,
)

REGIONS = "evaluate --out out --model model"
"""An evaluation without data, to which more models and options may be appended."""
BAD: dict[str, tuple[Change, str, Line]] = {
    "nothing": (
        as_it_is,
        "prepare",
        at("hyena-ray prepare", "the task is missing", "zdna, g4, promoter"),
    ),
    "unknown option": (
        as_it_is,
        f"{TRAIN} --epochs 3",
        at("--epochs", "unknown option", "hyena-ray train --help"),
    ),
    "sizes beside a backbone": (
        as_it_is,
        f"{TRAIN_FROM} backbone --set model.d_model=64",
        at("--set: model.d_model", "64", "no effect", "model.backbone backbone"),
    ),
    "a backbone of an architecture that takes none": (
        as_it_is,
        f"{TRAIN_FROM} backbone --set model.architecture=bilstm --set readout.lookahead=0",
        at("--backbone", "backbone", "no effect", "model.architecture bilstm"),
    ),
    "a setting that would be ignored": (
        as_it_is,
        f"{TRAIN} --set lora.rank=4",
        at("--set: lora.rank", "4", "no effect", "lora.enabled false"),
    ),
    "a lookahead head without lookahead": (
        as_it_is,
        f"{TRAIN} --set model.head=lookahead --set readout.lookahead=0",
        at("settings: readout.lookahead", "0", "model.head"),
    ),
    "searched sizes beside a backbone": (
        holds("space.yaml", SEARCHED_SIZES),
        f"{TUNE} --backbone backbone --set model.n_layer=2",
        at("space.yaml: search.model.d_model", "no effect", "model.backbone backbone"),
    ),
    "a fixed setting that would be ignored": (
        as_it_is,
        f"{TUNE} --set lora.rank=4",
        at("--set: lora.rank", "4", "no effect", "lora.enabled false"),
    ),
    "a preset of another task": (
        as_it_is,
        f"{TUNE} --preset g4/best",
        at("--preset", "g4/best", "zdna"),
    ),
    "everything fixed": (
        as_it_is,
        f"{TUNE} --set training.learning_rate=1e-3",
        at("space.yaml: search", "training.learning_rate", "nothing is left"),
    ),
    "no trials": (as_it_is, f"{TUNE} --trials 0", at("--trials", "0")),
    "trials that are no number": (
        as_it_is,
        f"{TUNE} --trials few",
        at("--trials", "few", "valid integer"),
    ),
    "negative rate": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=-1e-3",
        at("--set", "training.learning_rate", "-0.001"),
    ),
    "rate of 0": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=0",
        at("--set", "training.learning_rate", "0"),
    ),
    "NaN rate": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=.nan",
        at("--set", "training.learning_rate", "nan", "finite number"),
    ),
    "rate called nan": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=nan",
        at("--set", "training.learning_rate", "nan", "valid number"),
    ),
    "NaN negatives": (
        as_it_is,
        f"{PREPARE} --negatives nan",
        at("--negatives", "nan", "valid number"),
    ),
    "negatives that are not stored": (
        as_it_is,
        f"{TRAIN} --set data.negatives=random:1,tract:1",
        at("settings: data.negatives", "tract", "hold 0", "--negatives"),
    ),
    "negatives of simulated data": (
        as_it_is,
        "tune zdna --out out --set data.negatives=tract:1",
        at(f"{ROOT}/search_spaces/demo_zdna.yaml: data.negatives", "tract:1", "--data"),
    ),
    "k below 1": (as_it_is, f"{ATTRIBUTE} --k 0", at("--k", "0")),
    "k above the window": (
        both(
            reads("window", 6),
            with_json("data/manifest.json", lambda stored: stored.update(lengths=[20, 6])),
        ),
        f"{ATTRIBUTE} --k 7",
        at("k", "7"),
    ),
    "k above any table": (
        as_it_is,
        f"{ATTRIBUTE} --k 21",
        at("--k", "21"),
    ),
    "task that is a path": (
        as_it_is,
        PREPARE.replace("zdna", "../../x", 1),
        at("hyena-ray prepare", "../../x", "unknown task", "zdna, g4, promoter"),
    ),
    "task setting that is a path": (
        as_it_is,
        f"{TRAIN} --set task=../../x",
        at("settings", "task", "../../x", "zdna, g4, promoter", "unknown"),
    ),
    "preset that is a path": (
        as_it_is,
        f"{TRAIN} --preset ../../x",
        at("--preset", "../../x", "unknown preset", "zdna/two_stage"),
    ),
    "presets that are a path": (
        as_it_is,
        COMPARE.replace("zdna/two_stage", "zdna/../../x"),
        at("--presets", "zdna/../../x", "unknown preset", "zdna/two_stage"),
    ),
    "split that is a path": (
        as_it_is,
        f"{EVALUATE} --split ../../x",
        at("--split", "../../x", "train, val, test"),
    ),
    "neither data nor regions": (
        as_it_is,
        EVALUATE.replace("--data data", ""),
        at("--data", "is missing", "--regions"),
    ),
    "data and regions": (
        as_it_is,
        f"{EVALUATE} --regions regions.bed --genome genome.fa",
        at("--data", "--regions"),
    ),
    "regions without a genome": (
        as_it_is,
        f"{REGIONS} --regions regions.bed",
        at("--genome", "is missing"),
    ),
    "a genome without regions": (
        as_it_is,
        f"{EVALUATE} --genome genome.fa",
        at("--genome", "genome.fa", "--regions"),
    ),
    "a model that does not say what it was trained on": (
        as_it_is,
        f"{REGIONS} --regions regions.bed --genome genome.fa",
        at("--model", "model", "trained on"),
    ),
    "the same model twice": (
        as_it_is,
        EVALUATE.replace("--model model", "--model model,model"),
        at("--model", "model", "the same model"),
    ),
    "a teacher's share and no teacher": (
        as_it_is,
        f"{TRAIN} --set training.teacher_share=0.3",
        at("--set: training.teacher_share", "0.3", "no teacher", "--teacher"),
    ),
    "a teacher's share in a file and no teacher": (
        holds("train.yaml", "training: {teacher_share: 0.3}\n"),
        f"{TRAIN} --config train.yaml",
        at("train.yaml: training.teacher_share", "0.3", "no teacher"),
    ),
    "a teacher's share in a search": (
        holds("space.yaml", f"{SPACE}  training.teacher_share: {{low: 0.1, high: 0.9}}\n"),
        TUNE,
        at("space.yaml: training.teacher_share", "no teacher", "train --teacher"),
    ),
    "a teacher's share in a comparison": (
        as_it_is,
        f"{COMPARE} --set training.teacher_share=0.3",
        at("preset zdna/two_stage: training.teacher_share", "0.3", "no teacher"),
    ),
    "a teacher of more than all": (
        as_it_is,
        f"{TRAIN} --teacher model --set training.teacher_share=1.5",
        at("--set: training.teacher_share", "1.5", "1"),
    ),
    "a teacher that is not there": (
        as_it_is,
        f"{TRAIN} --teacher nowhere",
        at("--teacher", "nowhere", "no such folder"),
    ),
    "the same teacher twice": (
        as_it_is,
        f"{TRAIN} --teacher model,model",
        at("--teacher", "model", "the same model"),
    ),
    "a damaged teacher": (
        edited("model/model.safetensors", lambda content: content[:-9]),
        f"{TRAIN} --teacher deaf,model",
        at("model/model.safetensors", "bytes"),
    ),
    "a teacher of bases for sequences": (
        as_it_is,
        "train --data sequences --out out --set data.length=5 --teacher model",
        at("model", "labels bases", "promoter"),
    ),
    "a teacher with longer windows": (
        reads("window", 22),
        f"{TRAIN} --teacher model",
        at("--teacher", "model", "22", "20"),
    ),
    "a teacher with a longer flank": (
        reads("flank", 5),
        f"{TRAIN} --teacher model",
        at("model", "flank of 5 bases", "4 bases", "--flank 5"),
    ),
    "a teacher of what is fitted": (
        as_it_is,
        "train --data data --out out --set data.length=20 --set readout.flank=4 "
        "--set model.architecture=trees --teacher model",
        at("--teacher", "no effect", "model.architecture trees"),
    ),
    "a teacher of a stream": (
        as_it_is,
        f"{TRAIN} --teacher model --set data.feed=stream",
        at("--teacher", "stream", "memory"),
    ),
    "soft edges of what is fitted": (
        as_it_is,
        "train --data data --out out --set data.length=20 --set readout.flank=4 "
        "--set model.architecture=zhunt --set training.soft_edges=2",
        at("--set: training.soft_edges", "2", "no effect", "model.architecture zhunt"),
    ),
    "soft edges of sequences": (
        as_it_is,
        "train --data sequences --out out --set data.length=5 --set training.soft_edges=2",
        at("--set: training.soft_edges", "2", "no effect", "task promoter"),
    ),
    "several models to attribute": (
        as_it_is,
        ATTRIBUTE.replace("--model model", "--model model,deaf"),
        at("--model", "model,deaf", "one model", "combine"),
    ),
    "several models without a threshold": (
        as_it_is,
        "predict --model model,deaf --genome genome.fa --out out",
        at("--threshold", "is missing", "evaluate"),
    ),
    "several models and a precision": (
        as_it_is,
        "predict --model model,deaf --genome genome.fa --out out --precision 0.5",
        at("--precision", "0.5", "one model", "evaluate"),
    ),
    "several models on regions without a threshold": (
        as_it_is,
        f"{REGIONS},deaf --regions regions.bed --genome genome.fa",
        at("--threshold", "is missing", "--data"),
    ),
    "method that is a path": (
        as_it_is,
        f"{ATTRIBUTE} --methods ../../x",
        at("--methods", "../../x", "ig, noisy_ig, smoothgrad"),
    ),
    "one class only": (
        as_it_is,
        "train --data sequences --out out --set data.length=5 --set data.limit=1",
        at("training windows", "labels [1]"),
    ),
    "no true positives to attribute": (
        as_it_is,
        ATTRIBUTE.replace("model model", "model deaf"),
        at("split test", "40 windows", "nothing to attribute"),
    ),
    "no true positives to check": (
        as_it_is,
        SANITY.replace("model model", "model deaf"),
        at("windows", "12 with a label", "nothing to attribute"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_command_that_means_nothing_is_refused(user: User, case: str) -> None:
    user.is_refused(Case(*BAD[case]))


TRACKERS: dict[str, tuple[str, Line]] = {
    "unknown": ("comet=x", at("--tracker", "comet", "no tracker")),
    "no uri": ("mlflow=runs", at("--tracker", "mlflow=runs", "not a URI")),
    "a secret": (
        "mlflow=https://me:hush@host",
        at("--tracker", "mlflow=https", "password"),
    ),
}


@pytest.mark.parametrize("case", TRACKERS)
def test_a_tracker_that_cannot_be_told_is_refused(user: User, case: str) -> None:
    given, line = TRACKERS[case]
    user.is_refused(Case(as_it_is, f"{TUNE} --tracker {given}", line))


BEYOND: dict[str, tuple[Change, str, Line]] = {
    "attribute": (
        as_it_is,
        f"{ATTRIBUTE} --gpu 99",
        at("--cpu, --gpu", "1 CPU and 99 GPUs", "the cluster has", "for 0"),
    ),
    "cpus": (
        as_it_is,
        f"{ATTRIBUTE} --cpu 999",
        at("--cpu, --gpu", "999 CPUs", "the cluster has", "or less"),
    ),
    "compare": (
        as_it_is,
        f"{COMPARE} --gpu 99",
        at("--cpu, --gpu", "1 CPU and 99 GPUs", "the cluster has", "for 0"),
    ),
    "tune": (
        edited("space.yaml", lambda content: b"resources: {gpu: 99}\n" + content),
        TUNE,
        at("search space", "resources", "1 CPU and 99 GPUs", "the cluster has", "for 0"),
    ),
    "tune --gpu": (
        edited("space.yaml", lambda content: b"resources: {gpu: 0}\n" + content),
        f"{TUNE} --gpu 99",
        at("search space", "resources", "--gpu", "99 GPUs", "the cluster has", "for 0"),
    ),
    "tune --cpu": (
        as_it_is,
        f"{TUNE} --cpu 999",
        at("search space", "resources", "--cpu", "999 CPUs", "the cluster has", "or less"),
    ),
    "one and a half": (
        as_it_is,
        f"{ATTRIBUTE} --gpu 1.5",
        at("--gpu", "1.5", "below 1"),
    ),
    "tune, one and a half": (as_it_is, f"{TUNE} --gpu 1.5", at("--gpu", "1.5", "below 1")),
    "one and a half in the space": (
        edited("space.yaml", lambda content: b"resources: {gpu: 1.5}\n" + content),
        TUNE,
        at("space.yaml", "resources.gpu", "1.5", "below 1"),
    ),
    "too small a fraction": (as_it_is, f"{COMPARE} --gpu 0.001", at("--gpu", "0.001", "0.25")),
    "no actors": (
        as_it_is,
        f"{ATTRIBUTE} --actors 0",
        at("--actors", "0", "1"),
    ),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_the_cluster_cannot_give_is_refused(user: User, cluster: Cluster, case: str) -> None:
    user.is_refused(Case(*BEYOND[case]))


PROCESSES: dict[str, tuple[Change, str, Line]] = {
    "prepare": (
        holds("genome.fa", ">chr1\nACGT\nAC\nACGT\n"),
        PREPARE,
        at("genome.fa:3", "2 letters"),
    ),
    "train": (
        as_it_is,
        f"{TRAIN_FROM} nowhere",
        at("checkpoint", "nowhere", "no folder", "hub id"),
    ),
    "tune": (
        holds("space.yaml", "task: zdna\nsearch:\n  training.epochs: {low: 5, high: 2}\n"),
        TUNE,
        at("space.yaml", "search.training.epochs", "5 to 2", "low is not below high"),
    ),
}


@pytest.mark.parametrize("job", PROCESSES)
def test_a_process_of_its_own_says_the_one_line_and_leaves_with_2(user: User, job: str) -> None:
    change, command, line = PROCESSES[job]
    change(user.folder)
    before = contents(user.folder)
    done = run_process(*shlex.split(command), folder=user.folder)
    check_line(done.stderr, line, user.folder)
    assert (done.code, done.stdout) == (2, "")
    assert contents(user.folder) == before


SAID = "error: --k: 10: above 9; did you mean 1?\nerror: --out: out: exists already\n"


def test_the_check_takes_one_right_line_among_others() -> None:
    check_line(SAID, at("--k", "10", "1"), Path("/x"))
    check_line(SAID.replace("out: e", "/x/out: e"), at("--out", "out", "exists"), Path("/x"))


@pytest.mark.parametrize(
    ("stderr", "line"),
    [
        (SAID, at("--j", "10")),  # another place
        (SAID, at("--k", "0")),  # part of a number
        (SAID, at("--k", "exists")),  # what another line says
        (SAID + "Traceback (most recent call last):\n", at("--k", "10")),
        ("", at("--k")),
    ],
)
def test_the_check_catches_what_is_not_said(stderr: str, line: Line) -> None:
    with pytest.raises(AssertionError):
        check_line(stderr, line, Path("/x"))
