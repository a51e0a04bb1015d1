"""Attribution and the k-mer reduction."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import torch
from torch import Tensor

from benchmarks.comparison import Comparison
from benchmarks.model import new_model, peak_products, random_windows
from benchmarks.operations import GRADIENT, flop_per_position
from benchmarks.published import PlainHyenaDNA
from hyena_ray.attribution.engine import attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, fold_kmers
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows

LENGTHS = (100, 256, 1024)
STEPS = 50
"""Number of integration nodes and of noisy copies in the original work."""
REGION = 20
"""Length of a window's labelled run in bases: the mean of Z-DNA's test windows is 19."""


def benchmark_attribution(folder: Path) -> list[Comparison]:
    """Compare attribution with the published algorithms, by captum, singly and in batches.

    Captum's model has the published design and the same weights.
    """
    lengths = (of_length(length, windows=3200 // length) for length in LENGTHS)
    return [*lengths, *(of_passes(length) for length in LENGTHS), of_kmers()]


def of_length(length: int, windows: int) -> Comparison:
    """Compare the methods on windows of one length, without flanks, on one strand."""
    model, given = new_model(0, length), with_regions(random_windows(windows, 0, length))
    model.threshold = 0.0  # every labelled base counts as a true positive
    plain = PlainHyenaDNA(model.classifier)
    published = {"baseline": "zero", "steps": STEPS, "tolerance": None, "smoothgrad": "absolute"}
    settings: dict[str, dict[str, Any]] = {
        "Integrated Gradients within 0.001, one shuffle": {"methods": ("ig",), "shuffles": 1},
        "the same, four shuffles": {"methods": ("ig",)},
        f"Integrated Gradients, {STEPS} nodes": {"methods": ("ig",), **published},
        f"SmoothGrad, {STEPS} copies": {"methods": ("smoothgrad",), **published},
    }
    ours = {
        f"ours: {name}": AttributionSettings().updated(values, "benchmark")
        for name, values in settings.items()
    }
    flop = windows * STEPS * length * GRADIENT * flop_per_position(model)
    return Comparison(
        f"attribution of windows of {length} bases",
        "windows/s",
        windows,
        {
            **{
                name: partial(attribute_windows, model, given, chosen)
                for name, chosen in ours.items()
            },
            "published, Integrated Gradients": lambda: captum_gradients(plain, given, rows=1),
            "published, SmoothGrad": lambda: captum_noise(plain, given, rows=1, copies=10),
            "captum in batches, Integrated Gradients": lambda: captum_gradients(
                plain, given, rows=windows, points=64
            ),
            f"limit: matrix products of {STEPS} passes": peak_products(flop),
        },
    )


def of_passes(length: int) -> Comparison:
    """Compare a forward and backward pass, with all labels read, with the matrix-product peak."""
    model, rows = new_model(0, length).eval().requires_grad_(False), 4096 // length
    points = torch.randn(rows, length, model.classifier.config.d_model, requires_grad=True)

    def ours() -> None:
        for _ in range(10):
            logits = model.strand_logits(points, 0)
            torch.autograd.grad(logits[..., 1].sum(), points)

    return Comparison(
        f"passes of {rows} windows of {length} bases, forward and back",
        "windows/s",
        10 * rows,
        {
            "ours": ours,
            "limit: matrix products": peak_products(
                10 * rows * length * GRADIENT * flop_per_position(model)
            ),
        },
    )


def with_regions(windows: Windows) -> Windows:
    """Return random windows, each with one region at a random place."""
    labels = np.zeros_like(windows.labels)
    first = np.random.default_rng(1).integers(0, labels.shape[1] - REGION + 1, len(labels))
    labels[np.arange(len(labels))[:, None], first[:, None] + np.arange(REGION)] = 1
    return windows._replace(labels=labels)


def of_kmers() -> Comparison:
    """Time the k-mer reduction of 20 million bases."""
    bases = np.random.default_rng(0).integers(0, 4, (200_000, 100), np.uint8)
    scores = np.ones(bases.shape, np.float32)
    return Comparison(
        "k-mer reduction, k = 5",
        "million k-mers/s",
        bases.shape[0] * (bases.shape[1] - 4) / 1e6,
        {
            "ours": lambda: fold_kmers(bases, scores, KmerConfig(k=5)),
            "limit: one bincount": lambda: np.bincount(bases.ravel(), scores.ravel()),
        },
    )


def positive_logits(plain: PlainHyenaDNA, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the positive logits over the labelled bases, shape (B,)."""
    return (plain.of_embeddings(embeddings)[..., 1] * labels).sum(1)


def parts(windows: Windows, rows: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens and labels of `rows` windows at a time, on a device."""
    for first in range(0, len(windows.window_id), rows):
        tokens, labels = windows.tokens[first : first + rows], windows.labels[first : first + rows]
        yield (
            torch.from_numpy(tokens).long().to(device),
            torch.from_numpy(labels).float().to(device),
        )


def captum_gradients(
    plain: PlainHyenaDNA, windows: Windows, *, rows: int, points: int | None = None
) -> None:
    """Run Algorithm 4 of the original work with captum.

    Args:
        plain: Model, on the device of the benchmark.
        windows: Windows to attribute.
        rows: Windows that are attributed together.
        points: Points on the paths of these windows in one pass; None takes all.
    """
    method = captum.attr.IntegratedGradients(lambda e, labels: positive_logits(plain, e, labels))
    for tokens, labels in parts(windows, rows, plain.device):
        embeddings = plain.embeddings(tokens).detach()
        method.attribute(
            embeddings,
            torch.zeros_like(embeddings),
            additional_forward_args=labels,
            n_steps=STEPS,
            return_convergence_delta=True,
            internal_batch_size=points,
        )


def captum_noise(plain: PlainHyenaDNA, windows: Windows, *, rows: int, copies: int) -> None:
    """Run Algorithm 5 of the original work with captum.

    Args:
        plain: Model, on the device of the benchmark.
        windows: Windows to attribute.
        rows: Windows that are attributed together.
        copies: Noisy copies of each window in one pass.
    """
    saliency = captum.attr.Saliency(lambda e, labels: positive_logits(plain, e, labels))
    method = captum.attr.NoiseTunnel(saliency)
    for tokens, labels in parts(windows, rows, plain.device):
        embeddings = plain.embeddings(tokens).detach()
        method.attribute(
            embeddings,
            additional_forward_args=labels,
            nt_samples=STEPS,
            nt_samples_batch_size=copies,
            nt_type="smoothgrad",
            stdevs=0.1,
        )
