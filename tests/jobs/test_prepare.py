"""`hyena-ray prepare` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import SimulatedGenome, simulate_genome
from hyena_ray.runs.lock import only_maker
from tests.command_line import process_of, run_command, run_job
from tests.jobs.bad_inputs import Line, at, check_line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimulatedGenome:
    folder = tmp_path_factory.mktemp("job")
    return simulate_genome(folder, contigs=3, contig_length=12_000, tracts=60, decoys=30)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_writes_the_folder_and_a_table(made: SimulatedGenome) -> None:
    outcome = run_job(
        *("prepare", "zdna", "--genome", made.genome, "--regions", made.regions, "--out", "data"),
        *("--lengths", "50,80", "--flank", "5", "--negatives", "2", "--seed", "3"),
    )
    assert "positive labels" in outcome.text
    assert outcome.simulated
    data = PreparedData.open(Path("data"))
    assert data.manifest.lengths == (50, 80)
    assert (data.manifest.flank, data.manifest.negatives, data.manifest.seed) == (5, "random:2", 3)
    assert data.read(80, "test").tokens.shape[1] == 90


def test_a_preparation_that_was_killed_is_made_again_and_what_it_left_is_swept(
    made: SimulatedGenome, folder: Path
) -> None:
    given = ("zdna", "--genome", made.genome, "--regions", made.regions, "--lengths", "50")
    process = subprocess.Popen(
        process_of("prepare", *given, "--out", folder / "data"), stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(folder.glob(".data.*.tmp/length=50")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(folder.glob(".data.*.tmp"))
    with only_maker(folder / "data"), pytest.raises(InputError, match="another job is writing"):
        run_job("prepare", *given, "--out", "data")
    run_job("prepare", *given, "--out", "data")
    assert [path.name for path in folder.iterdir()] == ["data"]


def test_a_scan_scores_every_stretch_of_the_test_contig(made: SimulatedGenome) -> None:
    given = ("zdna", "--genome", made.genome, "--regions", made.regions, "--stretch", "100")
    for name, scan in (("sample", ()), ("scan", ("--scan",))):
        outcome = run_job("prepare", *given, *scan, "--lengths", "50", "--out", name)
        assert "models of every window length are scored on the same stretches" in outcome.text
    sample, whole = (PreparedData.open(Path(name)) for name in ("sample", "scan"))
    assert (sample.manifest.scan, whole.manifest.scan) == (False, True)
    assert sample.count(50, "val") == whole.count(50, "val")
    [counts] = whole.manifest.counts_of(50, "test")
    assert counts.negative == counts.candidates
    assert sample.count(50, "test") < whole.count(50, "test")


def test_folds_may_train_on_overlapping_windows(made: SimulatedGenome) -> None:
    given = ("zdna", "--genome", made.genome, "--regions", made.regions, "--split", "kfold:3")
    cut = ("--stretch", "120", "--train-stride", "20", "--lengths", "60", "--out", "data")
    run_job("prepare", *given, *cut)
    view = PreparedData.open(Path("data")).for_fold(0)
    assert (np.diff(view.window_ids(60, "train")) == 20).any()
    for split in ("val", "test"):
        assert (np.diff(view.window_ids(120, split)) >= 120).all()


def test_overlapping_training_windows_are_prepared_on_request(made: SimulatedGenome) -> None:
    given = ("zdna", "--genome", made.genome, "--regions", made.regions, "--lengths", "60")
    for name, stride in (("plain", ()), ("strided", ("--train-stride", "20"))):
        run_job("prepare", *given, *stride, "--out", name)
    plain, strided = (PreparedData.open(Path(name)) for name in ("plain", "strided"))
    assert (plain.manifest.train_stride, strided.manifest.train_stride) == (None, 20)
    assert strided.count(60, "train") > 2 * plain.count(60, "train")
    assert strided.count(60, "test") == plain.count(60, "test")


def test_sequences_are_prepared_and_what_was_dropped_is_printed() -> None:
    for split, rows in (("train", "ACGT,1\nAAAA,0\nGGGG,1\n"), ("val", "ACGT,1\nCCCC,0\n")):
        Path(f"{split}.csv").write_text(f"sequence,label\n{rows}")
    Path("test.csv").write_text("sequence,label\nTTTT,0\nGTGT,1\n")
    files = [word for name in ("train", "val", "test") for word in (f"--{name}", f"{name}.csv")]
    outcome = run_job("prepare", "promoter", *files, "--out", "data")
    assert "train: dropped 1 of 3 sequences that a later split has as well" in outcome.text
    assert PreparedData.open(Path("data")).read(4, "train").labels.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("task", "example", "option", "foreign"),
    [
        ("zdna", "hyena-ray prepare zdna --genome", "--flank", "--val"),
        ("promoter", "hyena-ray prepare promoter --train", "--train", "--regions"),
    ],
)
def test_the_help_of_a_task_has_an_example_and_its_options_alone(
    task: str, example: str, option: str, foreign: str
) -> None:
    done = run_command(f"prepare {task} --help")
    assert done.code == 0
    assert example in done.stdout
    assert option in done.stdout
    assert foreign not in done.stdout


GOOD = "prepare zdna --genome genome.fa --regions regions.bed --out out"
TWO = "--train regions.bed --val regions.bed"
SEQUENCES = f"prepare promoter {TWO} --test regions.bed --out out"
BAD: dict[str, tuple[str, Line]] = {
    "no regions": ("prepare zdna --genome genome.fa --out out", at("--regions", "required")),
    "task": (
        "prepare promotor --genome genome.fa --out out",
        at("hyena-ray prepare", "promotor", "did you mean promoter?", "zdna"),
    ),
    "stride": (f"{GOOD} --train-stride 30", at("--train-stride", "30", "does not divide")),
    "no stride": (f"{GOOD} --train-stride 0", at("--train-stride", "0", "1")),
    "stride without training": (
        f"{GOOD} --train-stride 20 --split 'contig:val=sim1;test=sim2'",
        at("--train-stride", "20", "contig:val=sim1;test=sim2", "no window trains"),
    ),
    "a window that no stretch holds": (
        f"{GOOD} --lengths 100,2048",
        at("--lengths", "2048", "1024", "--stretch"),
    ),
    "a longer window than the stretch": (
        f"{GOOD} --lengths 100 --stretch 99",
        at("--lengths", "100", "99", "--stretch"),
    ),
    "no stretch": (f"{GOOD} --stretch 0", at("--stretch", "0", "1")),
    "nothing to validate on": (
        f"{GOOD} --lengths 100 --stretch 9000 --split 'contig:train=sim1;val=sim2;test=sim3' "
        "--blacklist sim2.bed",
        at("--split", "val", "9000"),
    ),
    "sequences for windows": (f"{GOOD} --train x", at("--train", "--help")),
    "genome for sequences": (
        f"{SEQUENCES} --genome g",
        at("--genome", "--help"),
    ),
    "seed for sequences": (f"{SEQUENCES} --seed 1", at("--seed", "--help")),
    "no test": (f"prepare promoter {TWO} --out out", at("--test", "required")),
    "no file": (f"prepare promoter {TWO} --test c --out out", at("c", "no such file", "--test")),
    "option": (f"{GOOD} --flanks 3", at("--flanks", "did you mean --flank?")),
    "abbreviation": (f"{GOOD} --neg 3", at("--neg", "did you mean --negatives?")),
    "lengths": (f"{GOOD} --lengths 100,x", at("--lengths", "x", "integer")),
    "no length": (f"{GOOD} --lengths ''", at("--lengths", "''", "integer")),
    "length 0": (f"{GOOD} --lengths 0", at("--lengths", "0", "at least 1")),
    "float flank": (f"{GOOD} --flank 1e1", at("--flank", "10.0", "integer")),
    "negative flank": (f"{GOOD} --flank -4", at("--flank", "-4", "greater than or equal to 0")),
    "negative": (f"{GOOD} --negatives -1", at("--negatives", "-1", "greater than or equal to 0")),
    "unknown kind": (f"{GOOD} --negatives tracts:1", at("--negatives", "did you mean tract?")),
    "stratum as a kind": (f"{GOOD} --negatives other:1", at("--negatives", "other", "gc, tract")),
    "one stratum": (
        f"{GOOD} --held-out-negatives tract:1",
        at("--held-out-negatives", "tract:3,other:1"),
    ),
    "tracts of sequences": (f"{SEQUENCES} --negatives tract", at("--negatives", "--help")),
    "split": (f"{GOOD} --split chr1", at("--split", "chr1", "kfold")),
    "swapped": (
        "prepare zdna --genome regions.bed --regions regions.bed --out out",
        at("regions.bed:1", "FASTA"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    made: SimulatedGenome, folder: Path, case: str
) -> None:
    command, line = BAD[case]
    for path in (made.genome, made.regions):
        (folder / path.name).symlink_to(path)
    (folder / "sim2.bed").write_text("sim2\t0\t12000\n")
    before = sorted(folder.iterdir())
    done = run_command(command)
    assert (done.code, done.stdout) == (2, "")
    check_line(done.stderr, line, folder)
    assert len(done.stderr.splitlines()) == 1
    assert sorted(folder.iterdir()) == before
