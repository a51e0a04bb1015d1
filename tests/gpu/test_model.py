"""Models compute on a GPU what they compute on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hyena_ray.model.build import build_model
from hyena_ray.model.convolution import Method, convolve, prepare_filters
from hyena_ray.model.devices import arithmetic, check_precision, default_device, upload
from hyena_ray.model.filters import HyenaFilter
from hyena_ray.model.replay import EAGER, Replay
from hyena_ray.model.settings import (
    PRETRAINABLE,
    Architecture,
    LoraSettings,
    ModelSettings,
    Precision,
    Readout,
    Targets,
)
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import TASKS

CUDA = torch.device("cuda")


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return ||found - expected|| / ||expected||, in float64 on the CPU."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm())


def model_of(
    architecture: Architecture = "hyenadna", targets: Targets | None = None
) -> WindowModel:
    lora = LoraSettings() if targets is None else LoraSettings(targets=targets)
    settings = ModelSettings(architecture=architecture, d_model=32, n_layer=2)
    readout = Readout(window=100, flank=32, lookahead=32, strands="both")
    return build_model(settings, readout, lora, TASKS["zdna"], seed=0).eval()


def tokens_of(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(7, 12, (rows, 164), generator=generator)


def test_a_process_computes_on_its_gpu() -> None:
    assert default_device() == CUDA
    check_precision("tf32", CUDA, "precision")
    check_precision("bfloat16", CUDA, "precision")


@pytest.mark.parametrize("architecture", [*PRETRAINABLE, "dilated_cnn", "bilstm"])
def test_logits_are_those_of_the_cpu(architecture: Architecture) -> None:
    model, tokens = model_of(architecture), tokens_of(64)
    with torch.no_grad():
        expected = model.predict(tokens)
        found = model.to(CUDA).predict(tokens.to(CUDA))
    assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("targets", ["mixer", "ffn", "mixer+ffn", "short_filter", "embeddings"])
def test_adapters_compute_the_same_too(targets: Targets) -> None:
    model, tokens = model_of(targets=targets), tokens_of(16)
    with torch.no_grad():
        expected = model.predict(tokens)
        assert relative_error(model.to(CUDA).predict(tokens.to(CUDA)), expected) < 1e-5


def test_filters_are_those_of_the_cpu() -> None:
    model = model_of()
    filters = [module for module in model.modules() if isinstance(module, HyenaFilter)]
    assert filters
    with torch.no_grad():
        expected = [module(164) for module in filters]
        model.to(CUDA)
        for module, taps in zip(filters, expected, strict=True):
            assert relative_error(module(164), taps) < 1e-5


@pytest.mark.parametrize("method", ["toeplitz", "fft"])
@pytest.mark.parametrize("length", [16, 164, 1024])
def test_both_convolutions_and_their_gradients_are_those_of_float64(
    method: Method, length: int
) -> None:
    generator = torch.Generator().manual_seed(length)
    u = torch.randn(8, length, 5, generator=generator)
    taps = torch.randn(8, length, generator=generator)
    results = []
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        own = [tensor.to(device, dtype).requires_grad_() for tensor in (u, taps)]
        mixed = convolve(own[0], prepare_filters(own[1], method), method)
        weights = torch.linspace(-1, 1, mixed.numel(), dtype=dtype, device=device)
        (mixed.flatten() * weights).sum().backward()
        results.append([mixed, *(tensor.grad for tensor in own)])
    for expected, found in zip(*results, strict=True):
        assert expected is not None
        assert found is not None
        assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-6), ("tf32", 3e-3)])
def test_products_are_as_exact_as_their_name_says(precision: Precision, bound: float) -> None:
    a, b = (torch.randn(512, 512, dtype=torch.float64) for _ in range(2))
    with arithmetic(precision):
        product = a.float().to(CUDA) @ b.float().to(CUDA)
    error = relative_error(product, a @ b)
    assert error < bound
    assert (precision == "tf32") == (error > 1e-5)


def test_recorded_work_gives_the_bits_of_the_work() -> None:
    model = model_of().to(CUDA).requires_grad_(False)
    replay = Replay(CUDA)

    def work(points: Tensor) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            values = model.strand_logits(points, 1)[..., 1].sum(1)
            return values.detach(), torch.autograd.grad(values.sum(), points)[0]

    for number in range(EAGER + 4):
        points = torch.randn(6, 164, 32, generator=torch.Generator().manual_seed(number)).to(CUDA)
        for found, expected in zip(replay("pass", work, points), work(points), strict=True):
            assert torch.equal(found, expected)
    assert replay.graphs == 1


def test_uploads_take_their_turn_among_queued_work() -> None:
    total = torch.zeros(1 << 20, device=CUDA)
    for number in range(50):
        total += upload(torch.full((1 << 20,), float(number)).numpy(), CUDA)
    assert total.min().item() == total.max().item() == sum(range(50))
