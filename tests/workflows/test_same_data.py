"""What the data is decides whether a run may be resumed, and not where the data lies."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.workflows.train import TrainRecord
from tests.command_line import run_job

SMALL = [
    f"--set={key}={value}"
    for key, value in {
        "data.length": 40,
        "data.limit": 100,
        "model.d_model": 8,
        "model.n_layer": 1,
        "readout.flank": 8,
        "readout.lookahead": 4,
        "training.epochs": 1,
    }.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`, `copy/` with the same content, and `other/` of another genome."""
    folder = tmp_path_factory.mktemp("same")
    for name, seed in (("data", 0), ("other", 1)):
        (folder / f"genome-{name}").mkdir()
        made = simulate_genome(
            folder / f"genome-{name}", seed, contig_length=20_000, tracts=100, decoys=50
        )
        settings = PrepareSettings(
            task="zdna", genome=made.genome, regions=made.regions, lengths=(40,), flank=8
        )
        prepare(settings, folder / name)
    shutil.copytree(folder / "data", folder / "copy")
    (folder / "link").symlink_to(folder / "copy")
    return folder


@pytest.fixture(scope="module")
def complete(folder: Path) -> Path:
    """A training run."""
    run_job("train", "--data", folder / "data", "--out", folder / "run", *SMALL)
    return folder / "run"


@pytest.fixture
def interrupted(complete: Path, tmp_path: Path) -> Path:
    """A copy of the run that has all but its manifest."""
    out = Path(shutil.copytree(complete, tmp_path / "run"))
    (out / "manifest.json").unlink()
    return out


@pytest.mark.parametrize("name", ["copy", "link"])
def test_a_copy_of_the_data_or_a_link_to_it_is_the_same_data(
    folder: Path, interrupted: Path, name: str
) -> None:
    run_job("train", "--data", folder / name, "--out", interrupted, "--resume", *SMALL)
    assert TrainRecord.read(interrupted).best_epoch == 1
    origin = read_json(interrupted / "provenance.json")["inputs"]["data"]
    assert Path(origin).name == name


def test_other_data_are_refused_before_anything_is_overwritten(
    folder: Path, interrupted: Path
) -> None:
    before = {path: path.read_bytes() for path in interrupted.rglob("*.json")}
    for dry in ([], ["--dry-run"]):
        with pytest.raises(InputError, match=r"plan\.json: data: "):
            run_job(
                "train", "--data", folder / "other", "--out", interrupted, "--resume", *SMALL, *dry
            )
    assert {path: path.read_bytes() for path in interrupted.rglob("*.json")} == before


def test_another_job_does_not_resume_the_run(folder: Path, interrupted: Path) -> None:
    genome = folder / "genome-data" / "genome.fa"
    with pytest.raises(InputError, match=r"is a training run, not a pretraining.*hyena-ray train"):
        run_job("pretrain", "--genome", genome, "--out", interrupted, "--resume")


WRONG = {
    "prepared data": ("train --data {run} --out {new}", "a training run, not prepared data"),
    "a page": ("report {genome}", "holds no run"),
    "an attribution": ("report {run} --attributed {run}", "--attributed: .*a training run, not"),
    "a comparison": ("report {run} --compared {data}", "--compared: .*prepared data, not"),
    "an unfinished run": ("report {unfinished}", "not complete.*--resume"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_of_the_wrong_kind_is_one_line(
    folder: Path, complete: Path, interrupted: Path, tmp_path: Path, case: str
) -> None:
    command, message = WRONG[case]
    words = command.format(
        run=complete,
        new=tmp_path / "new",
        data=folder / "data",
        genome=folder / "genome-data",
        unfinished=interrupted,
    ).split()
    with pytest.raises(InputError, match=message) as refusal:
        run_job(*words)
    assert len(refusal.value.lines) == 1
    assert not (tmp_path / "new").exists()
