"""A simulated genome, and a model that calls what is planted in it: the tables must say so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import kendalltau

from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import (
    ShardPlan,
    merge_shards,
    missing_shards,
    read_shard,
    run_shard,
)
from hyena_ray.attribution.tables import kmer_table
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.genome.simulation import simulate_genome
from tests.attribution.small_model import TractModel

LENGTH, K = 100, 5
SETTINGS = AttributionSettings(
    methods=("ig", "input_x_gradient"), shuffles=1, steps=4, tolerance=None
)


class Planted(NamedTuple):
    kmers: frozenset[str]
    tables: dict[str, pa.Table]
    bases: np.ndarray
    true_positive: np.ndarray
    scores: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    genome = simulate_genome(
        folder, contigs=3, contig_length=180_000, tracts=1_200, decoys=600, seed=3
    )
    prepare(
        PrepareSettings(
            task="zdna",
            genome=genome.genome,
            regions=genome.regions,
            lengths=(LENGTH,),
            flank=10,
            split="contig:train=sim1;val=sim2;test=sim3",
        ),
        folder / "data",
    )
    data, model = PreparedData.open(folder / "data"), TractModel(LENGTH)
    plan = ShardPlan.make(model, data, split="test", settings=SETTINGS)
    for index in missing_shards(plan, folder):
        run_shard(Attributor(model, SETTINGS), data, plan, index, folder)
    shards = [read_shard(plan, index, folder) for index in range(len(plan.shards))]
    found = np.concatenate([shard.true_positive for shard in shards])
    rows = found.any(axis=1)
    return Planted(
        genome.kmers(K),
        merge_shards(plan, folder).tables,
        np.concatenate([shard.bases for shard in shards])[rows],
        found[rows],
        {
            name: np.concatenate([shard.scores[name] for shard in shards])[rows]
            for name in SETTINGS.methods
        },
    )


@pytest.mark.parametrize("method", SETTINGS.methods)
def test_every_planted_kmer_is_significant(planted, method):
    rows = {row["kmer"]: row for row in planted.tables[method].to_pylist()}
    assert len(planted.kmers) == 36
    assert planted.kmers <= set(rows)
    assert max(rows[kmer]["q_value"] for kmer in planted.kmers) < 0.01


@pytest.mark.parametrize("method", SETTINGS.methods)
def test_a_kmer_of_tracts_alone_is_the_most_significant(planted, method):
    table = planted.tables[method]
    first = table["kmer"][int(np.argmin(table["p_value"]))].as_py()
    assert first in {"CGCGC", "GCGCG"}


@pytest.mark.parametrize("method", SETTINGS.methods)
def test_shrinking_hardly_changes_the_ranks_of_kmers_in_many_windows(planted, method):
    table = planted.tables[method]
    tau = kendalltau(table["score"].to_numpy(), table["shrunken_score"].to_numpy()).statistic
    assert tau > 0.9
    assert np.ptp(table["shrunken_score"].to_numpy()) > 0.8 * np.ptp(table["score"].to_numpy())


@pytest.mark.parametrize("method", SETTINGS.methods)
def test_p_values_are_calibrated_when_labels_are_permuted_against_scores(planted, method):
    """Sequence and true positives of each window meet the scores of another one."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(50):
        scores = planted.scores[method][rng.permutation(len(planted.bases))]
        sums = fold_kmers(planted.bases, scores, KmerConfig(k=K), planted.true_positive)
        p += kmer_table(sums, min_count=SETTINGS.min_count)["p_value"].to_pylist()
    assert len(p) == 50 * 36
    assert 0.03 < (np.array(p) < 0.05).mean() < 0.07
