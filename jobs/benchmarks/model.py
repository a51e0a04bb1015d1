"""The convolution, and one step of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.comparison import Comparison, Run
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.build import build_model
from hyena_ray.model.convolution import convolve, prepare_filters
from hyena_ray.model.lora import LoraSettings
from hyena_ray.model.window import ModelSettings, Readout, WindowModel
from hyena_ray.training.losses import weighted_cross_entropy


def new_model(strands: str = "forward") -> WindowModel:
    """tiny-1k from random weights, read at 100 bases."""
    readout = Readout(window=100, flank=32, lookahead=32, strands=strands)  # type: ignore[arg-type]
    return build_model(ModelSettings(), readout, LoraSettings(), num_labels=2, seed=0)


def random_windows(count: int, labelled: int = 20) -> Windows:
    rng = np.random.default_rng(0)
    ids = np.arange(count)
    tokens = rng.integers(7, 11, (count, 164), np.uint8)
    labels = np.zeros((count, 100), np.int8)
    labels[:, 40 : 40 + labelled] = 1
    return Windows(ids, np.full(count, "c"), ids * 100, tokens, labels)


def matrix_products(flop: float) -> Run:
    """As many products of 1,024 x 1,024 matrices as make up `flop`."""
    a = torch.randn(1024, 1024)

    def run() -> None:
        for _ in range(max(1, round(flop / (2 * 1024**3)))):
            a @ a

    return run


def flop_per_window(model: WindowModel, backward: float) -> float:
    """Multiply-adds of the weights alone, twice for the forward pass and `backward` times that."""
    weights = sum(p.numel() for name, p in model.named_parameters() if "filter_fn" not in name)
    length = model.left + model.readout.window + model.right
    return 2 * weights * length * (1 + backward)


def benchmark_convolution(folder: Path) -> list[Comparison]:
    """Toeplitz against FFT, forward and backward, at tiny-1k's width and 32 windows."""
    found = []
    for length in (64, 128, 164, 256, 512, 1024):
        u = torch.randn(128, length, 32, requires_grad=True)
        filters = torch.randn(128, length, requires_grad=True)

        def run(method: str, u: Tensor = u, filters: Tensor = filters) -> None:
            prepared = prepare_filters(filters, method)  # type: ignore[arg-type]
            torch.autograd.grad(convolve(u, prepared, method).sum(), [u, filters])  # type: ignore[arg-type]

        found.append(
            Comparison(
                f"convolution of {length} bases",
                "windows/s",
                32,
                {"toeplitz": lambda run=run: run("toeplitz"), "fft": lambda run=run: run("fft")},
            )
        )
    return found


def benchmark_training(folder: Path) -> list[Comparison]:
    """One optimiser step; the limit does only the weights' matrix products, at peak."""
    model, windows, batch = new_model(), random_windows(32), 32
    tokens, labels = torch.from_numpy(windows.tokens), torch.from_numpy(windows.labels)
    weights = torch.tensor([0.7, 2.0])

    def ours() -> None:
        model.zero_grad()
        weighted_cross_entropy(model(tokens), labels, weights).mean.backward()

    return [
        Comparison(
            "training, forward and backward of 32 windows of 164 bases",
            "windows/s",
            batch,
            {
                "ours": ours,
                "limit: matrix product": matrix_products(batch * flop_per_window(model, 2.0)),
            },
        )
    ]
