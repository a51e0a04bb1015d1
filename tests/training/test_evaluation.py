"""An evaluation says the same as its parts, and fits the data's kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from hyena_ray.dataset.preparation import PrepareSettings, SequenceSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, write_json
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.genome.contigs import N_CODE, Fasta
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.model.settings import Readout
from hyena_ray.outcomes import SIMULATED
from hyena_ray.training.bootstrap import Interval
from hyena_ray.training.evaluation import (
    FEW_BLOCKS,
    Evaluation,
    evaluate,
    evaluate_on_split,
    predict,
)
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.metrics import measure

WINDOW, FLANK, STRETCH = 40, 4, 250
WEIGHTS = torch.tensor([0.7, 2.0])


class PurineSteps(nn.Module):
    """Stands for a trained model: scores a base by how well purines alternate around it."""

    def __init__(self, *, window: int = WINDOW, per_sequence: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.readout = Readout(window=window, flank=FLANK, lookahead=0)
        self.threshold, self.tile_threshold = 0.7, 0.6
        self.calibration, self.regions = BetaCalibration(), RegionSettings(threshold=0.7)
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
    made = simulate_genome(folder, contigs=3, contig_length=80_000, tracts=150, decoys=120)
    return PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(WINDOW,),
        stretch=STRETCH,
        flank=FLANK,
    )


@pytest.fixture(scope="module")
def data(genome: PrepareSettings) -> PreparedData:
    prepare(genome, genome.genome.parent / "data")
    return PreparedData.open(genome.genome.parent / "data")


def test_an_evaluation_agrees_with_its_parts(data: PreparedData) -> None:
    model = PurineSteps()
    found = evaluate_on_split(model, data, "test", WEIGHTS)
    held_out = HeldOut.read(data, "test")
    rows = held_out.rows
    assert found.measured == evaluate(model, held_out, WEIGHTS)
    assert found.metrics.threshold == 0.7
    assert (found.task, found.split, found.simulated) == ("zdna", "test", True)
    assert (found.rows, found.labels) == (len(rows.start), rows.labels.size)
    assert found.contigs == tuple(np.unique(rows.contig))
    assert not found.whole
    assert found.bases == pytest.approx(held_out.weight.sum() * STRETCH)
    labelled = (rows.labels * held_out.weight[:, None]).sum()
    assert found.prevalence == pytest.approx(labelled / found.bases)
    for name, (low, high) in found.intervals.items():
        assert low < getattr(found.metrics, name) < high, name
    assert found.tiles is not None
    assert (found.tiles.length, found.tiles.negatives) == (100, 3)
    assert found.tiles.metrics.threshold == 0.6
    for name, (low, high) in found.tiles.intervals.items():
        assert low < getattr(found.tiles.metrics, name) < high, name
    assert found.regions is not None
    assert found.regions.regions > 20
    assert found.regions.recall > found.metrics.recall / 2
    assert sum(found.calibration.curve.labels) == found.labels


@pytest.fixture(scope="module")
def scan(genome: PrepareSettings) -> PreparedData:
    folder = genome.genome.parent / "scan"
    prepare(genome.model_copy(update={"scan": True}), folder)
    return PreparedData.open(folder)


def test_a_scan_is_what_a_plain_loop_finds_over_the_whole_contig(
    genome: PrepareSettings, scan: PreparedData
) -> None:
    model = PurineSteps()
    found = evaluate_on_split(model, scan, "test", WEIGHTS)
    assert found.whole
    [name] = found.contigs
    contig = next(contig for contig in Fasta(genome.genome) if contig.name == name)
    size = len(contig.codes)
    padded = np.full(size + 2 * FLANK, 4, np.uint8)
    padded[FLANK : FLANK + size] = contig.codes
    labels = np.zeros(size, np.int8)
    for line in genome.regions.read_text().splitlines():
        of, start, end = line.split()[:3]
        if of == name:
            labels[int(start) : int(end)] = 1
    every: list[float] = []
    truth: list[int] = []
    dropped = 0
    for start in range(0, size // STRETCH * STRETCH, STRETCH):
        if (contig.codes[start : start + STRETCH] == N_CODE).sum() > STRETCH / 2:
            dropped += 1
            continue
        scores = np.zeros(STRETCH)
        for at in (*range(0, STRETCH - WINDOW, WINDOW), STRETCH - WINDOW):
            window = padded[start + at : start + at + WINDOW + 2 * FLANK]
            tokens = torch.from_numpy(codes_to_tokens(window)[None])
            values = model.predict(tokens).softmax(-1)[0, :, 1].detach().numpy()
            # What the window before has counts there.
            first = max(0, WINDOW * -(-at // WINDOW) - at)
            scores[at + first : at + WINDOW] = values[first:]
        every.extend(scores)
        truth.extend(labels[start : start + STRETCH])
    assert dropped == 2
    assert found.labels == len(every)
    assert found.bases == len(every)
    assert found.prevalence == pytest.approx(np.mean(truth))
    plain = measure(
        np.array(truth), np.array(every, np.float32), loss=found.metrics.loss, threshold=0.7
    )
    assert found.metrics == pytest.approx(plain, abs=1e-6)
    assert found.metrics.average_precision == pytest.approx(
        average_precision_score(truth, every), abs=1e-6
    )
    assert found.regions is not None
    assert found.regions.false_per_mb == pytest.approx(1e6 * found.regions.false / len(every))
    [of_contig] = found.by_contig
    assert of_contig.metrics == found.metrics
    assert of_contig.regions == found.regions


@pytest.mark.parametrize("strata", ["random:1", "tract:0.5,other:1"])
def test_a_sample_of_stretches_tells_on_average_what_all_of_them_would(
    genome: PrepareSettings, scan: PreparedData, strata: str, tmp_path: Path
) -> None:
    model = PurineSteps()
    whole = evaluate_on_split(model, scan, "test", WEIGHTS)
    sampled = []
    for seed in range(6):
        folder = tmp_path / f"sample{seed}"
        prepare(genome.model_copy(update={"seed": seed, "held_out": strata}), folder)
        data = PreparedData.open(folder)
        sampled.append(evaluate_on_split(model, data, "test", WEIGHTS))
    assert all(found.rows < 0.8 * whole.rows for found in sampled)
    for found in sampled:
        assert found.bases == pytest.approx(whole.bases)
        assert found.prevalence == pytest.approx(whole.prevalence)
        assert found.regions is not None
        assert found.regions[:3] == whole.regions[:3]
    for figure in (
        lambda found: found.metrics.average_precision,
        lambda found: found.metrics.precision,
        lambda found: found.tiles.metrics.average_precision,
        lambda found: found.tiles.metrics.f1,
    ):
        assert np.mean([*map(figure, sampled)]) == pytest.approx(figure(whole), abs=0.05)
    false = np.mean([found.regions.false_per_mb for found in sampled])
    assert false == pytest.approx(whole.regions.false_per_mb, rel=0.1)


def test_tiles_have_the_figures_of_samples_that_are_drawn(scan: PreparedData) -> None:
    """All tiles with a label, and three times as many without, drawn a hundred times."""
    model = PurineSteps()
    held_out = HeldOut.read(scan, "test")
    found = evaluate_on_split(model, scan, "test", WEIGHTS).tiles
    assert found is not None
    covered = STRETCH // 100 * 100
    scores = (
        predict(model, held_out, WEIGHTS).scores(model.calibration)[:, :covered].reshape(-1, 100)
    )
    labels = held_out.rows.labels[:, :covered].reshape(-1, 100)
    positive = labels.any(1)
    negatives = np.flatnonzero(~positive)
    count = round(3 * positive.sum())
    assert count < 0.8 * len(negatives)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(100):
        chosen = np.append(np.flatnonzero(positive), rng.choice(negatives, count, replace=False))
        drawn.append(measure(labels[chosen], scores[chosen], loss=0.0, threshold=0.6))
    for name in ("f1", "precision", "recall", "average_precision", "roc_auc", "mcc"):
        mean = np.mean([getattr(metrics, name) for metrics in drawn])
        assert getattr(found.metrics, name) == pytest.approx(mean, abs=0.01), name


def test_every_contig_has_figures_of_its_own_and_together_they_are_the_splits(
    genome: PrepareSettings, tmp_path: Path
) -> None:
    changes = {"split": "contig:train=sim1;val=sim2,sim3", "scan": True}
    prepare(genome.model_copy(update=changes), tmp_path / "data")
    data = PreparedData.open(tmp_path / "data")
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)
    assert [row.contig for row in found.by_contig] == ["sim2", "sim3"] == list(found.contigs)
    assert found.regions is not None
    for name in ("regions", "found", "called", "false"):
        parts = [getattr(row.regions, name) for row in found.by_contig]
        assert sum(parts) == pytest.approx(getattr(found.regions, name))
    for name in ("precision", "recall", "average_precision"):
        parts = [getattr(row.metrics, name) for row in found.by_contig]
        assert min(parts) < getattr(found.metrics, name) < max(parts)


def test_a_window_that_is_longer_than_the_stretches_is_refused(data: PreparedData) -> None:
    model = PurineSteps(window=STRETCH + 1)
    with pytest.raises(InputError, match=f"length: {STRETCH + 1}: no stretch of {STRETCH}") as no:
        evaluate_on_split(model, data, "test", WEIGHTS)
    assert "\n" not in str(no.value)


def test_sequences_have_neither_regions_nor_tiles(tmp_path: Path) -> None:
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
    found = evaluate_on_split(model, data, "test", WEIGHTS)
    assert (found.regions, found.tiles) == (None, None)
    assert (found.contigs, found.by_contig) == ((), ())
    assert found.rows == found.labels == found.bases == 300
    assert "tile_f1" not in found.measured.record()
    assert found.metrics.f1 > 0.8
    assert "regions" not in found.table()


def test_a_fold_is_evaluated_on_its_own_part(genome: PrepareSettings, tmp_path: Path) -> None:
    prepare(genome.model_copy(update={"split": "kfold:3"}), tmp_path / "folds")
    folds = PreparedData.open(tmp_path / "folds")
    seen = [
        evaluate_on_split(PurineSteps(), folds.for_fold(fold), "test", WEIGHTS) for fold in range(3)
    ]
    assert folds.manifest.stretches is not None
    counts = folds.manifest.stretches.counts
    assert sum(found.rows for found in seen) == sum(c.positive + c.negative for c in counts)
    genome_bases = sum(c.positive + c.candidates for c in counts) * STRETCH
    assert sum(found.bases for found in seen) == pytest.approx(genome_bases)
    assert all(len(found.contigs) == 3 for found in seen)


def test_a_model_that_guesses_and_too_few_blocks_are_warned_of(data: PreparedData) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)
    sound = found._replace(
        blocks=FEW_BLOCKS, intervals={"average_precision": Interval(found.prevalence + 0.01, 1.0)}
    )
    assert sound.warnings() == []
    guessed = sound._replace(intervals={"average_precision": Interval(found.prevalence, 1.0)})
    assert ["chance" in warning for warning in guessed.warnings()] == [True]
    few = sound._replace(blocks=FEW_BLOCKS - 1)
    assert ["blocks" in warning for warning in few.warnings()] == [True]


def test_intervals_are_percentiles_of_the_draws_of_figures(data: PreparedData) -> None:
    found = evaluate_on_split(PurineSteps(), data, "test", WEIGHTS)
    intervals = {
        **found.intervals,
        **{f"tile_{name}": interval for name, interval in found.tiles.intervals.items()},
    }
    for prefix, tracts in zip(("tract_", "strong_tract_"), found.tracts, strict=False):
        intervals |= {prefix + name: interval for name, interval in tracts.intervals.items()}
    assert found.tracts
    assert intervals.keys() == found.drawn.keys() <= found.figures().keys()
    for name, drawn in found.drawn.items():
        assert intervals[name] == pytest.approx(np.nanpercentile(drawn, (2.5, 97.5))), name


def test_json_and_table_hold_the_same_figures(data: PreparedData, tmp_path: Path) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)
    write_json(tmp_path / "evaluation.json", found.as_json())
    values = read_json(tmp_path / "evaluation.json")
    assert values["metrics"]["f1"] == found.metrics.f1
    assert values["intervals"]["f1"] == found.intervals["f1"]._asdict()
    assert values["regions"]["recall"] == found.regions.recall
    assert values["calibration"]["top"]["observed"] == list(found.calibration.top.observed)
    low, high = found.intervals["f1"]
    assert f"f1                  {found.metrics.f1:.3f}  ({low:.3f} to {high:.3f})" in found.table()
    assert SIMULATED in found.table()
    assert SIMULATED not in found._replace(simulated=False).table()


def test_what_was_written_is_read_back(data: PreparedData, tmp_path: Path) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)
    found.write(tmp_path)
    assert Evaluation.read(tmp_path / "evaluation.json") == found._replace(drawn=None)
    assert pq.read_table(tmp_path / "bootstrap.parquet").to_pydict() == {
        name: list(values) for name, values in found.drawn.items()
    }
    values = found.as_json()
    write_json(tmp_path / "evaluation.json", values | {"rows": "many"})
    with pytest.raises(InputError, match=r"evaluation.json: rows: .*score the model again"):
        Evaluation.read(tmp_path / "evaluation.json")


def test_what_is_not_a_number_is_null_in_json(data: PreparedData) -> None:
    found = evaluate_on_split(PurineSteps(), data, "val", WEIGHTS)
    metrics = measure(np.ones(3, int), np.ones(3), loss=0.0, threshold=0.5)
    assert found._replace(metrics=metrics).as_json()["metrics"]["roc_auc"] is None


def test_a_split_of_one_class_is_refused(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlabelled(split: str) -> Windows:
        rows = PreparedData.read_held_out(data, split)
        return rows._replace(labels=0 * rows.labels)

    monkeypatch.setattr(data, "read_held_out", unlabelled)
    with pytest.raises(InputError, match=r"test: labels \[0\]: both classes"):
        evaluate_on_split(PurineSteps(), data, "test", WEIGHTS)
