"""Text is read from a pipe as it is from a file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.genome.contigs import open_genome
from tests.binary_files import twobit_bytes
from tests.command_line import environment
from tests.jobs.bad_inputs import PREPARE, SEQUENCES, SPACE, TUNE, User

PIPED = {
    "substitution": PREPARE.replace("regions.bed", "<(cat regions.bed)"),
    "several": PREPARE.replace("regions.bed", "<(cat regions.bed)").replace(
        "genome.fa", "<(gzip -c genome.fa)"
    ),
    "standard input": f"cat regions.bed | {PREPARE.replace('regions.bed', '-')}",
    "/dev/stdin": f"gzip -c genome.fa | {PREPARE.replace('genome.fa', '/dev/stdin')}",
    "redirected": PREPARE.replace("regions.bed", "-") + " < regions.bed",
    "CSV": SEQUENCES.replace("train.csv", "<(cat train.csv)").replace(
        "test.csv", "<(cat test.csv)"
    ),
}


def in_bash(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    job = f"{shlex.quote(sys.executable)} -m hyena_ray "
    before, pipe, last = command.rpartition("| ")
    line = f"{before}{pipe}{job}{last}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", PIPED)
def test_a_pipe_gives_the_same_windows(user: User, case: str) -> None:
    done = in_bash(PIPED[case], user.folder)
    assert done.returncode == 0, done.stderr
    plain = "sequences" if case == "CSV" else "data"
    made = Manifest.read(user.folder / "out")
    assert made.files == Manifest.read(user.folder / plain).files
    assert not any(file.name.isdigit() for file in made.files_read)


def test_a_refusal_names_the_pipe_and_its_line(user: User) -> None:
    done = in_bash(
        f"printf 'chr1\\t5\\t9\\nchr1\\t5\\n' | {PREPARE.replace('regions.bed', '-')}", user.folder
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: /dev/stdin:2: chr1 5: fewer than three columns")


def test_a_space_is_read_from_a_pipe(user: User) -> None:
    (user.folder / "space.yaml").write_text(SPACE.replace("trials", "trails"))
    done = in_bash(TUNE.replace("space.yaml", "<(cat space.yaml)"), user.folder)
    assert done.returncode == 2
    assert "did you mean trials?" in done.stderr


def test_what_a_pipe_holds_can_be_read_again(tmp_path: Path) -> None:
    pipe = tmp_path / "genome"
    os.mkfifo(pipe)
    content = twobit_bytes([("a", "ACGTN")])
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    read = [[contig.codes.tolist() for contig in open_genome(pipe)] for _ in range(2)]
    writer.join()
    assert read == [[[0, 1, 2, 3, 4]]] * 2
