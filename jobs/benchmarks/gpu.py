"""Every figure of a GPU next to its peers and the limits of the card, in at most 8 minutes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks import (
    constants,
    gpu_attribution,
    gpu_prediction,
    gpu_training,
    gpu_trials,
)
from benchmarks.comparison import Comparison
from benchmarks.figures import Figures, Rows
from benchmarks.limits import COPIED, SIDE, Limits, measure_limits
from hyena_ray.model.devices import default_device

LAST_START = 400.0
"""Seconds after which no further row is started, so that the benchmark ends within 8 minutes."""
ROW_SECONDS = 12.0
"""Seconds after which no further round of a row is started."""

Row = tuple[str, Callable[[], Comparison | Figures]]
"""Title of a row, and a function that prepares it."""


class Sizes(NamedTuple):
    """Amount of work of each row."""

    side: int = SIDE
    copied: int = COPIED
    attribution: tuple[gpu_attribution.Sizes, ...] = (gpu_attribution.SHORT, gpu_attribution.LONG)
    training: gpu_training.Sizes = gpu_training.Sizes()
    prediction: gpu_prediction.Sizes = gpu_prediction.Sizes()
    trials: gpu_trials.Sizes = gpu_trials.Sizes()
    constants: constants.Sizes = constants.FEWER


def benchmark_gpu(folder: Path) -> Iterator[Comparison | Figures]:
    """Yield every row, at the sizes of an H200."""
    return rows(folder, default_device(), Sizes())


def rows(folder: Path, device: torch.device, sizes: Sizes) -> Iterator[Comparison | Figures]:
    """Yield the limits of a device and every row, each prepared when its turn comes.

    Args:
        folder: Folder to work in.
        device: Device to measure.
        sizes: Amount of work of each row.
    """
    started = time.monotonic()
    limits = measure_limits(device, sizes.side, sizes.copied)
    yield Figures("limits of this device, 10^12 a second", partial(_table, limits))
    in_float32, rounded = (
        gpu_training.training_rows(device, limits, sizes.training, rounded=rounded)
        for rounded in (False, True)
    )
    table: list[Row] = [
        *gpu_attribution.attribution_rows(device, limits, sizes.attribution),
        *in_float32,
        (
            "prediction",
            partial(gpu_prediction.of_prediction, folder, sizes.prediction, device, limits),
        ),
        ("several small trials", partial(gpu_trials.of_trials, sizes.trials, device, limits)),
        *constants.constant_rows(device, sizes.constants),
        *rounded,
    ]
    for title, make in table:
        yield prepared(title, make, time.monotonic() - started)
        # The caller has dropped the row: release its memory for the next one.
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def prepared(
    title: str, make: Callable[[], Comparison | Figures], elapsed: float
) -> Comparison | Figures:
    """Return a row, or one that fails with the reason why it cannot be measured.

    Args:
        title: Title of the row.
        make: Prepares the row.
        elapsed: Seconds since the start of the benchmark.
    """
    if elapsed > LAST_START:
        return _failing(title, TimeoutError(f"not started within {LAST_START:.0f} s"))
    try:
        return make()._replace(seconds=ROW_SECONDS)
    except Exception as error:
        return _failing(title, error)


def _failing(title: str, error: Exception) -> Comparison:
    def run() -> None:
        raise error

    return Comparison(title, "", 0.0, {"ours": run})


def _table(limits: Limits) -> Rows:
    return {name: {"10^12/s": value / 1e12} for name, value in limits._asdict().items()}
