"""Genomes and checkpoints that cannot be pretrained on: of the list of bad inputs, their part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
import torch

from hyena_ray.cluster.resources import Cluster
from hyena_ray.files import read_json
from hyena_ray.runs.record import PLAN
from hyena_ray.training.checkpoint import CHECKPOINT, TrainerState, save_state
from hyena_ray.workflows.pretrain import PretrainPlan
from tests.jobs.bad_inputs import (
    PRETRAIN,
    PRETRAIN_FROM,
    Case,
    Change,
    Line,
    User,
    as_it_is,
    at,
    edited,
    holds,
)

BASES = b"ACGTTGCAAC"
BAD: dict[str, tuple[Change, str, Line]] = {
    "no genome": (
        as_it_is,
        "pretrain --out out",
        at("--genome", "required"),
    ),
    "a genome that is none": (
        holds("genome.fa", "chr1\n"),
        PRETRAIN,
        at("genome.fa:1", "chr1", "begins with"),
    ),
    "a genome shorter than a window": (
        holds("genome.fa", b">chr1\n" + BASES * 3 + b"\n>chr2\n" + BASES * 2 + b"\n"),
        f"{PRETRAIN} --set held_out.share=0",
        at("genome.fa", "30 bases", "longest stretch"),
    ),
    "no stretch as long as a window": (
        holds("genome.fa", b">chr1\n" + (BASES * 3 + b"N") * 9 + b"\n"),
        PRETRAIN,
        at("genome.fa", "30 bases", "longest stretch"),
    ),
    "only N": (
        holds("genome.fa", b">chr1\n" + b"N" * 600 + b"\n>chr2\n" + b"nR" * 300 + b"\n"),
        PRETRAIN,
        at("genome.fa", "nothing but N"),
    ),
    "an unknown contig to leave out": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr9",
        at("--leave-out", "chr9", "chr1, chr2, chr3", "no such contig"),
    ),
    "an unknown contig to hold out": (
        as_it_is,
        f"{PRETRAIN} --held-out 1",
        at("--held-out", "1", "chr1, chr2, chr3", "no such contig"),
    ),
    "a contig that is held out and left out": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr2 --held-out chr2",
        at("--held-out", "chr2", "--leave-out", "left out"),
    ),
    "a contig named twice": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr1",
        at("--leave-out", "chr1", "empty", "twice"),
    ),
    "nothing left to train on": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr2 --held-out chr3",
        at("genome.fa", "left out"),
    ),
    "a held-out contig without a window": (
        edited("genome.fa", lambda content: content + b">chrM\nACGT\n"),
        f"{PRETRAIN} --held-out chrM",
        at("--held-out", "chrM", "32 bases", "training.lengths"),
    ),
    "an unknown objective": (
        as_it_is,
        f"{PRETRAIN} --objective both",
        at("--objective", "both", "next_base, masked"),
    ),
    "an unknown setting": (
        as_it_is,
        f"{PRETRAIN} --set training.epochs=3",
        at("--set", "training.epochs", "unknown"),
    ),
    "no workers": (
        as_it_is,
        f"{PRETRAIN} --workers 0",
        at("--workers", "0"),
    ),
    "weights to go on from of another size": (
        as_it_is,
        f"{PRETRAIN_FROM} backbone --set 'training.lengths=[16, 65]' "
        "--set training.tokens_per_step=65",
        at("model.backbone", "max_seq_len", "64"),
    ),
    "damaged weights to go on from": (
        edited("backbone/model.safetensors", lambda content: content[:-9]),
        f"{PRETRAIN_FROM} backbone",
        at("backbone/model.safetensors", "damaged"),
    ),
    "a damaged record beside the weights to go on from": (
        holds("backbone/pretraining.json", "{}"),
        f"{PRETRAIN_FROM} backbone",
        at("backbone/pretraining.json", "objective", "required"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_pretrained_on_is_refused(user: User, case: str) -> None:
    user.is_refused(Case(*BAD[case]))


State: TypeAlias = bytes | Callable[[str], TrainerState]
"""What a checkpoint holds, which may depend on the fingerprint of its run."""


def of_another_size(fingerprint: str) -> TrainerState:
    weights = {"model.lm_head.weight": torch.zeros(16, 9)}
    return TrainerState(fingerprint, 1, weights, {}, {}, {}, {}, [], [])


def of_other_settings(fingerprint: str) -> TrainerState:
    return TrainerState("0" * 64, 1, {}, {}, {}, {}, {}, [], [])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"PK", at("out/checkpoint.pt", "damaged")),
        (
            of_another_size,
            at("out/checkpoint.pt"),
        ),
        (
            of_other_settings,
            at("out/checkpoint.pt", "000000000000", "other settings"),
        ),
    ],
)
def test_a_checkpoint_that_is_not_this_runs_is_refused(
    user: User, cluster: Cluster, content: State, line: Line
) -> None:
    user.starts(PRETRAIN)
    checkpoint = user.folder / "out" / CHECKPOINT
    if isinstance(content, bytes):
        checkpoint.write_bytes(content)
    else:
        plan = PretrainPlan.parse(read_json(user.folder / "out" / PLAN)["plan"], "plan")
        save_state(checkpoint, content(plan.fingerprint))
    user.is_refused(Case(as_it_is, f"{PRETRAIN} --resume", line))


def test_more_workers_than_the_cluster_holds_are_refused(user: User, cluster: Cluster) -> None:
    line = at("--workers, --cpu, --gpu", "CPUs and 0 GPUs", "the cluster has")
    user.is_refused(Case(as_it_is, f"{PRETRAIN} --workers 999 --gpu 0", line))
