"""train --teacher as a user runs it: what it keeps, what it resumes, and what it refuses."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.saved import load_window_model, model_sha256, save_window_model
from tests.command_line import run_job
from tests.jobs.kmer_runs import KMER_RUN, set_options

LEARN = {
    **KMER_RUN,
    "training.teacher_share": 0.7,
    "training.soft_edges": 1,
    "training.epochs": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`; `other/`, the same genome with train and test swapped; `first/` and `second/`, runs
    on data, of which the second has shorter windows; and `swapped/`, one on other."""
    folder = tmp_path_factory.mktemp("teacher")
    made = simulate_genome(folder, contigs=3, contig_length=20_000, tracts=100, decoys=50)
    splits = {
        "data": "contig:train=sim1;val=sim2;test=sim3",
        "other": "contig:train=sim3;val=sim2;test=sim1",
    }
    for name, split in splits.items():
        settings = PrepareSettings(
            task="zdna",
            genome=made.genome,
            regions=made.regions,
            lengths=(20, 40),
            stretch=80,
            flank=8,
            split=split,
        )
        prepare(settings, folder / name)
    for name, data, changes in (
        ("first", "data", {}),
        ("second", "data", {"data.length": 20, "model.k": 4}),
        ("swapped", "other", {}),
    ):
        run_job(
            "train",
            "--data",
            folder / data,
            "--out",
            folder / name,
            *set_options(KMER_RUN | changes),
        )
    return folder


def train(folder: Path, out: Path, teacher: object, *more: str) -> list[object]:
    given = ["train", "--data", folder / "data", "--out", out, "--teacher", teacher]
    return [*given, *set_options(LEARN), *more]


def test_plan_manifest_and_card_name_the_teacher_by_what_it_is(
    folder: Path, tmp_path: Path
) -> None:
    teachers = [folder / name / "model" for name in ("first", "second")]
    known = ",".join(sorted(model_sha256(load_window_model(teacher)) for teacher in teachers))
    run_job(*train(folder, tmp_path / "run", ",".join(map(str, teachers)), "--test"))
    assert read_json(tmp_path / "run" / "manifest.json")["teacher"] == known
    plan = read_json(tmp_path / "run" / "plan.json")["plan"]
    assert plan["teacher"] == known
    assert plan["settings"]["training"]["teacher_share"] == 0.7
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert all(sha256 in card for sha256 in known.split(","))
    assert "0.7" in card
    assert str(folder) not in card
    inputs = read_json(tmp_path / "run" / "provenance.json")["inputs"]
    assert [inputs["teacher 1"], inputs["teacher 2"]] == list(map(str, teachers))
    assert read_json(tmp_path / "run" / "evaluation.json")["seen"] == []


def test_the_usual_share_is_a_half_and_none_without_a_teacher(folder: Path, tmp_path: Path) -> None:
    changes = set_options(KMER_RUN)
    given = ["train", "--data", folder / "data", *changes, "--out"]
    run_job(*given, tmp_path / "taught", "--teacher", folder / "first" / "model")
    shares = [
        read_json(run / "plan.json")["plan"]["settings"]["training"]["teacher_share"]
        for run in (tmp_path / "taught", folder / "first")
    ]
    assert shares == [0.5, None]


def test_a_run_is_resumed_with_the_same_teacher_wherever_it_is_and_with_no_other(
    folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_job(*train(folder, run, folder / "first" / "model"))
    shutil.copytree(folder / "first" / "model", tmp_path / "moved")
    found = run_job(*train(folder, run, tmp_path / "moved", "--resume", "--test")).found
    assert found["evaluation"] is not None
    before = (run / "manifest.json").read_bytes()
    for other in (
        folder / "second" / "model",
        f"{folder / 'first'}/model,{folder / 'second'}/model",
    ):
        with pytest.raises(InputError, match=r"plan\.json: teacher: the run was started with"):
            run_job(*train(folder, run, other, "--resume"))
    with pytest.raises(InputError, match=r"teacher"):
        run_job(
            "train", "--data", folder / "data", "--out", run, *set_options(KMER_RUN), "--resume"
        )
    assert (run / "manifest.json").read_bytes() == before


def test_a_teacher_that_has_seen_the_held_out_contigs_is_warned_of(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = folder / "swapped" / "model"
    with caplog.at_level(logging.WARNING):
        run_job(*train(folder, tmp_path / "run", teacher, "--test"))
    (warning,) = {line for line in caplog.messages if line.startswith("--teacher:")}
    assert str(teacher) in warning
    for contig in ("sim2 (chose its epoch and threshold)", "sim3 (trained on)"):
        assert contig in warning
    assert "sim1" not in warning
    assert read_json(tmp_path / "run" / "evaluation.json")["seen"] == ["sim3 (trained on)"]
    validation = read_json(tmp_path / "run" / "model" / "validation.json")
    assert validation["seen"] == ["sim2 (chose its epoch and threshold)"]
    assert "sim3 (trained on)" in (tmp_path / "run" / "model" / "README.md").read_text()
    # Nor is it forgotten where the student is scored, or teaches, in its turn.
    for data, contig in (("data", "sim3"), ("other", "sim1")):
        given = ["evaluate", "--model", tmp_path / "run" / "model", "--data", folder / data]
        assert run_job(*given).found["seen"] == [f"{contig} (trained on)"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        run_job(*train(folder, tmp_path / "next", tmp_path / "run" / "model", "--dry-run"))
    assert [line for line in caplog.messages if "sim3 (trained on)" in line]


def test_a_teacher_of_the_same_data_is_nothing_to_tell(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run_job(*train(folder, tmp_path / "run", folder / "first" / "model", "--dry-run"))
    assert not [line for line in caplog.messages if line.startswith("--teacher:")]


def test_a_teacher_of_unknown_data_is_warned_of(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_window_model(load_window_model(folder / "first" / "model"), tmp_path / "bare")
    with caplog.at_level(logging.WARNING):
        run_job(*train(folder, tmp_path / "run", tmp_path / "bare", "--dry-run"))
    assert any("unknown" in line for line in caplog.messages if line.startswith("--teacher:"))


def test_a_teacher_of_another_task_is_refused(folder: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(
        task="g4",
        genome=folder / "genome.fa",
        regions=folder / "regions.bed",
        lengths=(40,),
        stretch=80,
        flank=8,
        split="contig:train=sim1;val=sim2;test=sim3",
    )
    prepare(settings, tmp_path / "data")
    given = ["train", "--data", tmp_path / "data", "--out", tmp_path / "run", *set_options(LEARN)]
    with pytest.raises(InputError, match=r"--teacher: .*was trained on zdna, and the data is g4"):
        run_job(*given, "--teacher", folder / "first" / "model")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_reads_the_teacher_and_tells_its_time(folder: Path, tmp_path: Path) -> None:
    teacher = folder / "second" / "model"
    outcome = run_job(*train(folder, tmp_path / "run", teacher, "--dry-run"))
    assert "kmer_logistic, 0.7 of the target" in outcome.text
    assert not (tmp_path / "run").exists()
