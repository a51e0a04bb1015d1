"""Attributions that tests need as inputs, made without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.cluster import pool
from hyena_ray.cluster.resources import Resources
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.runs.run import Output, start
from hyena_ray.workflows.attribute import attribute_in_run, plan_attribution


def attribute_here(model: Path, data_folder: Path, out: Path, **settings: Any) -> Path:
    """Write what the job attribute writes, with all shards computed in this process."""
    may_be_empty = settings.pop("may_be_empty", False)
    data = PreparedData.open(data_folder)
    plan = plan_attribution(
        model,
        data,
        split="test",
        settings=AttributionSettings(**settings),
        may_be_empty=may_be_empty,
    )

    def compute(shards: pool.Shards, **_: Any) -> None:
        work = shards.make()
        for number in shards.numbers:
            work(number)

    with pytest.MonkeyPatch.context() as patch, start(Output(out), plan) as run:
        patch.setattr(pool, "run_shards", compute)
        attribute_in_run(run, model, data, actors=1, resources=Resources())
    return out
