"""How long an attribution will take, from some of its own windows.  No Ray here."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import ShardPlan
from hyena_ray.attribution.targets import labelled_windows, trim_tokens, true_positives
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.window import WindowModel

TIMED_SHARDS = 3
"""Evenly over the plan, of which true positives are looked for."""
TIMED_WINDOWS = 32
"""That are attributed. Passes are full with as few: a window has many points."""


class AttributionTiming(NamedTuple):
    """What a window takes, on the average of those that were timed."""

    read: float
    """Seconds to look for true positives."""
    attributed: float
    """Seconds to attribute one that has a true positive."""
    share: float
    """Of windows that have one."""
    timed: float
    """Seconds that were timed."""

    def seconds(self, windows: int) -> float:
        """Of one worker, for so many windows."""
        return windows * (self.read + self.share * self.attributed)


def time_attribution(model: WindowModel, data: PreparedData, plan: ShardPlan) -> AttributionTiming:
    """Look for true positives in a few shards of a plan, and attribute some of them."""
    step = -(-len(plan.shards) // TIMED_SHARDS)
    parts = [
        data.read_rows(plan.length, plan.split, shard.first_row, shard.last_row)
        for shard in plan.shards[::step]
    ]
    windows = Windows._make(map(np.concatenate, zip(*parts, strict=True)))
    began = time.perf_counter()
    found = true_positives(model, trim_tokens(model, windows), windows.labels, plan.settings.batch)
    read = (time.perf_counter() - began) / len(windows.window_id)
    rows = np.flatnonzero(found.any(axis=1))
    chosen = rows[:: max(1, -(-len(rows) // TIMED_WINDOWS))]
    attributed = 0.0
    if len(chosen):
        attributed = _each(model, windows.rows(chosen), found[chosen], plan.settings)
    share = len(rows) / len(windows.window_id)
    return AttributionTiming(read, attributed, share, time.perf_counter() - began)


def time_labelled(model: WindowModel, windows: Windows, settings: AttributionSettings) -> float:
    """Seconds to attribute a window whose labelled bases are taken for true positives: of a model
    that has learnt nothing, which finds none.

    Args:
        model: in evaluation mode.
        windows: some have a label.
        settings: of the attribution.
    """
    chosen = labelled_windows(windows, TIMED_WINDOWS // 4)
    return _each(model, chosen, chosen.labels == 1, settings)


def _each(
    model: WindowModel, windows: Windows, found: np.ndarray, settings: AttributionSettings
) -> float:
    # Without the first windows, on which memory is got and kernels are chosen.
    attribute_windows(model, windows.rows(slice(0, 2)), settings, found[:2])
    began = time.perf_counter()
    attribute_windows(model, windows, settings, found)
    return (time.perf_counter() - began) / len(windows.window_id)
