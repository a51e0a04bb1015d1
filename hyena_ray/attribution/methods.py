"""The table of attribution methods.  A new one is one function and one entry.

A gradient method evaluates the gradient of a window's target at several points of embedding space.
Its function says where they lie and what each contributes to the score of every base; the engine
packs the rows, runs the model, and takes their integral over a path or their mean.

Write x for the input embeddings of a window, x' for those of its baseline and f for the target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.settings import AttributionSettings

Gradient = Callable[[Tensor], Tensor]
"""Points (R, T, d) -> gradients of every row's target there, (R, T, d)."""

_SHUFFLE, _NOISE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one pass through the model works on: R rows, each one point of one window."""

    point: NDArray[np.float64] | NDArray[np.int64]
    """(R,) place on the path from the baseline, 0, to the window, 1; or number of a noisy copy."""
    window_id: NDArray[np.int64]
    """(R,)"""
    strand: int
    inputs: Tensor
    """(R, T, d) float32 embeddings of the windows' tokens, x."""
    baseline: Tensor
    """(R, T, d) float32 embeddings of their baselines, x'."""
    bases: Tensor
    """(4, d) float32 embeddings of A, C, G and T."""


class Contribution(Protocol):
    """What every row contributes to the scores of its window's bases, (R, T)."""

    def __call__(self, rows: Rows, gradient: Gradient, settings: AttributionSettings) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    title: str
    """Name in text."""
    contribution: Contribution | None = None
    """None for a method without gradients, which has no per-base scores."""
    from_baseline: bool = False
    """Contributions are integrated on the path from the baseline, and the scores of a window sum to
    f(x) - f(x'); else their mean over `samples` copies is taken."""


def integrated_gradients(rows: Rows, gradient: Gradient, settings: AttributionSettings) -> Tensor:
    """(x - x') times the gradient at a point of the straight line from x' to x.

    Source: Sundararajan, Taly & Yan 2017; Algorithm 4 of the study.
    """
    place = torch.from_numpy(rows.point.astype(np.float32)).to(rows.inputs.device)[:, None, None]
    step = rows.inputs - rows.baseline
    return (gradient(rows.baseline + place * step) * step).sum(-1)


def smoothgrad(rows: Rows, gradient: Gradient, settings: AttributionSettings) -> Tensor:
    """The gradient under Gaussian noise on the embeddings, made one number per base.

    `absolute` sums the gradient's absolute values, as published.  `signed` cannot simply sum them:
    every use of the residual stream passes a LayerNorm, which removes what all dimensions share, so
    that sum is zero at every base.  It takes the derivative along x minus the mean embedding of
    the four bases instead: to first order, what the base adds over a base drawn at random.

    Source: Smilkov et al. 2017; Algorithm 5 of the study.  `signed` is the gradient correction of
    Majdandzic et al. 2023 (doi:10.1186/s13059-023-02956-3) carried over to embeddings.
    """
    centre = rows.bases.mean(0)
    scale = settings.noise
    if settings.noise_unit == "spread":
        scale *= float((rows.bases - centre).square().mean().sqrt())
    noise = np.stack(
        [
            generator_of(settings.seed, _NOISE, identity, rows.strand, point).standard_normal(
                rows.inputs.shape[1:], np.float32
            )
            for identity, point in zip(rows.window_id.tolist(), rows.point.tolist(), strict=True)
        ]
    )
    gradients = gradient(rows.inputs + scale * torch.from_numpy(noise).to(rows.inputs.device))
    if settings.smoothgrad == "absolute":
        return gradients.abs().sum(-1)
    return (gradients * (rows.inputs - centre)).sum(-1)


METHODS: dict[str, Method] = {
    "ig": Method(
        title="Integrated Gradients",
        contribution=integrated_gradients,
        from_baseline=True,
    ),
    "smoothgrad": Method(title="SmoothGrad", contribution=smoothgrad),
    "tp": Method(title="true-positive importance"),
}


def shuffle_generator(seed: int, window_id: int) -> np.random.Generator:
    """Source of a window's shuffled baseline."""
    return generator_of(seed, _SHUFFLE, window_id)


def generator_of(seed: int, *key: int) -> np.random.Generator:
    """A random stream of its own for every key, whatever was drawn before from others."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))
