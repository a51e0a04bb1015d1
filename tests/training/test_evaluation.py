"""An evaluation says the same as its parts, and fits the data's kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from hyena_ray.dataset.preparation import PrepareSettings, SequenceSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.settings import Readout
from hyena_ray.outcomes import SIMULATED
from hyena_ray.training.evaluation import Evaluation, evaluate, evaluate_on_split
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.metrics import measure

WINDOW, FLANK = 40, 4
WEIGHTS = torch.tensor([0.7, 2.0])


class PurineSteps(nn.Module):
    """Stands for a trained model: scores a base by how well purines alternate around it."""

    def __init__(self, *, per_sequence: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.readout = Readout(window=WINDOW, flank=FLANK, lookahead=0)
        self.threshold = 0.7
        self.per_sequence = per_sequence

    def predict(self, tokens: Tensor) -> Tensor:
        purine = (tokens == 7) | (tokens == 9)
        steps = (purine[:, 1:] != purine[:, :-1]).float()
        spread = (tokens.shape[1] - WINDOW) // 2
        if self.per_sequence:
            score = steps.mean(1, keepdim=True)
        else:
            smooth = nn.functional.avg_pool1d(steps[:, None], 7, 1, 3, count_include_pad=False)
            score = smooth[:, 0, spread : spread + WINDOW]
        return torch.stack([torch.zeros_like(score), self.scale * (6 * score - 3)], -1)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> PrepareSettings:
    folder = tmp_path_factory.mktemp("evaluation")
    made = simulate_genome(folder, contigs=3, contig_length=40_000, tracts=150, decoys=60)
    return PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(WINDOW,), flank=FLANK
    )


@pytest.fixture(scope="module")
def data(genome: PrepareSettings) -> PreparedData:
    prepare(genome, genome.genome.parent / "data")
    return PreparedData.open(genome.genome.parent / "data")


def test_an_evaluation_agrees_with_its_parts(data: PreparedData) -> None:
    model = PurineSteps()
    found = evaluate_on_split(model, data, "test", WEIGHTS)  # type: ignore[arg-type]
    windows = data.read(WINDOW, "test")
    source = ArraySource(windows)
    assert found.metrics == evaluate(model, source, WEIGHTS, threshold=0.7)  # type: ignore[arg-type]
    assert (found.task, found.split, found.simulated) == ("zdna", "test", True)
    assert (found.windows, found.labels) == (len(windows.labels), windows.labels.size)
    assert found.prevalence == pytest.approx(windows.labels.mean())
    for name, (low, high) in found.intervals.items():
        if name != "average_precision_genome":
            assert low < getattr(found.metrics, name) < high, name
    assert found.regions is not None
    assert found.regions.regions > 20
    assert found.regions.recall > found.metrics.recall / 2
    assert sum(found.calibration.labels) == found.labels


def test_the_genomes_average_precision_is_that_of_all_its_tiles(
    genome: PrepareSettings, data: PreparedData
) -> None:
    """Of all tiles, when all are prepared, and on average, when most negatives are left out."""
    everything = genome.genome.parent / "everything"
    prepare(genome.model_copy(update={"negatives": 1000.0}), everything)
    windows = PreparedData.open(everything).read(WINDOW, "test")
    model = PurineSteps()
    scores = model.predict(torch.from_numpy(windows.tokens)).softmax(-1)[..., 1].detach().numpy()
    truth = average_precision_score(windows.labels.ravel(), scores.ravel())
    whole = evaluate_on_split(model, PreparedData.open(everything), "test", WEIGHTS)  # type: ignore[arg-type]
    assert whole.genome is not None
    assert whole.genome.average_precision == pytest.approx(truth)
    truth_share = windows.labels.mean()
    assert whole.genome.prevalence == pytest.approx(truth_share)
    assert whole.genome.average_precision == pytest.approx(whole.metrics.average_precision)
    precision = whole.metrics.precision
    assert whole.genome.precision == pytest.approx(precision)
    sampled = []
    for seed in range(6):
        changes = {"negatives": 1.0, "seed": seed}
        prepare(genome.model_copy(update=changes), everything, overwrite=True)
        sampled.append(evaluate_on_split(model, PreparedData.open(everything), "test", WEIGHTS))  # type: ignore[arg-type]
    genomes = [found.genome for found in sampled if found.genome is not None]
    assert len(genomes) == 6
    assert all(found.prevalence == pytest.approx(truth_share, rel=0.01) for found in genomes)
    assert np.mean([found.average_precision for found in genomes]) == pytest.approx(truth, abs=0.05)
    assert min(found.metrics.average_precision for found in sampled) > truth + 0.2
    assert np.mean([found.precision for found in genomes]) == pytest.approx(precision, abs=0.05)
    assert min(found.metrics.precision for found in sampled) > precision + 0.1


def test_sequences_have_neither_regions_nor_a_genome(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, count in (("train", 10), ("val", 10), ("test", 300)):
        rows = []
        for number in range(count):
            label = number % 2
            pairs = rng.choice(["CG", "TA", "CA"] if label else ["CG", "CT", "AG"], WINDOW // 2)
            rows.append(f"{''.join(pairs)},{label}")
        (tmp_path / f"{name}.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    files = {name: tmp_path / f"{name}.csv" for name in ("train", "val", "test")}
    prepare(SequenceSettings(task="promoter", **files), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    model = PurineSteps(per_sequence=True)
    found = evaluate_on_split(model, data, "test", WEIGHTS)  # type: ignore[arg-type]
    assert (found.regions, found.genome) == (None, None)
    assert found.windows == found.labels == 300
    assert "average_precision_genome" not in found.intervals
    assert found.metrics.f1 > 0.8
    assert "regions" not in found.table()


def test_a_fold_is_evaluated_on_its_own_part(genome: PrepareSettings, tmp_path: Path) -> None:
    prepare(genome.model_copy(update={"split": "kfold:3"}), tmp_path / "folds")
    folds = PreparedData.open(tmp_path / "folds")
    seen = [
        evaluate_on_split(PurineSteps(), folds.for_fold(fold), "test", WEIGHTS)  # type: ignore[arg-type]
        for fold in range(3)
    ]
    assert sum(found.windows for found in seen) == sum(
        c.positive + c.negative for c in folds.manifest.counts
    )
    assert all(found.genome is not None for found in seen)


def test_json_and_table_hold_the_same_figures(data: PreparedData, tmp_path: Path) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)  # type: ignore[arg-type]
    write_json(tmp_path / "evaluation.json", found.as_json())
    values = read_json(tmp_path / "evaluation.json")
    assert values["metrics"]["f1"] == found.metrics.f1
    assert values["intervals"]["f1"] == found.intervals["f1"]._asdict()
    assert values["regions"]["recall"] == found.regions.recall  # type: ignore[union-attr]
    assert values["calibration"]["observed"] == list(found.calibration.observed)
    low, high = found.intervals["f1"]
    assert f"f1                  {found.metrics.f1:.3f}  ({low:.3f} to {high:.3f})" in found.table()
    assert SIMULATED in found.table()
    assert SIMULATED not in found._replace(simulated=False).table()


def test_what_was_written_is_read_back(data: PreparedData, tmp_path: Path) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)  # type: ignore[arg-type]
    write_json(tmp_path / "evaluation.json", found.as_json())
    assert Evaluation.read(tmp_path / "evaluation.json") == found
    values = found.as_json()
    del values["curve"]
    write_json(tmp_path / "evaluation.json", values)
    assert Evaluation.read(tmp_path / "evaluation.json") == found._replace(curve=None)
    write_json(tmp_path / "evaluation.json", values | {"windows": "many"})
    with pytest.raises(InputError, match=r"evaluation.json: windows: .*score the model again"):
        Evaluation.read(tmp_path / "evaluation.json")


def test_what_is_not_a_number_is_null_in_json(data: PreparedData) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)  # type: ignore[arg-type]
    metrics = measure(np.ones(3, int), np.ones(3), loss=0.0, threshold=0.5)
    assert found._replace(metrics=metrics).as_json()["metrics"]["roc_auc"] is None


def test_a_split_of_one_class_is_refused(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlabelled(length: int, split: str) -> Windows:
        windows = PreparedData.read(data, length, split)
        return windows._replace(labels=0 * windows.labels)

    monkeypatch.setattr(data, "read", unlabelled)
    with pytest.raises(InputError, match=r"test: labels \[0\]: both classes"):
        evaluate_on_split(PurineSteps(), data, "test", WEIGHTS)  # type: ignore[arg-type]
