"""jobs/train.py and jobs/evaluate.py as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.errors import InputError, JobError
from hyena_ray.files import read_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.training.evaluation import Evaluation
from tests.command_line import run_job

SMALL = [
    f"--set={key}={value}"
    for key, value in {
        "data.length": 40,
        "data.limit": 200,
        "model.d_model": 16,
        "model.n_layer": 1,
        "readout.flank": 8,
        "readout.lookahead": 8,
        "training.epochs": 1,
        "training.accumulation": 2,
        "training.learning_rate": 0.01,
    }.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`data/`, split by contig, and `folds/`."""
    folder = tmp_path_factory.mktemp("train")
    made = simulate_genome(folder, contigs=3, contig_length=20_000, tracts=100, decoys=50)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        stretch=100,
        flank=8,
    )
    prepare(settings, folder / "data")
    prepare(settings.model_copy(update={"split": "kfold:3"}), folder / "folds")
    return folder


def test_a_run_writes_and_prints_its_evaluation(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run_job("train", *["--data", str(folder / "data"), "--out", str(out), "--test", *SMALL])
    found = read_json(out / "evaluation.json")
    evaluation = Evaluation.read(out / "evaluation.json")
    figures = {f"tile_{name}": value for name, value in found["tiles"]["metrics"].items()}
    figures |= {"false_per_mb": found["regions"]["false_per_mb"]}
    assert found["metrics"].items() | figures.items() <= evaluation.figures().items()
    assert read_json(out / "manifest.json")["test"] == evaluation.figures()
    assert read_json(out / "model" / "evaluation.json") == found
    assert found["simulated"]
    assert list((out / "tensorboard").glob("events.out.tfevents.*"))
    assert "Simulated DNA" in (out / "model" / "README.md").read_text()
    assert f"f1                  {found['metrics']['f1']:.3f}  (" in done.text
    assert done.found["evaluation"] == found
    arguments = ["--model", str(out / "model"), "--data", str(folder / "data")]
    run_job("evaluate", *[*arguments, "--out", str(tmp_path / "again")])
    assert read_json(tmp_path / "again" / "evaluation.json") == found
    assert "zdna, test: " in run_job("evaluate", *[*arguments, "--strands", "forward"]).text


def test_overwrite_replaces_a_run_and_all_that_it_left(folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(folder / "data"), "--out", str(tmp_path / "run"), *SMALL]
    run_job("train", *[*arguments, "--test"])
    run_job("train", *[*arguments, "--overwrite", "--set=training.seed=1"])
    assert read_json(tmp_path / "run" / "plan.json")["plan"]["settings"]["training"]["seed"] == 1
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_a_run_on_folds_tests_the_fold_that_it_was_given(folder: Path, tmp_path: Path) -> None:
    data = ["--data", str(folder / "folds")]
    rows = {}
    for fold in (0, 2):
        out = tmp_path / str(fold)
        run_job("train", *[*data, "--out", str(out), "--test", *SMALL, f"--set=data.fold={fold}"])
        found = read_json(out / "evaluation.json")
        rows[fold] = found["rows"]
        again = tmp_path / f"again{fold}"
        run_job(
            "evaluate",
            *["--model", str(out / "model"), *data, "--fold", str(fold), "--out", str(again)],
        )
        assert read_json(again / "evaluation.json") == found
    with pytest.raises(InputError, match=r"data\.fold: is missing, .* 3 folds"):
        run_job("train", *[*data, "--out", str(tmp_path / "none"), *SMALL])
    assert not (tmp_path / "none").exists()


def test_a_configuration_fills_what_it_does_not_say_with_the_tasks_defaults(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("training: {batch_size: 64}\nreadout: {flank: 9}\n")
    arguments = ["--data", str(folder / "data"), "--out", str(tmp_path / "run")]
    arguments += ["--config", str(tmp_path / "config.yaml"), "--set=readout.lookahead=4"]
    with pytest.raises(InputError, match=r"readout\.flank: 9"):
        run_job("train", *[*arguments, "--set=data.length=40"])
    assert not (tmp_path / "run").exists()


def test_a_preset_gives_way_to_what_is_set_and_says_what_data_it_needs(
    folder: Path, tmp_path: Path
) -> None:
    arguments = ["--data", str(folder / "data"), "--out", str(tmp_path / "run")]
    with pytest.raises(InputError, match=r"--preset: zdna/none: .*zdna/two_stage"):
        run_job("train", *[*arguments, "--preset", "zdna/none"])
    with pytest.raises(InputError, match=r"zdna/five_folds: .*--split kfold:5"):
        run_job("train", *[*arguments, "--preset", "zdna/five_folds"])
    assert not (tmp_path / "run").exists()
    run_job("train", *[*arguments, "--preset", "zdna/lora_mixer", *SMALL])
    settings = read_json(tmp_path / "run" / "plan.json")["plan"]["settings"]
    record = read_json(tmp_path / "run" / "manifest.json")
    assert settings["lora"]["targets"] == "mixer"
    assert (settings["training"]["epochs"], settings["data"]["length"]) == (1, 40)
    assert record["test"] is None
    assert 0 < record["trainable_share"] < 0.5
    assert record["seconds_per_epoch"] > 0
    assert record["peak_memory"] > 2**20
    again = [*arguments, "--preset", "zdna/lora_mixer", *SMALL, "--resume"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.*")}
    run_job("train", *again)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} <= {"report.html"}
    assert run_job("train", *again, "--test").found["evaluation"] is not None
    assert read_json(tmp_path / "run" / "manifest.json")["test"] is not None


def test_a_run_that_diverges_ends_in_one_line(folder: Path, tmp_path: Path) -> None:
    data = ["--data", str(folder / "data"), "--out", str(tmp_path / "run")]
    with pytest.raises(JobError, match=r"^the loss is nan .*; lower the learning rate$"):
        run_job("train", *[*data, *SMALL, "--set=training.learning_rate=1e30"])


def test_a_run_that_all_may_write_is_not_resumed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("plan.json", "checkpoint.pt"):
        (tmp_path / "run" / name).touch()
    (tmp_path / "run" / "checkpoint.pt").chmod(0o666)
    arguments = ["--data", str(folder / "data"), "--out", str(tmp_path / "run"), "--resume"]
    with pytest.raises(InputError, match=r"checkpoint\.pt: mode 666: writable by all"):
        run_job("train", *[*arguments, *SMALL])
