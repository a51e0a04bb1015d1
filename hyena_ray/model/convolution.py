"""Causal convolution along time, by Toeplitz matrix product or by FFT.

y[t] = sum over s <= t of h[s] * u[t - s], for every channel alone.  Arrays are channel-major,
(D, L, B): the matrix product needs no transposed copy of them, and neither do the projections
on both sides (see operator.py).

A Toeplitz product costs 2 L^2 flops per channel and sequence against the FFT's order L log L,
but runs at the speed of a matrix product: it is the faster one for short windows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hyena_ray.model.devices import finish

ALL = slice(None)
"""Every position."""

Method = Literal["toeplitz", "fft"]

CROSSOVER = {"cpu": 164, "cuda": 512}
"""Longest input that is convolved by Toeplitz product, per type of device.

CPU: `measure_crossover("cpu", batch=32)` and `batch=64`, milliseconds of Toeplitz product and FFT,
on one core of an Intel Xeon with AVX-512: at 128 bases 6.4 and 5.4, 7.5 and 10.8; at 164 bases 9.5
and 8.6, 12 and 18; at 192 bases 11 and 8.4, 18 and 20; at 256 bases 58 and 13, 68 and 30. The
matrices are made once per step, so that larger batches favour them, and once for all where the
filters are frozen.
CUDA: the same at 128 channels on an NVIDIA H200, in milliseconds. Batch 32: at 164 bases 0.46 and
1.36, at 256 0.60 and 1.20, at 512 0.68 and 0.90, at 1,024 1.80 and 0.90. Batch 512: 0.59 and 1.57,
0.82 and 1.82, 2.5 and 3.2, 9.4 and 6.2. No length between 512 and 1,024 bases was measured.
`python jobs/benchmark.py constants` repeats both.
"""


PART_BYTES = 1 << 20
"""Bytes of padded input that an FFT convolves at once on the CPU: with the spectrum and the inverse
they fill the second cache."""


def method_for(length: int, device: torch.device) -> Method:
    """Return the faster method of convolution.

    Args:
        length: Length of the input.
        device: Device that computes it.
    """
    return "toeplitz" if length <= CROSSOVER.get(device.type, 0) else "fft"


def prepare_filters(filters: Tensor, method: Method) -> Tensor:
    """Prepare filters for `convolve`; the result is worth keeping while they do not change.

    Args:
        filters: Taps in order of delay, shape (D, L), float32.
        method: Method of the convolution.

    Returns:
        Lower triangular Toeplitz matrices, shape (D, L, L), float32; or spectra, shape (D, F),
        complex64.
    """
    if method == "toeplitz":
        return toeplitz(filters)
    spectra: Tensor = torch.fft.rfft(filters, n=_fft_size(filters.shape[-1]))
    return spectra


def convolve(u: Tensor, prepared: Tensor, method: Method, positions: slice = ALL) -> Tensor:
    """Convolve with prepared filters.

    Args:
        u: Real input, shape (D, L, B); computed in float32 or better.
        prepared: Result of `prepare_filters` for the same L.
        method: Method that `prepared` was made for.
        positions: P of the L positions that are wanted; a Toeplitz product skips the others.

    Returns:
        Shape (D, P, B), with the dtype of `prepared`'s real part.

    Example:
        >>> u, taps = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[1.0, 10.0, 100.0]])
        >>> convolve(u, prepare_filters(taps, "toeplitz"), "toeplitz").flatten().tolist()
        [1.0, 12.0, 123.0]
    """
    with torch.autocast(u.device.type, enabled=False):
        if method == "toeplitz":
            return torch.bmm(prepared[:, positions], u.to(prepared.dtype))
        given = u.to(prepared.real.dtype), prepared
        if not torch.is_grad_enabled():  # a Function cannot tell, and would keep what it needs
            given = given[0].detach(), prepared.detach()
        mixed: Tensor = _SpectralConvolution.apply(*given, positions)  # type: ignore[no-untyped-call]
        return mixed


class _SpectralConvolution(torch.autograd.Function):
    """Compute irfft(rfft(u) * spectra), on the CPU in parts of channels that stay in the cache.

    autograd would send the gradient of a real transform through a complex one of the same size, and
    every step over all channels through memory.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, spectra: Tensor, positions: slice) -> Tensor:
        length, size = u.shape[1], _fft_size(u.shape[1])
        ctx.length, ctx.positions = length, positions
        mixed = torch.empty_like(u[:, positions])
        kept = spectra.new_empty(
            len(u) if ctx.needs_input_grad[1] else 0, u.shape[2], size // 2 + 1
        )
        for part, padded in _channels(u, size):
            # Along the last axis: the transposed copy costs less than strided transforms.
            padded[..., :length] = u[part].transpose(1, 2)
            spectrum = torch.fft.rfft(padded)
            if len(kept):
                kept[part] = spectrum
            inverse = torch.fft.irfft(spectrum.mul_(spectra[part, None]), n=size)
            mixed[part] = inverse[..., :length][..., positions].transpose(1, 2)
        ctx.save_for_backward(spectra, kept)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        spectra, kept = ctx.saved_tensors
        for_u, for_spectra, _ = ctx.needs_input_grad
        length, size = ctx.length, _fft_size(ctx.length)
        to_u = gradient.new_empty(len(gradient) if for_u else 0, length, gradient.shape[2])
        to_spectra = torch.zeros_like(spectra)
        for part, padded in _channels(gradient, size):
            padded[..., :length][..., ctx.positions] = gradient[part].transpose(1, 2)
            spectrum = torch.fft.rfft(padded)
            if for_spectra:
                torch.sum(kept[part].conj() * spectrum, 1, out=to_spectra[part])
            if for_u:
                back = torch.fft.irfft(spectrum.mul_(spectra[part, None].conj()), n=size)
                to_u[part] = back[..., :length].transpose(1, 2)
        # A real signal has every frequency twice, but for 0 and half the rate of an even size.
        to_spectra[:, 1 : size - size // 2] *= 2
        return to_u if for_u else None, to_spectra.div_(size) if for_spectra else None, None


def _channels(u: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield parts of the channels of (D, L, B), with zeros (part, B, size) that keep their tail."""
    channels, _, batch = u.shape
    bytes_each = max(1, batch * size * u.element_size())
    most = max(1, PART_BYTES // bytes_each) if u.device.type == "cpu" else channels
    zeros = u.new_zeros(min(most, channels), batch, size)
    for first in range(0, channels, most):
        part = slice(first, min(first + most, channels))
        yield part, zeros[: part.stop - part.start]


def toeplitz(filters: Tensor) -> Tensor:
    """Make the lower triangular matrices T[i, j] = h[i - j].

    Args:
        filters: Taps h in order of delay, shape (D, L).

    Returns:
        Shape (D, L, L).
    """
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
    """Return the least size with few prime factors for a linear convolution of `length` inputs."""
    needed = 2 * length - 1
    return min(odd << max(0, (-(-needed // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15))


def measure_crossover(
    device: str,
    lengths: Sequence[int] = (64, 128, 164, 256, 320, 384, 512),
    channels: int = 128,
    batch: int = 64,
    repeats: int = 5,
) -> dict[int, dict[Method, float]]:
    """Measure the seconds that a forward and backward convolution takes, by length and method.

    On the CPU they are seconds of processor time. The fastest repeat counts.

    Args:
        device: Device that computes, such as `cpu` or `cuda`.
        lengths: Lengths of the input.
        channels: Channels of the input.
        batch: Sequences of a batch.
        repeats: Times that each is measured, after one to warm up.
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
        finish(torch.device(device))
        return time.perf_counter()
    return time.process_time()  # on a shared machine the wall clock shows the neighbours
