"""Causal convolution along time, by Toeplitz matrix product or by FFT.

y[t] = sum over s <= t of h[s] * u[t - s], for every channel alone.  Arrays are channel-major,
(D, L, B): the matrix product needs no transposed copy of them, and neither do the projections
on both sides (see operator.py).

A Toeplitz product costs 2 L^2 flops per channel and sequence against the FFT's order L log L,
but runs at the speed of a matrix product: it is the faster one for short windows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.model.arguments import ALL

Method = Literal["toeplitz", "fft"]

CROSSOVER = {"cpu": 164, "cuda": 164}
"""Longest input that is convolved by Toeplitz product, per type of device.

CPU: `measure_crossover("cpu", batch=32)` and `batch=64`, milliseconds of Toeplitz product and FFT,
on one core of an AMD EPYC with AVX-512 whose other core trained a model: at 128 bases 14 and 14,
18 and 27; at 164 bases 25 and 19, 29 and 39; at 192 bases 34 and 17, 36 and 36; at 256 bases 94
and 33, 84 and 74. The matrices are made once per step, so that larger batches favour them, and
once for all where the filters are frozen.
CUDA: not measured, for want of a device; set to the CPU's.
"""


def method_for(length: int, device: torch.device) -> Method:
    """The faster method for inputs of `length` on `device`."""
    return "toeplitz" if length <= CROSSOVER.get(device.type, 0) else "fft"


def prepare_filters(filters: Tensor, method: Method) -> Tensor:
    """What `convolve` needs of the filters, worth keeping while they do not change.

    Args:
        filters: (D, L) float32, taps in order of delay.
        method: of the convolution.

    Returns:
        (D, L, L) float32 lower triangular Toeplitz matrices, or (D, F) complex64 spectra.
    """
    if method == "toeplitz":
        return toeplitz(filters)
    spectra: Tensor = torch.fft.rfft(filters, n=_fft_size(filters.shape[-1]))
    return spectra


def convolve(u: Tensor, prepared: Tensor, method: Method, positions: slice = ALL) -> Tensor:
    """Convolve with prepared filters.

    Args:
        u: (D, L, B) real, computed in float32 or better.
        prepared: from `prepare_filters` for the same L.
        method: the one that `prepared` was made for.
        positions: P of the L that are wanted, which spares a Toeplitz product the others.

    Returns:
        (D, P, B), with the dtype of `prepared`'s real part.
    """
    with torch.autocast(u.device.type, enabled=False):
        if method == "toeplitz":
            return torch.bmm(prepared[:, positions], u.to(prepared.dtype))
        length, size = u.shape[1], _fft_size(u.shape[1])
        # Along the last axis: the transposed copy costs less than strided transforms.
        spectrum = torch.fft.rfft(u.to(prepared.real.dtype).transpose(1, 2), n=size)
        mixed: Tensor = torch.fft.irfft(spectrum * prepared[:, None], n=size)
        return mixed[..., :length][..., positions].transpose(1, 2)


def toeplitz(filters: Tensor) -> Tensor:
    """(D, L) filters to (D, L, L) lower triangular matrices T[i, j] = h[i - j]."""
    matrix: Tensor = _Toeplitz.apply(filters)  # type: ignore[no-untyped-call]
    return matrix


class _Toeplitz(torch.autograd.Function):
    """One copy forward, two passes back; autograd's backward of strided views costs far more."""

    @staticmethod
    def forward(ctx: Any, filters: Tensor) -> Tensor:
        length = filters.shape[-1]
        # Row i is the window of length L that starts L-1-i into h[L-1] ... h[0] 0 ... 0.
        padded = F.pad(filters.flip(1), (0, length - 1))
        return padded.unfold(1, length, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # In the flat matrix, read in rows of L+1, delay s > 0 is the lower part of column L+1-s;
        # its upper part belongs above the diagonal, where there is no filter.
        channels, length, _ = gradient.shape
        flat = gradient.tril().view(channels, length * length)
        columns = flat[:, :-1].view(channels, length - 1, length + 1).sum(1)
        columns[:, 0] += flat[:, -1]
        return torch.cat([columns[:, :1], columns[:, 2:].flip(1)], dim=1)


def _fft_size(length: int) -> int:
    """Smallest size with few prime factors that holds a linear convolution of `length` inputs."""
    needed = 2 * length - 1
    return min(odd << max(0, (-(-needed // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15))


def measure_crossover(
    device: str,
    lengths: Sequence[int] = (64, 128, 164, 256, 320, 384, 512),
    channels: int = 128,
    batch: int = 64,
    repeats: int = 5,
) -> dict[int, dict[Method, float]]:
    """Seconds that a forward and backward convolution takes, by length and method.

    On the CPU they are seconds of processor time. The fastest of `repeats` counts.
    """
    times: dict[int, dict[Method, float]] = {}
    for length in lengths:
        u = torch.randn(channels, length, batch, device=device, requires_grad=True)
        filters = torch.randn(channels, length, device=device, requires_grad=True)
        times[length] = {}
        for method in get_args(Method):
            taken = []
            for _ in range(repeats + 1):  # the first warms up
                start = _clock(device)
                mixed = convolve(u, prepare_filters(filters, method), method)
                torch.autograd.grad(mixed, (u, filters), torch.ones_like(mixed))
                taken.append(_clock(device) - start)
            times[length][method] = min(taken[1:])
    return times


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()  # on a shared machine the wall clock shows the neighbours
