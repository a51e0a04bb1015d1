"""Attribution on a GPU next to captum on the same GPU: the published loop, and large batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.attribution import STEPS, captum_gradients, captum_noise, with_regions
from benchmarks.comparison import Comparison, Run, lazily
from benchmarks.limits import Limits
from benchmarks.model import new_model, random_windows
from benchmarks.operations import GRADIENT, Cost, Work, pass_cost
from benchmarks.published import PlainHyenaDNA
from hyena_ray.attribution.engine import Attributor
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.devices import halving
from hyena_ray.model.replay import EAGER


class Sizes(NamedTuple):
    """Number of windows that each implementation attributes in a run."""

    length: int
    """Bases of a window."""
    windows: int
    """Number of windows of our implementation."""
    batched: int
    """Number of windows of captum in large batches."""
    single: int
    """Number of windows of the published loop, which takes one at a time."""
    rows: int
    """Points in captum's largest pass, halved until the pass fits into memory. With weights that
    require gradients, as published, a million positions take 130 GiB."""


SHORT = Sizes(length=100, windows=2048, batched=1024, single=16, rows=8192)
LONG = Sizes(length=1024, windows=256, batched=128, single=8, rows=1024)

METHODS: dict[str, dict[str, Any]] = {
    "Integrated Gradients within 0.001, one shuffle": {"methods": ("ig",), "shuffles": 1},
    "Integrated Gradients within 0.001, four shuffles (default)": {"methods": ("ig",)},
    f"SmoothGrad, {STEPS} copies": {"methods": ("smoothgrad",), "samples": STEPS},
}
"""Settings of our implementation by title; all others have their defaults."""


def of_method(title: str, sizes: Sizes, device: torch.device, limits: Limits) -> Comparison:
    """Compare one method with captum on a model of the published design with the same weights.

    Args:
        title: Key of `METHODS`.
        sizes: Number of windows of each implementation.
        device: Device to measure.
        limits: Limits of the device.
    """
    length = sizes.length
    model = new_model(0, length).to(device)
    model.threshold = 0.0  # every labelled base counts as a true positive
    plain = PlainHyenaDNA(model.classifier).to(device)
    windows = with_regions(random_windows(sizes.windows, 0, length))
    settings = AttributionSettings().updated(METHODS[title], "benchmark")
    of_pass = pass_cost(model, model.classifier.config, length, GRADIENT)

    def ours() -> Run:
        attributor = Attributor(model, settings)
        for _ in range(EAGER):  # until passes of every shape are captured
            attributor(windows)
        return partial(attributed, attributor, windows, of_pass)

    def captum(count: int, run: Callable[[Windows], None]) -> Work:
        run(windows.rows(np.arange(count)))
        return Work(count, of_pass.times(count * STEPS))

    noisy = "smoothgrad" in METHODS[title]["methods"]
    loop = partial(captum_noise, rows=1, copies=10) if noisy else partial(captum_gradients, rows=1)

    def batches(rows: int) -> Work:
        if noisy:
            large = partial(captum_noise, rows=max(1, rows // STEPS), copies=min(STEPS, rows))
        else:
            together = min(rows, sizes.batched)
            large = partial(captum_gradients, rows=together, points=rows)
        return captum(sizes.batched, partial(large, plain))

    return Comparison(
        f"{title}, windows of {length} bases",
        "windows/s",
        sizes.windows,
        {
            "ours": lazily(ours),
            "peer: published loop, captum": lambda: captum(sizes.single, partial(loop, plain)),
            "peer: captum in the largest batches": largest(sizes.rows, batches),
        },
        device,
        limits,
    )


def attributed(attributor: Attributor, windows: Windows, of_pass: Cost) -> Work:
    """Attribute with one method of our implementation, and count the gradients that it took.

    A gradient depends only on the bases up to the last true positive, so only these are counted.

    Args:
        attributor: Attribution with one method, by a model of bases that reads one strand without
            flanks.
        windows: Windows with labels.
        of_pass: Cost of a gradient of a whole window.
    """
    result = attributor(windows)
    [method] = attributor.settings.methods
    ends = result.true_positive.shape[1] - result.true_positive[:, ::-1].argmax(axis=1)
    if method in result.integrals:
        gradients = result.integrals[method].nodes
    else:
        gradients = np.full(len(ends), attributor.settings.samples)
    passes = float((gradients * ends).sum()) / result.true_positive.shape[1]
    return Work(len(ends), of_pass.times(passes))


def largest(rows: int, attempt: Callable[[int], Work]) -> Run:
    """Return a run with the largest batches that fit into memory, determined by its first call.

    Args:
        rows: Rows of the first batch that is tried.
        attempt: Does the work in batches of a given number of rows.
    """
    fits = rows

    def remembered(size: int) -> Work:
        nonlocal fits
        work = attempt(size)
        fits = size
        return work

    return lambda: halving(fits, remembered, "benchmark", "row")


def attribution_rows(
    device: torch.device, limits: Limits, every: tuple[Sizes, ...] = (SHORT, LONG)
) -> Iterator[tuple[str, Callable[[], Comparison]]]:
    """Yield the title of every comparison, and a function that prepares it.

    Args:
        device: Device to measure.
        limits: Limits of the device.
        every: Lengths and numbers of windows to attribute.
    """
    for sizes in every:
        for title in METHODS:
            yield title, partial(of_method, title, sizes, device, limits)
