"""One score for all lengths: a fixed predictor has the same figures at every window length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.build import build_model
from hyena_ray.model.saved import load_window_model
from hyena_ray.model.settings import Architecture, LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS
from hyena_ray.training.evaluation import Evaluation, calibrate, evaluate_on_split
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import TrainingSettings
from hyena_ray.training.supervised import train_run
from hyena_ray.workflows.presets import load_preset

LENGTHS = (100, 256, 512, 1024)
FLANK = 256
WEIGHTS = class_weights(TrainingSettings())


def untrained(architecture: Architecture, length: int) -> WindowModel:
    """Return a predictor of Z-DNA as it is before anything is fitted."""
    readout = Readout(window=length, flank=FLANK, lookahead=0)
    settings = ModelSettings(architecture=architecture)
    return build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)


def figures(model: WindowModel, data: PreparedData) -> dict[str, float]:
    """Return figures of the test data, at thresholds that the validation data choose."""
    calibrate(model, HeldOut.read(data, "val"), WEIGHTS, "f1")
    return of_evaluation(evaluate_on_split(model, data, "test", WEIGHTS))


def of_evaluation(found: Evaluation) -> dict[str, float]:
    assert found.tiles is not None
    assert found.regions is not None
    return {
        "average precision": found.metrics.average_precision,
        "F1": found.metrics.f1,
        "average precision of tiles": found.tiles.metrics.average_precision,
        "F1 of tiles": found.tiles.metrics.f1,
        "recall of regions": found.regions.recall,
        "precision of runs": found.regions.precision,
    }


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> PrepareSettings:
    folder = tmp_path_factory.mktemp("lengths")
    made = simulate_genome(folder, contig_length=150_000, tracts=120, decoys=200)
    return PrepareSettings(task="zdna", genome=made.genome, regions=made.regions, flank=FLANK)


@pytest.mark.parametrize(
    ("architecture", "split"),
    [
        ("rule", None),
        ("rule", "stratified:0.5/0.25/0.25"),
        ("rule", "kfold:3"),
        ("zhunt", None),
    ],
)
def test_a_fixed_predictor_has_the_same_score_at_every_window_length(
    simulated: PrepareSettings, tmp_path: Path, architecture: Architecture, split: str | None
) -> None:
    prepare(simulated.model_copy(update={"split": split}), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    view = data.for_fold(1) if data.manifest.folds else data
    expected, *others = (figures(untrained(architecture, length), view) for length in LENGTHS)
    assert 0.3 < expected["average precision"] < 0.99
    assert 0.3 < expected["F1"] < 0.99
    assert expected["average precision"] < expected["average precision of tiles"]
    for found in others:
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("zdna/rule", {"training.epochs": 1}),
        ("zdna/zhunt", {"model.zhunt_windows": [[6, 6]]}),
    ],
)
def test_a_fitted_predictor_has_the_same_score_at_every_window_length_of_a_real_genome(
    shared: Path, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    folder = shared / "data" / "hg19_part"
    settings = PrepareSettings(
        task="zdna",
        genome=folder / "genome.fa.gz",
        regions=folder / "zdna_kouzine.bed",
        blacklist=folder / "blacklist.bed",
        lengths=LENGTHS,
        flank=FLANK,
        split="contig:train=chr13,chr14,chrX;val=chr7;test=chr20",
    )
    prepare(settings, tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    preset = load_preset(name).run_settings(gpu=False)
    measured = []
    for length in LENGTHS:
        run = preset.updated({"data.length": length, **changes}, "test")
        result = train_run(
            run,
            ArraySource(data.read(length, "train", limit=500)),
            HeldOut.read(data, "val"),
            tmp_path / str(length),
            lambda report: None,
            fingerprint=str(length),
        )
        model = load_window_model(result.model_folder)
        measured.append(of_evaluation(evaluate_on_split(model, data, "test", WEIGHTS)))
    expected, *others = measured
    for found in others:
        assert found == pytest.approx(expected, abs=1e-3)
