"""The small search that all tests share which need a finished one, and what two of them share."""

from __future__ import annotations

from typing import Any, NamedTuple

import pyarrow.parquet as pq

from hyena_ray.files import sha256_file
from hyena_ray.storage import AnyPath
from hyena_ray.workflows.tune import TuneRecord

EPOCHS = 3
SPACE = f"""\
task: zdna
trials: 3
scheduler: {{grace_period: 99}}
settings:
  data.length: 40
  data.limit: 400
  model.d_model: 16
  model.n_layer: 1
  model.max_seq_len: 130
  readout.flank: 8
  training.epochs: {EPOCHS}
attribution: {{shuffles: 1, tolerance: null, steps: 4, samples: 4}}
search:
  readout.lookahead: {{choices: [4, 8]}}
  training.learning_rate: {{low: 1e-3, high: 1e-2, log: true}}
"""
"""No trial is stopped early, and so few are drawn without regard to earlier ones: what is found
depends neither on how many run at once nor on which ends first."""


class Result(NamedTuple):
    """All that two runs of the same plan have in common."""

    trials: list[dict[str, Any]]
    """Settings and scores."""
    weights: list[str]
    """sha256 of every trial's model."""
    test: dict[str, float]
    attribution: str
    """Digest of the tables."""


def result_of(out: AnyPath) -> Result:
    """Read the result of a run from its folder."""
    with (out / "trials.parquet").open("rb") as stream:
        table = pq.read_table(stream)
    summary = TuneRecord.read(out)
    columns = ["trial", "state", "score", "readout.lookahead", "training.learning_rate"]
    models: list[AnyPath] = [*(out / "trials").glob("*/model/model.safetensors")]
    return Result(
        table.select(columns).to_pylist(),
        [sha256_file(model) for model in sorted(models, key=str)],
        summary.test,
        summary.attribution,
    )
