"""A threshold of an ensemble is for the probabilities that every job gets of it."""

from __future__ import annotations

import numpy as np
import pytest

from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import simulate_genome
from hyena_ray.genome.splits import VALIDATION
from hyena_ray.model.ensemble import Ensemble
from hyena_ray.model.window import WindowModel
from hyena_ray.training.evaluation import choose_thresholds, evaluate, predict
from hyena_ray.training.held_out import HeldOut
from tests.model.test_ensemble import model
from tests.training.test_evaluation import WEIGHTS

FLANK = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("ensemble")
    made = simulate_genome(folder, contigs=3, contig_length=30_000, tracts=60, decoys=60)
    settings = PrepareSettings(
        task="zdna",
        genome=made.genome,
        regions=made.regions,
        lengths=(40,),
        stretch=250,
        flank=FLANK,
    )
    prepare(settings, folder / "data")
    return PreparedData.open(folder / "data")


@pytest.fixture
def members() -> dict[str, WindowModel]:
    return {name: model(flank=FLANK, seed=seed) for seed, name in enumerate(("first", "second"))}


def test_the_threshold_is_one_of_the_mean_of_the_members_probabilities(
    data: PreparedData, members: dict[str, WindowModel]
) -> None:
    validation = HeldOut.read(data, VALIDATION)
    ensemble = Ensemble(list(members.values()))
    choose_thresholds(ensemble, validation, WEIGHTS)
    # Another job loads the same models, and is given the threshold.
    other = Ensemble([model(flank=FLANK, seed=seed) for seed in range(2)])
    scores, theirs = (
        predict(each, validation, WEIGHTS).scores(each.calibration) for each in (ensemble, other)
    )
    np.testing.assert_array_equal(scores, theirs)
    mean = np.mean(
        [
            predict(member, validation, WEIGHTS).scores(member.calibration)
            for member in members.values()
        ],
        axis=0,
    )
    np.testing.assert_allclose(scores, mean, rtol=1e-4)
    best = evaluate(ensemble, validation, WEIGHTS).metrics
    assert best.threshold == ensemble.threshold
    for quantile in (0.1, 0.5, 0.9, 0.99):
        other.threshold = float(np.quantile(scores, quantile))
        assert evaluate(other, validation, WEIGHTS).metrics.f1 <= best.f1
