"""Causal convolution along time, by Toeplitz matrix product or by FFT.

y[t] = sum over s <= t of h[s] * u[t - s], for every channel alone.  Arrays are channel-major,
(D, L, B): the matrix product needs no transposed copy of them, and neither do the projections
on both sides (see operator.py).

A Toeplitz product costs 2 L^2 flops per channel and sequence against the FFT's order L log L,
but runs at the speed of a matrix product: it is the faster one up to a few hundred bases.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Method = Literal["toeplitz", "fft"]

CROSSOVER = {"cpu": 512, "cuda": 512}
"""Longest input that is convolved by Toeplitz product, per type of device."""


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
    return torch.fft.rfft(filters, n=_fft_size(filters.shape[-1]))


def convolve(u: Tensor, prepared: Tensor, method: Method) -> Tensor:
    """Convolve with prepared filters.

    Args:
        u: (D, L, B) real, computed in float32 or better.
        prepared: from `prepare_filters` for the same L.
        method: the one that `prepared` was made for.

    Returns:
        (D, L, B), with the dtype of `prepared`'s real part.
    """
    with torch.autocast(u.device.type, enabled=False):
        if method == "toeplitz":
            return torch.bmm(prepared, u.to(prepared.dtype))
        length, size = u.shape[1], _fft_size(u.shape[1])
        u = u.to(prepared.real.dtype)
        spectrum = torch.fft.rfft(u, n=size, dim=1) * prepared[:, :, None]
        return torch.fft.irfft(spectrum, n=size, dim=1)[:, :length]


def toeplitz(filters: Tensor) -> Tensor:
    """(D, L) filters to (D, L, L) lower triangular matrices T[i, j] = h[i - j]."""
    matrix: Tensor = _Toeplitz.apply(filters)  # type: ignore[no-untyped-call]
    return matrix


class _Toeplitz(torch.autograd.Function):
    """One copy forward, two passes back; autograd's own backward of a strided view costs far more."""

    @staticmethod
    def forward(ctx: Any, filters: Tensor) -> Tensor:
        length = filters.shape[-1]
        # Row i is the window of length L that starts L-1-i into h[L-1] ... h[0] 0 ... 0.
        padded = F.pad(filters.flip(1), (0, length - 1))
        return padded.unfold(1, length, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        # In the flat matrix, read in rows of L+1, delay s > 0 is the lower part of column L+1-s;
        # its upper part belongs above the diagonal, where there is no filter.
        channels, length, _ = gradient.shape
        flat = gradient.tril().view(channels, length * length)
        columns = flat[:, :-1].view(channels, length - 1, length + 1).sum(1)
        columns[:, 0] += flat[:, -1]
        return torch.cat([columns[:, :1], columns[:, 2:].flip(1)], dim=1)


def _fft_size(length: int) -> int:
    """Smallest power of 2 that holds a linear convolution of two inputs of `length`."""
    return 1 << (2 * length - 2).bit_length()
