"""Attribution and the k-mer reduction."""

from __future__ import annotations

from pathlib import Path

import captum.attr
import numpy as np
import torch
from torch import Tensor

from benchmarks.comparison import Comparison
from benchmarks.model import flop_per_window, matrix_products, new_model, random_windows
from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.model.window import WindowModel


def benchmark_attribution(folder: Path) -> list[Comparison]:
    """Against captum on the same model: one window at a time, as published, and in batches."""
    model = new_model()
    model.threshold = 0.0  # every labelled base counts as a true positive
    windows = random_windows(16)
    peer = {
        name: lambda rows=rows: captum_gradients(model, windows, steps=50, rows=rows)
        for name, rows in (("one window at a time", 1), ("batched", 16))
    }
    settings = AttributionSettings(methods=("ig",), baseline="zero", steps=50, tolerance=None)
    exact = AttributionSettings(methods=("ig",))
    noisy = AttributionSettings(methods=("smoothgrad",))
    flop = 16 * 50 * flop_per_window(model, 1.0)
    bases = np.random.default_rng(0).integers(0, 4, (20_000, 1_000), np.uint8)
    scores = np.ones(bases.shape, np.float32)
    return [
        Comparison(
            "Integrated Gradients, 50 steps towards the zero embedding",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, settings),
                "captum, one window at a time": peer["one window at a time"],
                "captum, batched": peer["batched"],
                "limit: matrix product": matrix_products(flop),
            },
        ),
        Comparison(
            f"Integrated Gradients, default (within {exact.tolerance}, from a shuffled sequence)",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, exact),
                "captum, one window at a time, 50 steps": peer["one window at a time"],
            },
        ),
        Comparison(
            "SmoothGrad, 50 copies",
            "windows/s",
            16,
            {
                "ours": lambda: attribute_windows(model, windows, noisy),
                "captum, one window at a time": lambda: captum_noise(model, windows),
                "limit: matrix product": matrix_products(flop),
            },
        ),
        Comparison(
            "k-mer reduction, k = 5",
            "million k-mers/s",
            bases.shape[0] * (bases.shape[1] - 4) / 1e6,
            {
                "ours": lambda: fold_kmers(bases, scores, KmerConfig(k=5)),
                "limit: one bincount": lambda: np.bincount(bases.ravel(), scores.ravel()),
            },
        ),
    ]


def positive_logits(model: WindowModel, embeddings: Tensor) -> Tensor:
    """(B,) sum of the positive logits over the bases that `random_windows` labels."""
    return model.strand_logits(embeddings, 0)[:, 40:60, 1].sum(1)


def captum_gradients(model: WindowModel, windows: Windows, *, steps: int, rows: int) -> None:
    """Algorithm 4 with captum, `rows` windows at once."""
    method = captum.attr.IntegratedGradients(lambda e: positive_logits(model, e))
    for first in range(0, len(windows.window_id), rows):
        tokens = torch.from_numpy(windows.tokens[first : first + rows])
        embeddings = model.embed(model.strand_tokens(tokens)[0]).detach()
        method.attribute(
            embeddings,
            torch.zeros_like(embeddings),
            n_steps=steps,
            return_convergence_delta=True,
            internal_batch_size=None if rows == 1 else 64,
        )


def captum_noise(model: WindowModel, windows: Windows) -> None:
    """Algorithm 5 with captum: NoiseTunnel over Saliency, 50 copies, 10 at a time."""
    saliency = captum.attr.Saliency(lambda e: positive_logits(model, e))
    method = captum.attr.NoiseTunnel(saliency)
    for row in range(len(windows.window_id)):
        tokens = torch.from_numpy(windows.tokens[row : row + 1])
        embeddings = model.embed(model.strand_tokens(tokens)[0]).detach()
        method.attribute(
            embeddings, nt_samples=50, nt_samples_batch_size=10, nt_type="smoothgrad", stdevs=0.1
        )
