"""The table of attribution methods.  A new one is one function and one entry.

A gradient method takes the gradient of a window's target at points of embedding space: on the path
from a baseline to the window or at the window itself, and there with noise or without.  Its
function makes one number per base of a gradient; the engine packs the points into batches, runs the
model, and takes the integral over the path and the mean over the noise.

Write x for the input embeddings of a window, x' for those of its baseline and f for the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.settings import AttributionSettings

_SHUFFLE, _NOISE = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one pass through the model works on: R points, each of one window."""

    inputs: Tensor
    """(R, T, d) float32 embeddings of the windows' tokens, x."""
    noise: Tensor
    """(R, T, d) float32, what a method that takes noise adds to x; () zero for the others."""
    baseline: Tensor
    """(R, T, d) float32 embeddings of their baselines, x'."""
    bases: Tensor
    """(4, d) float32 embeddings of A, C, G and T."""


class Score(Protocol):
    """One number for each position, (R, T), of gradients (R, T, d) of the targets."""

    def __call__(self, gradient: Tensor, rows: Rows, settings: AttributionSettings) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    title: str
    """Name in text."""
    score: Score | None = None
    """Of a gradient method."""
    path: bool = False
    """Scores are integrated from the baseline, so that those of a window sum to f(x) - f(x')."""
    noisy: bool = False
    """Scores are the mean over `samples` noisy copies of the window."""
    substitutes: bool = False
    """Scores are what the target loses as bases are substituted, one after the other."""

    def copies(self, settings: AttributionSettings) -> int:
        """Noisy copies of a window, or shuffled baselines, that its scores are averaged over."""
        shuffles = settings.shuffles if settings.baseline == "shuffle" else 1
        return max(settings.samples * self.noisy, shuffles * self.path, 1)

    @property
    def scores_bases(self) -> bool:
        """Whether there are scores of bases; else k-mers are counted only."""
        return self.score is not None or self.substitutes


def along_path(gradient: Tensor, rows: Rows, settings: AttributionSettings) -> Tensor:
    """(x - x') times the gradient, summed over dimensions.

    Source: Sundararajan, Taly & Yan 2017; Algorithm 4 of the study, and with noise Algorithm 3.
    """
    return (gradient * (rows.inputs + rows.noise - rows.baseline)).sum(-1)


def above_usual_base(gradient: Tensor, rows: Rows, settings: AttributionSettings) -> Tensor:
    """The derivative along x minus the mean embedding of the four bases: to first order, what the
    base adds over a base drawn at random.

    The plain sum over dimensions is zero at every base behind a LayerNorm, which removes what all
    dimensions share; and x itself holds what all bases have in common.

    Source: the gradient correction of Majdandzic et al. 2023 (doi:10.1186/s13059-023-02956-3)
    carried over to embeddings.
    """
    return (gradient * (rows.inputs - rows.bases.mean(0))).sum(-1)


def smoothed(gradient: Tensor, rows: Rows, settings: AttributionSettings) -> Tensor:
    """`above_usual_base`, or with `smoothgrad="absolute"` the sum of absolute values, as published.

    Source: Smilkov et al. 2017; Algorithm 5 of the study.
    """
    if settings.smoothgrad == "absolute":
        return gradient.abs().sum(-1)
    return above_usual_base(gradient, rows, settings)


METHODS: dict[str, Method] = {
    "ig": Method(title="Integrated Gradients", score=along_path, path=True),
    "noisy_ig": Method(title="noisy Integrated Gradients", score=along_path, path=True, noisy=True),
    "smoothgrad": Method(title="SmoothGrad", score=smoothed, noisy=True),
    "input_x_gradient": Method(title="input x gradient", score=above_usual_base),
    "ism": Method(title="in-silico mutagenesis", substitutes=True),
    "tp": Method(title="true-positive importance"),
}


def draw_noise(
    keys: NDArray[np.uint64],
    strand: int,
    copy: NDArray[np.int64],
    shape: tuple[int, int],
    seed: int,
) -> NDArray[np.float32]:
    """(R, T, d) standard normal noise of copies of sequences, whatever stands beside them; that of
    fewer positions T is the beginning of that of more."""
    return np.stack(
        [
            random_stream(seed, _NOISE, key, strand, number).standard_normal(shape, np.float32)
            for key, number in zip(keys.tolist(), copy.tolist(), strict=True)
        ]
    )


def noise_scale(bases: Tensor, settings: AttributionSettings) -> float:
    """Standard deviation of the noise, in units of the embeddings."""
    if settings.noise_unit == "absolute":
        return settings.noise
    return settings.noise * float((bases - bases.mean(0)).square().mean().sqrt())


def shuffle_generator(seed: int, key: int, number: int) -> np.random.Generator:
    """Source of one of a sequence's shuffled baselines, from 0."""
    return random_stream(seed, _SHUFFLE, key, number)


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """A random stream of its own for every key, whatever was drawn before from others."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))
