"""Measure what the constants that depend on the device should be on this device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import torch

from benchmarks.attribution import with_regions
from benchmarks.comparison import Run
from benchmarks.figures import Figures, Rows
from benchmarks.gpu_prediction import scored
from benchmarks.gpu_training import FLANK, train_ours
from benchmarks.model import new_model, random_windows
from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.settings import AttributionSettings, MethodName
from hyena_ray.attribution.targets import PACKING
from hyena_ray.model.convolution import CROSSOVER, Method, measure_crossover
from hyena_ray.model.devices import default_device, finish
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.predictor import default_batch
from hyena_ray.model.replay import EAGER
from hyena_ray.training.trainer import LOOK

NEARLY = 0.95
"""Fraction of the best rate at which a smaller batch is preferred, because it takes less memory."""
IN_CODE, HERE = "in the code", "measured here"
CHANNELS = 128
"""Channels of tiny-1k."""
BATCH = 32
"""Windows of a training step, few enough that its kernels are short."""

Value = TypeVar("Value")


class Sizes(NamedTuple):
    """Sizes at which the constants are measured."""

    lengths: tuple[int, ...] = (64, 128, 164, 256, 384, 512, 768, 1024)
    """Lengths of the convolved sequences, in bases."""
    batches: tuple[int, ...] = (32, 512)
    """Numbers of sequences that are convolved together."""
    packing: Mapping[str, tuple[int, ...]] = MappingProxyType(
        {
            "positions": (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20),
            "label_steps": (1, 2, 4, 8),
            "held": (1 << 22, 1 << 24, 1 << 26),
            "noisy": (1 << 18, 1 << 20, 1 << 22),
        }
    )
    """Values of the fields of `PACKING`."""
    attributed: int = 1024
    """Number of windows of 100 bases that are attributed."""
    intervals: tuple[int, ...] = (1, 8, 32, 128)
    """Steps between two readings of the losses of a training."""
    trained: int = 4_096
    """Number of windows in an epoch of that training."""
    predicted: tuple[int, ...] = (1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 15)
    """Windows of a pass of a prediction."""


GPU = Sizes()
FEWER = GPU._replace(packing={"positions": GPU.packing["positions"]}, intervals=())
"""What fits into the eight minutes of all figures of a GPU."""
CPU = Sizes(
    lengths=(64, 128, 164, 192, 256),
    batches=(32, 64),
    packing={
        "positions": (1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14),
        "label_steps": (0, 4),
        "held": (1 << 17, 1 << 19, 1 << 21),
        "noisy": (1 << 13, 1 << 15, 1 << 17),
    },
    attributed=16,
    intervals=(1, 8),
    trained=256,
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
    for field, values in sizes.packing.items():
        title = f"{field} of an attribution"
        yield title, partial(of_packing, device, field, values, sizes.attributed)
    if sizes.intervals:
        yield "reading of losses", partial(of_loss_interval, device, sizes.intervals, sizes.trained)
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


def of_packing(device: torch.device, field: str, values: Sequence[int], windows: int) -> Figures:
    """Measure attribution by one field of `PACKING`, on windows of 100 bases.

    Args:
        device: Device to measure.
        field: Field that is varied. `noisy` matters for SmoothGrad, the others are measured with
            Integrated Gradients.
        values: Values of the field, ascending; 0 stands for None.
        windows: Windows to attribute.
    """
    model = new_model(0).to(device)
    model.threshold = 0.0
    given, packing = with_regions(random_windows(windows, 0)), PACKING[device.type]
    method: MethodName = "smoothgrad" if field == "noisy" else "ig"
    settings = AttributionSettings(methods=(method,), shuffles=1)

    def attribution(value: int) -> Run:
        changes: dict[str, Any] = {field: value or None}
        varied = packing._replace(**changes)
        with replaced(PACKING, device.type, varied):
            attributor = Attributor(model, settings)

        def run() -> None:
            with replaced(PACKING, device.type, varied):
                attributor(given)

        return run

    in_code = getattr(packing, field) or 0
    title = f"constant PACKING.{field} of an attribution, {method}"
    return _by_value(title, device, values, attribution, windows, in_code)


def of_loss_interval(device: torch.device, intervals: Sequence[int], windows: int) -> Figures:
    """Measure training in batches of 32 windows by the steps between two readings of the losses.

    Args:
        device: Device to measure.
        intervals: Steps between two readings, ascending.
        windows: Windows of an epoch.
    """
    given = random_windows(windows, FLANK)

    def training(interval: int) -> Run:
        epoch = train_ours(new_model(FLANK).to(device), given, BATCH, "float32")

        def run() -> None:
            with replaced(LOOK, device.type, interval):
                epoch()

        return run

    title = f"constant LOOK of {device.type}, steps"
    return _by_value(title, device, intervals, training, windows, LOOK[device.type])


@contextmanager
def replaced(table: dict[str, Value], key: str, value: Value) -> Iterator[None]:
    """Give an entry of a table another value inside the block.

    Args:
        table: Constants by type of device.
        key: Entry to replace.
        value: Its value inside the block.
    """
    before = table[key]
    table[key] = value
    try:
        yield
    finally:
        table[key] = before


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

    return _by_value(
        "constant batch of a prediction, windows of a pass",
        device,
        batches,
        prediction,
        windows,
        default_batch(model.readout, device),
    )


def _by_value(
    title: str,
    device: torch.device,
    values: Sequence[int],
    make: Callable[[int], Run],
    windows: int,
    in_code: float,
) -> Figures:
    """Return a table of windows per second by the value of a constant.

    Args:
        title: Title of the table.
        device: Device to measure.
        values: Values of the constant, ascending.
        make: Prepares a run with a value.
        windows: Windows of a run.
        in_code: Value in the code.
    """

    def rate(value: int) -> float:
        run = make(value)
        # On a GPU, warm up until passes of every shape are captured.
        for _ in range(EAGER + 1 if device.type == "cuda" else 1):
            run()
        finish(device)
        started = time.perf_counter()
        run()
        finish(device)
        return windows / (time.perf_counter() - started)

    def measure() -> Rows:
        return {f"{value:,}": {"windows/s": rate(value)} for value in values}

    def conclude(rows: Rows) -> dict[str, float]:
        rates = [cells["windows/s"] for cells in rows.values()]
        return {IN_CODE: in_code, HERE: smallest_good(dict(zip(values, rates, strict=True)))}

    return Figures(title, measure, conclude)


def smallest_good(rates: Mapping[int, float]) -> int:
    """Return the smallest size whose rate is at least `NEARLY` of the best.

    Args:
        rates: Rate by size, ascending.
    """
    best = max(rates.values())
    return next(size for size, rate in rates.items() if rate >= NEARLY * best)
