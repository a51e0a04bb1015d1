"""The shorter time of a search is that of one whose cuts let as few go on as they may."""

from __future__ import annotations

import pytest

from hyena_ray.search.space import SchedulerSettings, SearchSpace
from hyena_ray.tuning.dry_tune import _least_share


@pytest.mark.parametrize(
    ("epochs", "grace", "factor"), [(9, 1, 3), (8, 2, 2), (20, 3, 4), (2, 5, 3)]
)
def test_at_each_cut_one_in_so_many_goes_on(epochs: int, grace: int, factor: int) -> None:
    grace = max(2, grace)
    scheduler = SchedulerSettings(grace_period=grace, reduction_factor=float(factor))
    space = SearchSpace(task="zdna", scheduler=scheduler)
    settings = space.run_settings({"training.epochs": epochs})
    # So many trials that every cut comes out even, epoch by epoch.
    trials = going = factor**8
    cut, run = grace, 0
    for epoch in range(epochs):
        if epoch == cut:
            going //= factor
            cut *= factor
        run += going
    assert _least_share(settings, space) == pytest.approx(run / (trials * epochs))
