"""Run the rows of the GPU benchmark at sizes that take seconds on any device."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.command_line import JOBS

MODULES = (
    "comparison",
    "constants",
    "figures",
    "gpu",
    "gpu_attribution",
    "gpu_prediction",
    "gpu_training",
    "gpu_trials",
    "limits",
    "model",
    "operations",
    "published",
    "table",
)


def import_benchmarks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the modules of the benchmarks by name."""
    monkeypatch.syspath_prepend(JOBS)
    return {name: importlib.import_module(f"benchmarks.{name}") for name in MODULES}


def small_sizes(benchmarks: dict[str, Any]) -> Any:
    """Return sizes for every row, with the smallest models that are possible."""
    model = (("model.d_model", 8), ("model.n_layer", 1))
    return benchmarks["gpu"].Sizes(
        side=32,
        copied=1 << 12,
        attribution=(benchmarks["gpu_attribution"].Sizes(24, 2, 2, 1, 8),),
        training=benchmarks["gpu_training"].Sizes(((2, 2),), ((64, 1),), 32),
        prediction=benchmarks["gpu_prediction"].Sizes(2000, 8, 1, model),
        trials=benchmarks["gpu_trials"].Sizes(2, 2, 1),
        constants=benchmarks["constants"].Sizes(
            lengths=(8, 16),
            batches=(2,),
            packing={
                "positions": (32, 64),
                "label_steps": (0, 2),
                "held": (1 << 14,),
                "noisy": (1 << 12,),
            },
            attributed=2,
            intervals=(1, 2),
            trained=64,
            predicted=(2, 4),
        ),
    )


def check_rows(benchmarks: dict[str, Any], rows: Any, expected: dict[str, set[str]]) -> None:
    """Check that every row has a figure for each implementation, except for expected failures.

    Args:
        benchmarks: Modules by name.
        rows: Comparisons and tables.
        expected: Implementations that may fail, by the beginning of the title.
    """
    for row in rows:
        if isinstance(row, benchmarks["figures"].Figures):
            table = row.median(1)
            assert all(value > 0 for cells in table.values() for value in cells.values())
            conclusion = row.conclude(table)
            assert all(isinstance(value, int) for value in conclusion.values()), row.title
            continue
        lines = benchmarks["comparison"].measured(row, 1)
        assert lines[0].ours_over_it == 1, (row.title, lines[0].failure)
        titles = (title for title in expected if row.title.startswith(title))
        may_fail = expected.get(next(titles, ""), set())
        for line in lines:
            if line.who in may_fail and line.failure:
                continue
            assert line.failure is None, (row.title, line.who, line.failure)
            assert line.rate > 0
            assert set(line.shares) == {"float32", "tf32", "bfloat16", "bandwidth"}
            assert all(share > 0 for share in line.shares.values())
