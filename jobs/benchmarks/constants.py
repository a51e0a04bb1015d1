"""Measure what the constants that depend on the device should be on this device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.attribution import with_regions
from benchmarks.comparison import Run
from benchmarks.figures import Figures, Rows
from benchmarks.gpu_prediction import scored
from benchmarks.gpu_training import FLANK
from benchmarks.model import new_model, random_windows
from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.targets import pass_positions
from hyena_ray.model.convolution import CROSSOVER, Method, measure_crossover
from hyena_ray.model.devices import default_device, finish
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.predictor import default_batch
from hyena_ray.model.replay import EAGER

NEARLY = 0.95
"""Fraction of the best rate at which a smaller batch is preferred, because it takes less memory."""
IN_CODE, HERE = "in the code", "measured here"
CHANNELS = 128
"""Channels of tiny-1k."""


class Sizes(NamedTuple):
    """Sizes at which the constants are measured."""

    lengths: tuple[int, ...] = (64, 128, 164, 256, 384, 512, 768, 1024)
    """Lengths of the convolved sequences, in bases."""
    batches: tuple[int, ...] = (32, 512)
    """Numbers of sequences that are convolved together."""
    positions: tuple[int, ...] = (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20)
    """Positions of a pass of an attribution."""
    attributed: int = 1024
    """Number of windows of 100 bases that are attributed."""
    predicted: tuple[int, ...] = (1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 15)
    """Windows of a pass of a prediction."""


GPU = Sizes()
CPU = Sizes(
    lengths=(64, 128, 164, 192, 256),
    batches=(32, 64),
    positions=(1024, 2048, 4096, 8192, 16384),
    attributed=16,
    predicted=(32, 128, 512),
)


def benchmark_constants(folder: Path) -> list[Figures]:
    """Measure the constants of the default device."""
    device = default_device()
    rows = constant_rows(device, GPU if device.type == "cuda" else CPU)
    return [make() for _, make in rows]


def constant_rows(
    device: torch.device, sizes: Sizes
) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """Yield the title of every constant, and a function that prepares its table.

    Args:
        device: Device to measure.
        sizes: Sizes to measure.
    """
    yield "crossover", partial(of_crossover, device, sizes.lengths, sizes.batches)
    yield (
        "positions of an attribution's pass",
        partial(of_attribution, device, sizes.positions, sizes.attributed),
    )
    yield "windows of a prediction's pass", partial(of_prediction, device, sizes.predicted)


def of_crossover(device: torch.device, lengths: Sequence[int], batches: Sequence[int]) -> Figures:
    """Measure the convolution, forward and backward, by length, batch and method.

    Args:
        device: Device to measure.
        lengths: Lengths of a sequence in bases, ascending.
        batches: Batch sizes in sequences.
    """

    def measure() -> Rows:
        times = {
            batch: measure_crossover(device.type, lengths, CHANNELS, batch) for batch in batches
        }
        return {
            f"{length} bases": {
                column(method, batch): 1e3 * seconds
                for batch in batches
                for method, seconds in times[batch][length].items()
            }
            for length in lengths
        }

    def conclude(rows: Rows) -> dict[str, float]:
        longest = longest_toeplitz(dict(zip(lengths, rows.values(), strict=True)), batches)
        return {IN_CODE: CROSSOVER.get(device.type, 0), HERE: longest}

    title = f"constant CROSSOVER of {device.type}, bases; ms by batch, {CHANNELS} channels"
    return Figures(title, measure, conclude)


def column(method: Method, batch: int) -> str:
    """Return the name of the column for a method and a batch size."""
    return f"{method} {batch}"


def longest_toeplitz(
    milliseconds: Mapping[int, Mapping[str, float]], batches: Sequence[int]
) -> int:
    """Return the longest length up to which the Toeplitz product is no slower at any batch size.

    Args:
        milliseconds: Durations by length, ascending, and by column.
        batches: Batch sizes in sequences.

    Returns:
        One of the lengths; 0 if the FFT is faster at the shortest one already.
    """
    longest = 0
    for length, cells in milliseconds.items():
        if any(cells[column("toeplitz", b)] > cells[column("fft", b)] for b in batches):
            break
        longest = length
    return longest


def of_attribution(device: torch.device, positions: Sequence[int], windows: int) -> Figures:
    """Measure Integrated Gradients of windows of 100 bases by the positions of a pass.

    Args:
        device: Device to measure.
        positions: Numbers of positions of a pass, ascending.
        windows: Number of windows to attribute.
    """
    model = new_model(0).to(device)
    model.threshold = 0.0
    given = with_regions(random_windows(windows, 0))

    def attribution(batch: int) -> Run:
        settings = AttributionSettings(methods=("ig",), shuffles=1, batch=batch)
        return partial(Attributor(model, settings), given)

    return _by_batch(
        "constant PACKING.positions of an attribution",
        device,
        positions,
        attribution,
        windows,
        pass_positions(model, AttributionSettings()),
    )


def of_prediction(device: torch.device, batches: Sequence[int]) -> Figures:
    """Measure prediction, with 32 bases on each side of a window, by the windows of a pass.

    Args:
        device: Device to measure.
        batches: Numbers of windows of a pass, ascending.
    """
    model, windows = new_model(FLANK).to(device).eval(), max(batches)

    def prediction(batch: int) -> Run:
        def run() -> None:
            with torch.inference_mode(), frozen_filters(model):
                scored(model, batch, windows // batch)

        return run

    return _by_batch(
        "constant batch of a prediction, windows of a pass",
        device,
        batches,
        prediction,
        windows,
        default_batch(model.readout, device),
    )


def _by_batch(
    title: str,
    device: torch.device,
    sizes: Sequence[int],
    make: Callable[[int], Run],
    windows: int,
    in_code: float,
) -> Figures:
    """Return a table of windows per second by the size of a pass.

    Args:
        title: Title of the table.
        device: Device to measure.
        sizes: Sizes of a pass, ascending.
        make: Prepares a run with passes of a given size.
        windows: Number of windows of a run.
        in_code: Size that the code uses by default.
    """

    def rate(size: int) -> float:
        run = make(size)
        # On a GPU, warm up until passes of every shape are captured.
        for _ in range(EAGER + 1 if device.type == "cuda" else 1):
            run()
        finish(device)
        started = time.perf_counter()
        run()
        finish(device)
        return windows / (time.perf_counter() - started)

    def measure() -> Rows:
        return {f"{size:,}": {"windows/s": rate(size)} for size in sizes}

    def conclude(rows: Rows) -> dict[str, float]:
        rates = [cells["windows/s"] for cells in rows.values()]
        return {IN_CODE: in_code, HERE: smallest_good(dict(zip(sizes, rates, strict=True)))}

    return Figures(title, measure, conclude)


def smallest_good(rates: Mapping[int, float]) -> int:
    """Return the smallest size whose rate is at least `NEARLY` of the best.

    Args:
        rates: Rate by size, ascending.
    """
    best = max(rates.values())
    return next(size for size, rate in rates.items() if rate >= NEARLY * best)
