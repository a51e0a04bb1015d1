"""Measured limits of a device: the rates of its matrix products and of a copy in its memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.operations import Cost
from benchmarks.published import matrix_products
from hyena_ray.model.devices import finish
from hyena_ray.model.settings import Precision

SIDE = 8192
"""Rows and columns of the matrices; their product takes an H200 20 ms in float32."""
COPIED = 1 << 30
"""Bytes that are copied, many times the size of a cache."""
REPEATS = 7


class Limits(NamedTuple):
    """Highest rates of a device, per second."""

    float32: float
    """Floating-point operations of a matrix product in float32."""
    tf32: float
    """Floating-point operations of a matrix product with factors rounded to TF32."""
    bfloat16: float
    """Floating-point operations of a matrix product in bfloat16."""
    bandwidth: float
    """Bytes that a copy on the device reads and writes."""

    def shares(self, cost: Cost, seconds: float) -> dict[str, float]:
        """Return the fraction of each limit that some work reached.

        Args:
            cost: Cost of the work.
            seconds: Duration of the work.
        """
        taken = {name: cost.flop / limit for name, limit in self._asdict().items()}
        taken["bandwidth"] = cost.bytes / self.bandwidth
        return {name: least / seconds for name, least in taken.items()}


def measure_limits(device: torch.device, side: int = SIDE, copied: int = COPIED) -> Limits:
    """Measure the limits of a device, each as the median of several runs on random numbers.

    Args:
        device: Device to measure.
        side: Rows and columns of the matrices.
        copied: Bytes to copy.
    """
    return Limits(
        _product_rate(device, side, "float32", torch.float32),
        _product_rate(device, side, "tf32", torch.float32),
        _product_rate(device, side, "bfloat16", torch.bfloat16),
        _copy_rate(device, copied),
    )


def _product_rate(
    device: torch.device, side: int, precision: Precision, dtype: torch.dtype
) -> float:
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    with matrix_products(precision):
        return 2 * side**3 / _median_seconds(device, lambda: torch.mm(a, b, out=out))


def _copy_rate(device: torch.device, copied: int) -> float:
    source = torch.randn(copied // 4, device=device)
    target = torch.empty_like(source)
    return 2 * copied / _median_seconds(device, lambda: target.copy_(source))


def _median_seconds(device: torch.device, run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS + 2):  # the first two choose an algorithm and raise the clock
        finish(device)
        started = time.perf_counter()
        run()
        finish(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])
