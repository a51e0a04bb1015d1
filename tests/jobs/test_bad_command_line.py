"""Commands that mean nothing or ask for too much: of the list of bad inputs, the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hyena_ray.cluster.resources import Cluster
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMPARE,
    EVALUATE,
    JOBS,
    PREPARE,
    SANITY,
    TRAIN,
    TUNE,
    Case,
    Change,
    User,
    arguments_of,
    as_it_is,
    both,
    check_line,
    contents,
    edited,
    holds,
    reads,
    with_json,
)

LEAST_1 = "Input should be greater than or equal to 1; correct the value"
ABOVE_0 = "Input should be greater than 0; correct the value"
NUMBER = "Input should be a valid number; correct the value"
NO_FOUND = "the model finds no labelled base, so there is nothing to attribute; train it longer, "
NO_FOUND += "lower its threshold, or choose a split with labelled windows"

BAD: dict[str, tuple[Change, str, str]] = {
    "nothing": (
        as_it_is,
        "prepare",
        "command line: the following arguments are required: TASK, --out; "
        "see python jobs/prepare.py --help",
    ),
    "unknown option": (
        as_it_is,
        f"{TRAIN} --epochs 3",
        "command line: unrecognized arguments: --epochs 3; see python jobs/train.py --help",
    ),
    "no trials": (as_it_is, f"{TUNE} --trials 0", f"--trials: trials: 0: {LEAST_1}"),
    "trials that are no number": (
        as_it_is,
        f"{TUNE} --trials few",
        "command line: argument --trials: invalid int value: 'few'; "
        "see python jobs/tune_zdna.py --help",
    ),
    "negative rate": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=-1e-3",
        f"--set: training.learning_rate: -0.001: {ABOVE_0}",
    ),
    "rate of 0": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=0",
        f"--set: training.learning_rate: 0: {ABOVE_0}",
    ),
    "NaN rate": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=.nan",
        "--set: training.learning_rate: nan: Input should be a finite number; correct the value",
    ),
    "rate called nan": (
        as_it_is,
        f"{TRAIN} --set training.learning_rate=nan",
        f"--set: training.learning_rate: nan: {NUMBER}",
    ),
    "NaN negatives": (
        as_it_is,
        f"{PREPARE} --negatives nan",
        f"command line: negatives: nan: {NUMBER}",
    ),
    "k below 1": (as_it_is, f"{ATTRIBUTE} --k 0", f"command line: k: 0: {LEAST_1}"),
    "k above the window": (
        both(
            reads("window", 6),
            with_json("data/manifest.json", lambda stored: stored.update(lengths=[20, 6])),
        ),
        f"{ATTRIBUTE} --k 7",
        "k: 7: longer than a window of 6 bases; lower it",
    ),
    "k above any table": (
        as_it_is,
        f"{ATTRIBUTE} --k 21",
        "command line: k: 21: Input should be less than or equal to 12; correct the value",
    ),
    "task that is a path": (
        as_it_is,
        PREPARE.replace("zdna", "../../x", 1),
        "task: ../../x: unknown task; give one of zdna, g4, promoter",
    ),
    "task setting that is a path": (
        as_it_is,
        f"{TRAIN} --set task=../../x",
        "settings: task: ../../x: unknown task; give one of zdna, g4, promoter",
    ),
    "preset that is a path": (
        as_it_is,
        f"{TRAIN} --preset ../../x",
        "preset: ..: unknown task; give one of zdna, g4, promoter",
    ),
    "presets that are a path": (
        as_it_is,
        COMPARE.replace("zdna/two_stage", "zdna/../../x"),
        "preset: zdna/../../x: there is none; give one of zdna/...",
    ),
    "split that is a path": (
        as_it_is,
        f"{EVALUATE} --on ../../x",
        "data: split: ../../x: unknown split; give one of train, val, test",
    ),
    "method that is a path": (
        as_it_is,
        f"{ATTRIBUTE} --methods ../../x",
        "command line: methods.0: ../../x: Input should be 'ig', ...; correct the value",
    ),
    "one class only": (
        as_it_is,
        "train --data sequences --out out --set data.length=5 --set data.limit=1",
        "training windows: labels [1]: both classes, 0 and 1, are needed; add regions",
    ),
    "no true positives to attribute": (
        as_it_is,
        ATTRIBUTE.replace("model model", "model deaf"),
        f"split test: 48 windows: {NO_FOUND}",
    ),
    "no true positives to check": (
        as_it_is,
        SANITY.replace("model model", "model deaf"),
        "windows: 12 with a label: the model finds none of them, so there is nothing to attribute; "
        "train it longer, or give another split",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_command_that_means_nothing_is_refused(user: User, case: str) -> None:
    user.is_refused(Case(*BAD[case]))


TRACKERS: dict[str, tuple[str, str]] = {
    "unknown": ("comet=x", "comet: no tracker and where it writes; write mlflow=URI or ..."),
    "no uri": ("mlflow=runs", "mlflow=runs: not a URI; give http://HOST:5000, or sqlite:..."),
    "a secret": (
        "mlflow=https://me:hush@host",
        "mlflow=https://...: holds a password, which would stand in logs; set ...",
    ),
}


@pytest.mark.parametrize("case", TRACKERS)
def test_a_tracker_that_cannot_be_told_is_refused(user: User, case: str) -> None:
    given, line = TRACKERS[case]
    user.is_refused(Case(as_it_is, f"{TUNE} --track {given}", f"--track: {line}"))


LARGER = "ask for less or join a larger cluster"
BEYOND: dict[str, tuple[Change, str, str]] = {
    "attribute": (
        as_it_is,
        f"{ATTRIBUTE} --gpu 1",
        f"--actors: 1 CPUs and 1 GPUs each: the cluster has ... CPUs and 0 GPUs; {LARGER}",
    ),
    "compare": (
        as_it_is,
        f"{COMPARE} --gpu 2",
        f"--cpu, --gpu: 1 CPUs and 2 GPUs each: the cluster has ... CPUs and 0 GPUs; {LARGER}",
    ),
    "tune": (
        edited("space.yaml", lambda content: b"resources: {gpu: 1}\n" + content),
        TUNE,
        "search space: resources: 1 CPUs and 1 GPUs each: the cluster has ... CPUs and 0 GPUs; "
        f"{LARGER}",
    ),
    "one and a half": (
        as_it_is,
        f"{ATTRIBUTE} --gpu 1.5",
        "--actors: gpu: 1.5: neither whole nor below 1; give 1, 2 or 0.5",
    ),
    "no actors": (
        as_it_is,
        f"{ATTRIBUTE} --actors 0",
        "--actors: 0: below 1; ask for one or more, or leave it out",
    ),
}


@pytest.mark.parametrize("case", BEYOND)
def test_what_the_cluster_cannot_give_is_refused(user: User, cluster: Cluster, case: str) -> None:
    user.is_refused(Case(*BEYOND[case]))


PROCESSES: dict[str, tuple[Change, str, str]] = {
    "prepare": (
        holds("genome.fa", ">chr1\nACGT\nAC\nACGT\n"),
        PREPARE,
        "genome.fa:3: 2 letters: the lines of this contig have 4 letters up to its last one; "
        "check that no line was lost, then wrap the file anew",
    ),
    "train": (
        as_it_is,
        f"{TRAIN} --backbone nowhere",
        "checkpoint: nowhere: no folder and no hub id; check the path",
    ),
    "tune": (
        holds("space.yaml", "task: zdna\nsearch:\n  training.epochs: {low: 5, high: 2}\n"),
        TUNE,
        "space.yaml: search.training.epochs: 5 to 2: low is not below high; exchange or widen them",
    ),
}


@pytest.mark.parametrize("job", PROCESSES)
def test_a_process_of_its_own_says_the_one_line_and_leaves_with_2(user: User, job: str) -> None:
    change, command, line = PROCESSES[job]
    change(user.folder)
    before = contents(user.folder)
    done = subprocess.run(
        [sys.executable, *arguments_of(command)],
        env=os.environ | {"PYTHONPATH": str(JOBS.parent)},
        capture_output=True,
        text=True,
    )
    check_line(done.stderr, line, user.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert contents(user.folder) == before
