"""A complete run of every job, made once, of which each test has a copy with all of its inputs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.command_line import run_command
from tests.jobs.bad_inputs import (
    ATTRIBUTE,
    BACKBONE_SPACE,
    COMBINE,
    COMPARE,
    EVALUATE,
    PREPARE,
    PRETRAIN_FROM,
    SANITY,
    SEQUENCES,
    TRAIN_FROM,
    TUNE,
)

METHOD = "--methods input_x_gradient"
COMMANDS = {
    "prepare": PREPARE,
    "sequences": SEQUENCES,
    "train": f"{TRAIN_FROM} backbone --set training.epochs=2 --test",
    "evaluate": EVALUATE,
    "sanity": f"{SANITY} {METHOD} --limit 4",
    "combine": COMBINE,
    "attribute": f"{ATTRIBUTE} {METHOD} --k 3 --min-count 1",
    "predict": "predict --model model --genome genome.fa --out out",
    "variants": "variants --model model --genome genome.fa --vcf variants.tsv --out out",
    "embed": "embed --model model --genome genome.fa --regions regions.bed --out out",
    "pretrain": f"{PRETRAIN_FROM} backbone",
    "tune": f"{TUNE} --backbone backbone",
    "compare": f"{COMPARE} --seeds 0 --set training.epochs=1",
}
"""Command of every job that leaves a run in `out`, in the folder of good inputs."""
ON_RAY = ("attribute", "predict", "variants", "embed", "pretrain", "tune", "compare")
"""Jobs that take longer, because they start processes on a cluster."""
RESUMED = ("train", *ON_RAY)
"""Jobs that take --resume."""

Made = Callable[[str], Path]
"""Returns a copy of the folder in which a job was run, in which the test is from then on."""


class Job(NamedTuple):
    """A job whose run a test has."""

    name: str
    command: str
    folder: Path
    """Folder of its inputs, which the process is in."""

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.folder / "out"

    @property
    def kind(self) -> str:
        """Kind of the run."""
        return "prepare" if self.name == "sequences" else self.name


def each(*names: str) -> pytest.MarkDecorator:
    """Parametrise a test over jobs."""
    slow = pytest.mark.slow
    return pytest.mark.parametrize(
        "job", [pytest.param(n, marks=[slow] if n in ON_RAY else []) for n in names], indirect=True
    )


def make(name: str, good: Path, folder: Path) -> None:
    """Run a job in a folder with good inputs."""
    shutil.copytree(good, folder, dirs_exist_ok=True)
    if name == "tune":
        (folder / "space.yaml").write_text(
            BACKBONE_SPACE + "attribution: {methods: [input_x_gradient], k: 3, min_count: 1}\n"
        )
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = run_command(COMMANDS[name])
    finally:
        os.chdir(before)
    assert done.code == 0, done.stderr
