"""Genomes and checkpoints that cannot be pretrained on: of the list of bad inputs, their part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hyena_ray.cluster.resources import Cluster
from hyena_ray.training.checkpoint import CHECKPOINT, TrainerState, save_state
from hyena_ray.training.settings import PretrainSettings
from tests.jobs.bad_inputs import (
    PRETRAIN,
    Case,
    Change,
    User,
    as_it_is,
    both,
    edited,
    holds,
    is_folder,
)

SMALL: dict[str, Any] = {
    "training.steps": 2,
    "training.lengths": [16, 32],
    "training.tokens_per_step": 64,
    "model.d_model": 8,
    "model.n_layer": 1,
}
BASES = b"ACGTTGCAAC"
BAD: dict[str, tuple[Change, str, str]] = {
    "no genome": (
        as_it_is,
        "pretrain --out out",
        "command line: the following arguments are required: --genome; "
        "see python jobs/pretrain.py --help",
    ),
    "a genome that is none": (
        holds("genome.fa", "chr1\n"),
        PRETRAIN,
        "genome.fa:1: chr1: a FASTA file begins with '>' and a contig's name; ...",
    ),
    "a genome shorter than a window": (
        holds("genome.fa", b">chr1\n" + BASES * 3 + b"\n>chr2\n" + BASES * 2 + b"\n"),
        f"{PRETRAIN} --set held_out.share=0",
        "genome.fa: 30 bases: the longest stretch to train on without N is shorter than a window "
        "of 32; give a longer genome, or lower training.lengths",
    ),
    "no stretch as long as a window": (
        holds("genome.fa", b">chr1\n" + (BASES * 3 + b"N") * 9 + b"\n"),
        PRETRAIN,
        "genome.fa: 30 bases: the longest stretch ...; give a longer genome, ...",
    ),
    "only N": (
        holds("genome.fa", b">chr1\n" + b"N" * 600 + b"\n>chr2\n" + b"nR" * 300 + b"\n"),
        PRETRAIN,
        "genome.fa: holds nothing but N; give a genome with bases",
    ),
    "an unknown contig to leave out": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr9",
        "--leave-out: chr9: genome.fa has no such contig; it has chr1, chr2, chr3",
    ),
    "an unknown contig to hold out": (
        as_it_is,
        f"{PRETRAIN} --held-out 1",
        "--held-out: 1: genome.fa has no such contig; it has chr1, chr2, chr3",
    ),
    "a contig that is held out and left out": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr2 --held-out chr2",
        "--held-out: chr2: is left out as well, and nothing is read from those; "
        "name it in one of --held-out and --leave-out",
    ),
    "a contig named twice": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr1",
        "--leave-out: chr1: empty or named twice; give names like chr7,chr20",
    ),
    "nothing left to train on": (
        as_it_is,
        f"{PRETRAIN} --leave-out chr1,chr2 --held-out chr3",
        "genome.fa: every contig is left out or held out; leave one to train on",
    ),
    "a held-out contig without a window": (
        edited("genome.fa", lambda content: content + b">chrM\nACGT\n"),
        f"{PRETRAIN} --held-out chrM",
        "--held-out: chrM: has no 32 bases in a row without N, which a window needs; "
        "hold out another contig, or lower training.lengths",
    ),
    "an unknown objective": (
        as_it_is,
        f"{PRETRAIN} --objective both",
        "command line: argument --objective: invalid choice: 'both' (...); ...",
    ),
    "an unknown setting": (
        as_it_is,
        f"{PRETRAIN} --set training.epochs=3",
        "--set: training.epochs: unknown key; allowed are ...",
    ),
    "no workers": (
        as_it_is,
        f"{PRETRAIN} --workers 0",
        "command line: workers: 0: Input should be greater than or equal to 1; correct the value",
    ),
    "weights to go on from of another size": (
        as_it_is,
        f"{PRETRAIN} --backbone backbone --set 'training.lengths=[16, 65]' "
        "--set training.tokens_per_step=65",
        "model.backbone: backbone: max_seq_len: 64: below the longest window of 65 bases; "
        "lower training.lengths, or take a model of another size",
    ),
    "damaged weights to go on from": (
        edited("backbone/model.safetensors", lambda content: content[:-9]),
        f"{PRETRAIN} --backbone backbone",
        "backbone/model.safetensors: damaged or unsafe weights (...); ...",
    ),
    "a damaged record beside the weights to go on from": (
        holds("backbone/pretraining.json", "{}"),
        f"{PRETRAIN} --backbone backbone",
        "backbone/pretraining.json: objective: {}: Field required; correct the value",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_pretrained_on_is_refused(user: User, case: str) -> None:
    user.is_refused(Case(*BAD[case]))


def begun_with(content: bytes | Callable[[PretrainSettings], TrainerState]) -> Change:
    """A run that has this checkpoint."""

    def change(folder: Path) -> None:
        settings = PretrainSettings().updated(SMALL, "test")
        if isinstance(content, bytes):
            (folder / "out" / CHECKPOINT).write_bytes(content)
        else:
            save_state(folder / "out" / CHECKPOINT, content(settings))

    return both(is_folder("out"), holds("out/config.yaml", "settings: {}\n"), change)


def of_another_size(settings: PretrainSettings) -> TrainerState:
    weights = {"model.lm_head.weight": torch.zeros(16, 9)}
    return TrainerState(settings.fingerprint(), 1, weights, {}, {}, {}, {}, [], [])


def of_other_settings(settings: PretrainSettings) -> TrainerState:
    return TrainerState("0" * 64, 1, {}, {}, {}, {}, {}, [], [])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"PK", "out/checkpoint.pt: damaged checkpoint (...); delete it and start again"),
        (
            of_another_size,
            "out/checkpoint.pt: the weights of a model of another size (RuntimeError); "
            "restore the checkpoint of this run, or delete it and start again",
        ),
        (
            of_other_settings,
            "out/checkpoint.pt: 000000000000: belongs to other settings than these (...); "
            "resume with the settings of the first start, or give a new folder",
        ),
    ],
)
def test_a_checkpoint_that_is_not_this_runs_is_refused(
    user: User, content: bytes | Callable[[PretrainSettings], TrainerState], line: str
) -> None:
    user.is_refused(Case(begun_with(content), f"{PRETRAIN} --resume", line))


def test_more_workers_than_the_cluster_holds_are_refused(user: User, cluster: Cluster) -> None:
    line = "--workers, --cpu, --gpu: ... CPUs and 0 GPUs each: the cluster has ...; ..."
    user.is_refused(Case(as_it_is, f"{PRETRAIN} --workers 999", line))
