"""A disk that is full stops any job in one line, and nothing half-written is taken for complete."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    COMBINE,
    COMPARE,
    EVALUATE,
    PREPARE,
    PRETRAIN,
    SANITY,
    SEQUENCES,
    SIZES,
    TRAIN,
    TUNE,
    User,
)

PREDICT = "predict --genome genome.fa --model model --out out"
JOBS = {
    "simulate": "simulate zdna --out out",
    "prepare": PREPARE,
    "sequences": SEQUENCES,
    "train": TRAIN,
    "tune": TUNE,
    "compare": f"{COMPARE} {SIZES} --set training.epochs=1",
    "evaluate": EVALUATE,
    "predict": PREDICT,
    "variants": "variants --model model --genome genome.fa --vcf variants.tsv --out out",
    "embed": "embed --model model --genome genome.fa --regions regions.bed --out out",
    "attribute": f"{ATTRIBUTE} --methods input_x_gradient --k 2 --min-count 1",
    "combine": COMBINE,
    "sanity": SANITY,
    "pretrain": PRETRAIN,
}
ROOM = (0, 1_500, 6_000)
"""Bytes that a file may have: a job fails at its first file, and at later ones."""
ON_RAY = ("tune", "compare", "predict", "variants", "embed", "attribute", "pretrain")
"""Jobs whose process writes logs of Ray's as well, which the largest size cuts off too."""


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk or a quota would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("job", "size"),
    [(job, size) for job in JOBS for size in ROOM if size < max(ROOM) or job not in ON_RAY],
)
def test_a_job_without_room_ends_in_one_line(user: User, job: str, size: int) -> None:
    with room_for(size):
        done = user.runs(JOBS[job])
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    if done.code == 0:  # all its files are small enough, or other processes have written them
        assert size > 0
        return
    assert done.code == 1, done.stderr
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    # A page about the run comes after it is complete.
    complete = (user.folder / "out" / "manifest.json").exists()
    assert not complete or "report" in lines[-1]
