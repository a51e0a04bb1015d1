"""Models are scored base by base: what is cut is joined, and weights stand for a genome."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.preparation import prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.model.beta_calibration import BetaCalibration
from hyena_ray.tasks import TASKS
from hyena_ray.training.bootstrap import Scored
from hyena_ray.training.evaluation import Predictions, _measure
from hyena_ray.training.held_out import HeldOut, StretchSource
from hyena_ray.training.loaders import DeviceRows, WindowSource
from hyena_ray.training.metrics import best_threshold, measure, score_regions
from hyena_ray.training.precision_recall import precision_recall
from hyena_ray.training.reliability import measure_calibration
from tests.dataset.small_genome import Inputs

CALLED = RegionSettings(threshold=0.6, min_length=2, merge_gap=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    inputs = Inputs(tmp_path_factory.mktemp("held_out"))
    prepare(inputs.settings(), inputs.folder / "data")
    return PreparedData.open(inputs.folder / "data")


def random_rows(count: int, stretch: int, seed: int) -> Windows:
    """Return stretches with gaps between them, some bases labelled, some ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 0, 0, 1, IGNORED], np.int8), (count, stretch))
    labels[rng.random(count) < 0.5] = 0
    labels[0, :2] = 0, 1
    start = np.sort(rng.permutation(3 * count)[:count]) * stretch
    tokens = rng.integers(7, 11, (count, stretch + 4), np.uint8)
    return Windows(start, np.full(count, "c"), start, tokens, labels, np.ones(count, np.uint8))


def read(source: WindowSource, size: int, epoch: int | None = None) -> tuple[Tensor, Tensor]:
    batches = list(source.batches(size, epoch=epoch, seed=0))
    tokens, labels = ([getattr(b, name)() for b in batches] for name in ("tokens", "labels"))
    return torch.cat(tokens), torch.cat(labels)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("length", [1, 20, 33, 50])
def test_a_source_of_stretches_gives_the_windows_of_the_reader(
    data: PreparedData, length: int, resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if resident:  # as on a GPU, which keeps a copy of the stretches
        monkeypatch.setattr(
            DeviceRows, "resident_copy", lambda rows, device: torch.from_numpy(rows.array)
        )
    expected = data.read(length, "val")
    source = HeldOut.read(data, "val").source(length)
    assert isinstance(source, StretchSource)
    assert source.count == len(expected.start)
    tokens, labels = read(source, 7)
    np.testing.assert_array_equal(tokens, expected.tokens)
    np.testing.assert_array_equal(labels, expected.labels)
    shuffled, again, other = (read(source, 7, epoch)[0].numpy() for epoch in (0, 0, 1))
    np.testing.assert_array_equal(shuffled, again)
    assert not np.array_equal(shuffled, other)
    for order in (shuffled, other):
        assert sorted(map(bytes, order)) == sorted(map(bytes, expected.tokens))


@given(st.integers(1, 40), st.data())
def test_scores_of_windows_come_back_in_the_place_of_their_bases(
    stretch: int, draw: st.DataObject
) -> None:
    length = draw.draw(st.integers(1, stretch))
    rows = random_rows(4, max(stretch, 2), seed=stretch)
    held_out = HeldOut(rows, np.ones(4), TASKS["zdna"])
    tokens, _ = read(held_out.source(length), 5)
    bases = rows.tokens[:, 2:-2]
    np.testing.assert_array_equal(held_out.join(tokens[:, 2:-2].numpy()), bases)


def test_every_base_has_the_weight_of_its_stretch() -> None:
    rows = random_rows(5, 12, 0)
    weight = np.arange(1.0, 6.0)
    found = HeldOut(rows, weight, TASKS["zdna"]).base_weights()
    assert found.tolist() == [[value] * 12 for value in weight]


@given(st.integers(0, 1000), st.integers(1, 9), st.sampled_from([40, 100, 230, 512]))
def test_tiles_with_a_label_count_once_and_three_times_as_many_without_in_sum(
    seed: int, count: int, stretch: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, stretch)) < 0.004).astype(np.int8)
    labels[0, 0] = 1
    ids = np.arange(count) * stretch
    tokens, kinds = np.zeros((count, stretch), np.uint8), np.ones(count, np.uint8)
    rows = Windows(ids, np.full(count, "c"), ids, tokens, labels, kinds)
    weight = rng.integers(1, 30, count).astype(float)
    found = HeldOut(rows, weight, TASKS["zdna"]).tile_weights()
    length = min(stretch, 100)
    positives = 0
    negatives: list[tuple[float, float]] = []
    for row in range(count):
        for tile in range(stretch // length):
            bases = slice(tile * length, (tile + 1) * length)
            [value] = set(found[row, bases].tolist())
            if labels[row, bases].any():
                positives += 1
                assert value == 1
            else:
                negatives.append((value, weight[row]))
        assert (found[row, stretch // length * length :] == 0).all()
    expected = min(3 * positives, sum(weight for _, weight in negatives))
    assert sum(value for value, _ in negatives) == pytest.approx(expected)
    # Each in proportion to the tiles of the genome for which it stands.
    rates = [value / weight for value, weight in negatives]
    assert rates == pytest.approx(rates[:1] * len(rates))


@given(st.integers(0, 10_000), st.integers(1, 8), st.sampled_from([1, 2, 5]))
def test_weighted_figures_are_those_of_the_genome_with_every_stretch_repeated(
    seed: int, count: int, decimals: int
) -> None:
    rows, rng = random_rows(count, 6, seed), np.random.default_rng(seed)
    times = rng.integers(1, 5, count)
    scores = np.round(rng.random((count, 6)), decimals).astype(np.float32)
    weight = np.broadcast_to(times[:, None].astype(float), scores.shape)
    labels, repeated = rows.labels, np.repeat(np.arange(count), times)
    for threshold in (0.4, "f1", "mcc"):
        found = measure(labels, scores, loss=0.0, threshold=threshold, weight=weight)
        genome = measure(labels[repeated], scores[repeated], loss=0.0, threshold=threshold)
        assert found == pytest.approx(genome, nan_ok=True)
    counted, counted_again = labels != IGNORED, labels[repeated] != IGNORED
    of_sample = (labels[counted], scores[counted])
    of_genome = (labels[repeated][counted_again], scores[repeated][counted_again])
    for metric in ("f1", "mcc"):
        found_threshold = best_threshold(*of_sample, metric, weight[counted])
        assert found_threshold == best_threshold(*of_genome, metric)
    of = [
        Scored(labels, scores, scores > 0.5, np.zeros(len(scores), np.int64), weights)
        for (labels, scores), weights in (
            (of_sample, weight[counted]),
            (of_genome, np.ones(len(of_genome[0]))),
        )
    ]
    calibration, expected = (measure_calibration(scored, seed=0) for scored in of)
    assert calibration[:2] == pytest.approx(expected[:2])
    for curve, other in zip(calibration[2:], expected[2:], strict=True):
        assert curve.predicted == pytest.approx(other.predicted)
        assert curve.observed == pytest.approx(other.observed)
    curve, other = (precision_recall(scored, seed=0) for scored in of)
    for values, others in zip(curve[:3], other[:3], strict=True):
        assert values == pytest.approx(others)
    # Few scores leave the slopes undecided, and not the probabilities at these scores.
    at_scores = torch.from_numpy(4 * of[0].scores - 2)
    fitted, again = (
        BetaCalibration.fit(4 * one.scores - 2, one.labels, one.weight).calibrated(at_scores)
        for one in of
    )
    torch.testing.assert_close(fitted, again, rtol=1e-3, atol=1e-3)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_weighted_regions_are_those_of_the_genome_with_every_stretch_repeated(
    seed: int, count: int
) -> None:
    rows, rng = random_rows(count, 6, seed), np.random.default_rng(seed)
    # No neighbours: a region or a run is in one stretch, and is repeated with it.
    rows = rows._replace(start=2 * rows.start)
    times = rng.integers(1, 4, count)
    scores = rng.random((count, 6))
    found = score_regions(rows, scores, CALLED, times.astype(float))
    repeated = np.repeat(np.arange(count), times)
    copies = rows.rows(repeated)._replace(start=np.arange(len(repeated)) * 20)
    genome = score_regions(copies, scores[repeated], CALLED, np.ones(len(repeated)))
    assert (found.called, found.false) == (genome.called, genome.false)
    assert found.precision == pytest.approx(genome.precision)
    assert found.false_per_mb == pytest.approx(genome.false_per_mb)
    # All stretches with a label were taken, so that regions are counted and not estimated.
    plain = score_regions(rows, scores, CALLED, np.ones(count))
    assert (found.regions, found.found, found.recall) == plain[:3]


@given(st.integers(0, 10_000), st.sampled_from([0.6, "f1", "mcc"]))
def test_figures_do_not_depend_on_the_order_of_the_stretches(
    seed: int, threshold: str | float
) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(6, 120, seed)
    held_out = HeldOut(rows, rng.integers(1, 9, 6).astype(float), TASKS["zdna"])
    odds = rng.normal(size=(6, 120)).astype(np.float32)
    scores = BetaCalibration().calibrated(torch.from_numpy(odds)).numpy()
    order = rng.permutation(6)
    turned = HeldOut(rows.rows(order), held_out.weight[order], held_out.task)
    of = [
        _measure(data, Predictions(values, 0.5), BetaCalibration(), threshold, threshold)
        for data, values in ((held_out, odds), (turned, odds[order]))
    ]
    assert of[0].record() == pytest.approx(of[1].record())
    regions = score_regions(rows, scores, CALLED, held_out.weight)
    assert score_regions(turned.rows, scores[order], CALLED, turned.weight) == pytest.approx(
        regions
    )


def test_sequences_are_one_window_and_represent_themselves(tmp_path: Path) -> None:
    rows = Windows(
        np.arange(3),
        np.full(3, "val"),
        np.arange(3),
        np.full((3, 40), 7, np.uint8),
        np.array([[0], [1], [1]], np.int8),
        np.ones(3, np.uint8),
    )
    held_out = HeldOut(rows, np.ones(3), TASKS["promoter"])
    tokens, labels = read(held_out.source(40), 2)
    np.testing.assert_array_equal(tokens, rows.tokens)
    np.testing.assert_array_equal(labels, rows.labels)
    scores: NDArray[np.float32] = np.array([[0.1], [0.7], [0.2]], np.float32)
    np.testing.assert_array_equal(held_out.join(scores), scores)
