"""The benchmark of pretraining compares models that compute the same."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(JOBS)
    return importlib.import_module("benchmarks.pretraining")


def test_the_peer_computes_what_ours_does(benchmark: Any) -> None:
    _, model = benchmark.ours(64, 128)
    ids = torch.randint(7, 11, (2, 64), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(benchmark.plain_of(model)(ids), model(ids), rtol=1e-4, atol=1e-5)


def test_every_run_takes_a_step_of_as_many_bases(benchmark: Any) -> None:
    compared = benchmark.steps(64, 256)
    assert compared.amount == 256
    assert list(compared.runs)[:3] == [
        "ours",
        "peer: plain PyTorch, published design",
        "limit: matrix product",
    ]
    for run in compared.runs.values():
        run()


def test_the_cost_of_a_base_is_compared_with_the_first_length(benchmark: Any) -> None:
    rows = benchmark.cost_per_base((1, 2), 2048).measure()
    assert list(rows) == ["1 kb", "2 kb"]
    assert rows["1 kb"]["ours over first"] == rows["1 kb"]["over logarithm"] == 1
    ratio = rows["2 kb"]["ours us/base"] / rows["1 kb"]["ours us/base"]
    assert rows["2 kb"]["ours over first"] == pytest.approx(ratio)
    assert rows["2 kb"]["over logarithm"] == pytest.approx(ratio * 11 / 12)
