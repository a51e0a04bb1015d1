"""The benchmark of a GPU measures every figure on a real GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.jobs.small_benchmark import check_rows, import_benchmarks, small_sizes


@pytest.mark.usefixtures("cluster")
def test_every_row_has_its_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    benchmarks = import_benchmarks(monkeypatch)
    rows = benchmarks["gpu"].rows(tmp_path, torch.device("cuda"), small_sizes(benchmarks))
    # torch.compile needs a C compiler.
    compiled = {benchmarks["gpu_training"].COMPILED}
    check_rows(benchmarks, rows, {"training, float32": compiled, "pretraining, float32": compiled})
