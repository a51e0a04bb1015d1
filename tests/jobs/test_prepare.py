"""jobs/prepare.py as a user runs it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import SimulatedGenome, simulate_genome

JOB = Path(__file__).parents[2] / "jobs" / "prepare.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    folder = tmp_path_factory.mktemp("job")
    return simulate_genome(folder, contigs=3, contig_length=12_000, tracts=60, decoys=30)


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_run_writes_the_folder_and_a_table(made: SimulatedGenome, tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("zdna", "--genome", made.genome, "--regions", made.regions, "--out", "data"),
        *("--lengths", "50,80", "--flank", "5", "--negatives", "2", "--seed", "3"),
    )
    assert done.returncode == 0, done.stderr
    assert "labels of 1" in done.stdout
    assert "simulated: no figure" in done.stdout
    assert done.stderr == ""
    data = PreparedData.open(tmp_path / "data")
    assert data.manifest.lengths == (50, 80)
    assert (data.manifest.flank, data.manifest.negatives, data.manifest.seed) == (5, 2.0, 3)
    assert data.read(80, "test").tokens.shape[1] == 90


def test_overlapping_training_windows_are_prepared_on_request(
    made: SimulatedGenome, tmp_path: Path
) -> None:
    given = ("zdna", "--genome", made.genome, "--regions", made.regions, "--lengths", "60")
    for name, stride in (("plain", ()), ("strided", ("--train-stride", "20"))):
        done = run(tmp_path, *given, *stride, "--out", name)
        assert done.returncode == 0, done.stderr
    plain, strided = (PreparedData.open(tmp_path / name) for name in ("plain", "strided"))
    assert (plain.manifest.train_stride, strided.manifest.train_stride) == (None, 20)
    assert strided.count(60, "train") > 2 * plain.count(60, "train")
    assert strided.count(60, "test") == plain.count(60, "test")


def test_sequences_are_prepared_and_what_was_dropped_is_printed(tmp_path: Path) -> None:
    for split, rows in (("train", "ACGT,1\nAAAA,0\nGGGG,1\n"), ("val", "ACGT,1\nCCCC,0\n")):
        (tmp_path / f"{split}.csv").write_text(f"sequence,label\n{rows}")
    (tmp_path / "test.csv").write_text("sequence,label\nTTTT,0\nGTGT,1\n")
    files = [word for name in ("train", "val", "test") for word in (f"--{name}", f"{name}.csv")]
    done = run(tmp_path, "promoter", *files, "--out", "data")
    assert done.returncode == 0, done.stderr
    assert "train: dropped 1 of 3 sequences that a later split has as well" in done.stdout
    assert done.stderr == ""
    assert PreparedData.open(tmp_path / "data").read(4, "train").labels.tolist() == [[0], [1]]


def test_help_shows_an_example(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "python jobs/prepare.py zdna --genome" in done.stdout
    assert "python jobs/prepare.py promoter --train" in done.stdout
    assert "Real bases stored on each side" in done.stdout
    assert "CSV file of training sequences" in done.stdout


BAD: dict[str, tuple[list[str], str]] = {
    "no regions": (["zdna", "--genome", "g", "--out", "o"], "required: --regions"),
    "task": (["promotor", "--genome", "g", "--regions", "r", "--out", "o"], "task: promotor: unkn"),
    "stride": (["zdna", "GOOD", "--train-stride", "30"], "--train-stride: 30: does not divide"),
    "no stride": (["zdna", "GOOD", "--train-stride", "0"], "command line: train_stride: 0: "),
    "stride of folds": (
        ["zdna", "GOOD", "--train-stride", "20", "--split", "kfold:5"],
        "--train-stride: 20: with kfold:5 no window only trains",
    ),
    "sequences for windows": (
        ["zdna", "GOOD", "--train", "x"],
        "--train is no option of zdna, which has --genome, --regions, --blacklist",
    ),
    "genome for sequences": (
        ["promoter", "--genome", "g", "--out", "o"],
        "--genome is no option of promoter, which has --train, --val, --test",
    ),
    "seed for sequences": (["promoter", "--seed", "1", "--out", "o"], "--seed is no option of pro"),
    "no test": (
        ["promoter", "--train", "a", "--val", "b", "--out", "o"],
        "the following arguments are required: --test; see python jobs/prepare.py --help",
    ),
    "no file": (
        ["promoter", "--train", "a", "--val", "b", "--test", "c", "--out", "o"],
        "a: there is no such file; give --train a CSV file",
    ),
    "option": (["zdna", "GOOD", "--flanks", "3"], "unrecognized arguments: --flanks"),
    "abbreviation": (["zdna", "GOOD", "--neg", "3"], "unrecognized arguments: --neg"),
    "lengths": (["zdna", "GOOD", "--lengths", "100,x"], "command line: lengths.1: x: "),
    "no length": (["zdna", "GOOD", "--lengths", ""], "command line: lengths.0: "),
    "length 0": (["zdna", "GOOD", "--lengths", "0"], "command line: lengths: "),
    "float flank": (["zdna", "GOOD", "--flank", "1e1"], "command line: flank: 10.0: "),
    "negative flank": (["zdna", "GOOD", "--flank", "-4"], "command line: flank: -4: "),
    "negative": (["zdna", "GOOD", "--negatives", "-1"], "command line: negatives: -1: "),
    "split": (["zdna", "GOOD", "--split", "chr1"], "--split: chr1: unknown kind of split"),
    "swapped": (["zdna", "GOOD", "--genome", "BED"], "regions.bed:1: "),
}


@pytest.fixture(scope="module")
def job() -> ModuleType:
    """In this process: starting one for each case takes longer than all of them."""
    spec = importlib.util.spec_from_file_location("prepare_job", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_is_written(
    made: SimulatedGenome,
    job: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    given, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refusal:
        job.main(words(made, given))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def words(made: SimulatedGenome, given: list[str]) -> list[str]:
    """Replace GOOD by arguments that can be used, and BED by the regions."""
    good = ["--genome", str(made.genome), "--regions", str(made.regions), "--out", "out"]
    arguments: list[str] = []
    for word in given:
        arguments += good if word == "GOOD" else [str(made.regions) if word == "BED" else word]
    return arguments
