"""Attribution methods. A new gradient method is one function and one entry of `METHODS`.

A gradient method evaluates the gradient of a window's target at points of embedding space: on the
path from a baseline to the window or at the window itself, with or without noise. Its function
reduces a gradient to one score per base. The engine packs the points into batches, runs the model,
and integrates over the path or averages over the noise. In-silico saturation mutagenesis needs no
gradient: it substitutes one base after the other.

In the descriptions below, x are the input embeddings of a window, x' those of its baseline, and f
is the target. This module imports no torch, so that pages and messages can name methods at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hyena_ray.attribution.settings import AttributionSettings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PassInputs:
    """Inputs of one pass through the model: R points, each of which belongs to a window."""

    inputs: Tensor
    """Embeddings x of the windows' tokens, shape (R, T, d), float32."""
    noise: Tensor
    """Noise that is added to x, shape (R, T, d), float32; a zero of shape () without noise."""
    baseline: Tensor
    """Embeddings x' of the windows' baselines, shape (R, T, d), float32."""
    mean_base: Tensor
    """Mean embedding of A, C, G and T, and that of the mean tracks of the window where the model
    reads tracks; shape (d,) or (R, 1, d), float32."""


class Score(Protocol):
    """Reduce gradients of the targets, shape (R, T, d), to scores of the positions, (R, T)."""

    def __call__(
        self, gradient: Tensor, point: PassInputs, settings: AttributionSettings
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One attribution method."""

    title: str
    """Name of the method in text."""
    score: Score | None = None
    """Reduction of a gradient to scores, of a gradient method."""
    path: bool = False
    """Scores are integrated from a baseline, so that those of a window sum to f(x) - f(x')."""
    noisy: bool = False
    """Scores are averaged over `samples` noisy copies of the window."""
    substitutes: bool = False
    """Scores are the loss of the target as bases are substituted, one after the other."""

    def copies(self, settings: AttributionSettings) -> int:
        """Return the number of noisy copies or baselines that a window's scores are averaged over.

        Args:
            settings: `samples`, `shuffles` and `baseline` are read.
        """
        shuffles = settings.shuffles if settings.baseline == "shuffle" else 1
        return max(settings.samples * self.noisy, shuffles * self.path, 1)

    @property
    def scores_bases(self) -> bool:
        """Whether the method scores bases; otherwise it only counts k-mers."""
        return self.score is not None or self.substitutes


def score_along_path(gradient: Tensor, point: PassInputs, settings: AttributionSettings) -> Tensor:
    """Multiply the gradient by x - x', and sum over dimensions.

    Args:
        gradient: Gradients of the targets, shape (R, T, d).
        point: Inputs of the pass.
        settings: Not read.

    Returns:
        Scores, shape (R, T).

    Reference: Sundararajan, Taly & Yan 2017; Bokhyan 2025, Algorithm 4, and with noise Algorithm 3.
    """
    return (gradient * (point.inputs + point.noise - point.baseline)).sum(-1)


def score_above_mean_base(
    gradient: Tensor, point: PassInputs, settings: AttributionSettings
) -> Tensor:
    """Multiply the gradient by x minus the embedding of a mean base, and sum.

    To first order this is what a base adds in comparison with a base drawn at random. The plain sum
    of the gradient would be zero at every base behind a LayerNorm, which removes what all
    dimensions share, and x itself contains what all bases have in common.

    Args:
        gradient: Gradients of the targets, shape (R, T, d).
        point: Inputs of the pass.
        settings: Not read.

    Returns:
        Scores, shape (R, T).

    Reference: Majdandzic et al. 2023 (doi:10.1186/s13059-023-02956-3), whose correction of
    gradients is applied to embeddings here.
    """
    return (gradient * (point.inputs - point.mean_base)).sum(-1)


def score_smoothgrad(gradient: Tensor, point: PassInputs, settings: AttributionSettings) -> Tensor:
    """Score as `score_above_mean_base`, or by the sum of absolute values as published.

    Args:
        gradient: Gradients of the targets, shape (R, T, d).
        point: Inputs of the pass.
        settings: `smoothgrad` is read.

    Returns:
        Scores, shape (R, T).

    Reference: Smilkov et al. 2017; Bokhyan 2025, Algorithm 5.
    """
    if settings.smoothgrad == "absolute":
        return gradient.abs().sum(-1)
    return score_above_mean_base(gradient, point, settings)


METHODS: dict[str, Method] = {
    "ig": Method(title="Integrated Gradients", score=score_along_path, path=True),
    "noisy_ig": Method(
        title="noisy Integrated Gradients", score=score_along_path, path=True, noisy=True
    ),
    "smoothgrad": Method(title="SmoothGrad", score=score_smoothgrad, noisy=True),
    "input_x_gradient": Method(title="input x gradient", score=score_above_mean_base),
    "ism": Method(title="in-silico mutagenesis", substitutes=True),
    "tp": Method(title="true-positive importance"),
}
"""All methods by name."""
