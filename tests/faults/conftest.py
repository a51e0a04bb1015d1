"""Fixtures of the tests that inject faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import ROOT, SPACE, Inputs, Nodes, Result, result_of

from hyena_ray.dataset.prepare import PrepareSettings, prepare
from hyena_ray.genome.simulate import simulate_genome
from hyena_ray.tuning.job import tuning_job


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("faults")
    made = simulate_genome(folder, contig_length=60_000, tracts=400, decoys=200)
    recipe = PrepareSettings(
        task="zdna", genome=made.genome, regions=made.regions, lengths=(40,), flank=8
    )
    prepare(recipe, folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    return Inputs(folder / "data", folder / "space.yaml")


@pytest.fixture(scope="session")
def calm(inputs: Inputs, cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("calm") / "run"
    tuning_job("zdna", ROOT / "search_spaces")(inputs.arguments(out))
    return result_of(out)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Two workers of one CPU."""
    found = Nodes(tmp_path)
    found.add()
    found.add()
    yield found
    found.shutdown()
