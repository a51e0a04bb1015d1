"""jobs/prepare.py as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulate import Simulation, simulate_genome

JOB = Path(__file__).parents[2] / "jobs" / "prepare.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    folder = tmp_path_factory.mktemp("job")
    return simulate_genome(folder, contigs=3, contig_length=12_000, tracts=60, decoys=30)


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_run_writes_the_folder_and_a_table(made: Simulation, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("zdna", "--genome", made.genome, "--regions", made.regions, "--out", "data"),
        *("--lengths", "50,80", "--flank", "5", "--negatives", "2", "--seed", "3"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "labels of 1" in done.stderr
    assert "simulated: no figure" in done.stderr
    data = PreparedData.open(tmp_path / "data")
    assert data.manifest.lengths == (50, 80)
    assert (data.manifest.flank, data.manifest.negatives, data.manifest.seed) == (5, 2.0, 3)
    assert data.read(80, "test").tokens.shape[1] == 90


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "python jobs/prepare.py zdna --genome" in done.stdout
    assert "Real bases stored on each side" in done.stdout


BAD: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "command line: the following arguments are required: TASK"),
    "no regions": (["zdna", "--genome", "g", "--out", "o"], "required: --regions"),
    "task": (["promotor", "--genome", "g", "--regions", "r", "--out", "o"], "task: promotor: unkn"),
    "option": (["zdna", "GOOD", "--flanks", "3"], "unrecognized arguments: --flanks"),
    "abbreviation": (["zdna", "GOOD", "--neg", "3"], "unrecognized arguments: --neg"),
    "lengths": (["zdna", "GOOD", "--lengths", "100,x"], "command line: lengths.1: x: "),
    "no length": (["zdna", "GOOD", "--lengths", ""], "command line: lengths.0: "),
    "length 0": (["zdna", "GOOD", "--lengths", "0"], "command line: lengths: "),
    "float flank": (["zdna", "GOOD", "--flank", "1e1"], "command line: flank: 10.0: "),
    "negative flank": (["zdna", "GOOD", "--flank", "-4"], "command line: flank: -4: "),
    "nan": (["zdna", "GOOD", "--negatives", "nan"], "command line: negatives: nan: "),
    "negative": (["zdna", "GOOD", "--negatives", "-1"], "command line: negatives: -1: "),
    "split": (["zdna", "GOOD", "--split", "chr1"], "--split: chr1: unknown kind of split"),
    "genome": (["zdna", "GOOD", "--genome", "none.fa"], "none.fa: there is no such file"),
    "swapped": (["zdna", "GOOD", "--genome", "BED"], "regions.bed:1: "),
    "exists": (["zdna", "GOOD", "--out", "."], "exists already"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2_and_writes_nothing(
    made: Simulation, tmp_path: Path, case: str
) -> None:
    given, message = BAD[case]
    good = ["--genome", str(made.genome), "--regions", str(made.regions), "--out", "out"]
    arguments: list[str] = []
    for word in given:
        arguments += good if word == "GOOD" else [str(made.regions) if word == "BED" else word]
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
