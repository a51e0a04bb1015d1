"""Two ways to convolve, held to each other and to the definition."""

from __future__ import annotations

from typing import get_args
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hyena_ray.model import convolution
from hyena_ray.model.convolution import (
    CROSSOVER,
    Method,
    convolve,
    measure_crossover,
    method_for,
    prepare_filters,
    toeplitz,
)
from hyena_ray.model.operator import ChannelMajorLinear, short_convolution


@given(
    channels=st.integers(1, 5),
    length=st.integers(1, 70),
    batch=st.integers(1, 4),
    ends=st.tuples(st.integers(0, 70), st.integers(0, 70)),
    of_u=st.booleans(),
    at_once=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_both_methods_agree_in_values_and_gradients(
    channels: int,
    length: int,
    batch: int,
    ends: tuple[int, int],
    of_u: bool,
    at_once: int,
    seed: int,
) -> None:
    """Whichever positions are wanted, whatever needs a gradient, however many channels at once."""
    positions = slice(*sorted(min(end, length) for end in ends))
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(channels, length, batch, generator=generator, dtype=torch.float64)
    filters = torch.randn(channels, length, generator=generator, dtype=torch.float64)
    weight = torch.randn(channels, length, batch, generator=generator, dtype=torch.float64)
    results = []
    for method in get_args(Method):
        u, filters = u.detach().requires_grad_(of_u), filters.detach().requires_grad_()
        wanted = (u, filters) if of_u else (filters,)
        with patch.object(convolution, "PART_BYTES", at_once * batch * 8 * length):
            y = convolve(u, prepare_filters(filters, method), method, positions)
            loss = (y * weight[:, positions]).sum()
            results.append((y, *torch.autograd.grad(loss, wanted)))
            with torch.no_grad():
                again = convolve(u, prepare_filters(filters, method), method, positions)
            assert torch.equal(again, y)
    for by_toeplitz, by_fft in zip(*results, strict=True):
        assert torch.allclose(by_toeplitz, by_fft, atol=1e-10)


def test_frozen_filters_are_convolved_with_and_take_no_gradient() -> None:
    u, filters = torch.randn(2, 9, 3, dtype=torch.float64), torch.randn(2, 9, dtype=torch.float64)
    spectra = prepare_filters(filters, "fft")
    assert torch.autograd.gradcheck(lambda u: convolve(u, spectra, "fft"), u.requires_grad_())


@pytest.mark.parametrize("method", ["toeplitz", "fft"])
def test_a_convolution_is_a_sum_over_delays(method: str) -> None:
    u, filters = torch.randn(2, 9, 3), torch.randn(2, 9)
    expected = torch.zeros_like(u)
    for t in range(9):
        for delay in range(t + 1):
            expected[:, t] += filters[:, delay, None] * u[:, t - delay]
    found = convolve(u, prepare_filters(filters, method), method)  # type: ignore[arg-type]
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_the_gradient_of_a_toeplitz_matrix_is_summed_along_its_diagonals(length: int) -> None:
    filters = torch.randn(3, length, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(toeplitz, filters)


@pytest.mark.parametrize("method", ["toeplitz", "fft"])
def test_low_precision_input_is_convolved_in_float32(method: str) -> None:
    u, filters = torch.randn(2, 33, 3).bfloat16(), torch.randn(2, 33)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = convolve(u, prepare_filters(filters, method), method)  # type: ignore[arg-type]
    exact = convolve(u.double(), prepare_filters(filters.double(), method), method)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, atol=1e-4)


def test_the_method_follows_the_crossover_of_the_device() -> None:
    longest = CROSSOVER["cpu"]
    assert method_for(longest, torch.device("cpu")) == "toeplitz"
    assert method_for(longest + 1, torch.device("cpu")) == "fft"


def test_the_crossover_can_be_measured() -> None:
    times = measure_crossover("cpu", lengths=(8, 16), channels=2, batch=2, repeats=1)
    assert list(times) == [8, 16]
    assert all(0 < seconds < 5 for by_method in times.values() for seconds in by_method.values())


@pytest.mark.parametrize(("length", "taps"), [(1, 3), (2, 3), (12, 3), (12, 1), (3, 5)])
def test_the_short_convolution_is_a_causal_conv1d(length: int, taps: int) -> None:
    u = torch.randn(4, length, 3, dtype=torch.float64, requires_grad=True)
    conv = nn.Conv1d(4, 4, taps, groups=4, dtype=torch.float64)
    found = short_convolution(u, *conv.parameters())
    padded = F.pad(u.permute(2, 0, 1), (taps - 1, 0))
    assert torch.allclose(found, conv(padded).permute(1, 2, 0))
    parameters = tuple(p.detach().requires_grad_() for p in conv.parameters())
    assert torch.autograd.gradcheck(short_convolution, (u, *parameters))


def test_a_channel_major_linear_is_a_linear_with_another_layout() -> None:
    ours = ChannelMajorLinear(5, 7)
    plain = nn.Linear(5, 7)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(3, 2, 5)
    assert torch.allclose(ours(x), plain(x), atol=1e-6)
    assert ours(x).permute(2, 0, 1).is_contiguous()
