"""Baselines that are fitted to all training bases at once, instead of by steps along a gradient.

Such a model measures a few features around each base. A fit reads the training windows once and
hands the features of all bases to a solver. Where something cannot be fitted, such as the lengths
of windows, several fits are made, each with another candidate, and validation chooses one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.dataset.tokens import FIRST_BASE, IGNORED
from hyena_ray.errors import InputError
from hyena_ray.model.baseline_models import OTHER, LetterBaseline
from hyena_ray.model.classifier import ClassifierOutput
from hyena_ray.model.devices import model_device
from hyena_ray.model.input_tracks import TRACKS, track_channels

Scalar = TypeVar("Scalar", bound=np.generic)

SIGNAL_RADII = (50, 512)
"""Bases on each side over which signal tracks are averaged."""
_UNITS = 1 << 20
"""Parts of a standard deviation that the values of tracks are rounded to."""
_ROWS = 1 << 15
"""Bases whose loss is computed at once."""


class FittedBaseline(LetterBaseline):
    """Features of a base, measured on the CPU, and a score of them that is fitted.

    `score` maps features (..., F) to the logit of class 1, (..., 1).
    """

    def build(self, config: Any) -> None:
        self.config = config
        if config.num_labels != 2:
            raise InputError(
                "config: num_labels", config.num_labels, f"{config.model_type} has two", "set 2"
            )
        if config.pooling is not None:
            raise InputError(
                "config: pooling", config.pooling, f"{config.model_type} labels bases", "drop it"
            )

    @abstractmethod
    def choose(self, number: int) -> None:
        """Take a candidate, before the model is fitted with it.

        Args:
            number: Number of the candidate, from 0.
        """

    @abstractmethod
    def measure(self, codes: NDArray[np.uint8], bases: slice) -> NDArray[np.float32]:
        """Measure the features of some bases.

        Args:
            codes: Base codes, shape (B, L), uint8; A C G T = 0 1 2 3, anything else 4.
            bases: Bases to measure, with a start and an end; the others are their flanks.

        Returns:
            Shape (B, bases, F), float32.
        """

    @abstractmethod
    def fit_score(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int8],
        weights: NDArray[np.float32],
        seed: int,
    ) -> None:
        """Fit `score`.

        Args:
            features: Features of the training bases, shape (n, F).
            labels: Their classes, 0 or 1, shape (n,).
            weights: Weight of each base in the loss, shape (n,).
            seed: Seed of whatever is drawn.
        """

    def fit(
        self,
        number: int,
        windows: Iterable[tuple[Tensor, ...]],
        bases: slice,
        class_weights: Tensor,
        seed: int,
    ) -> float:
        """Fit the model to all training windows, with one of its candidates.

        Args:
            number: Number of the candidate, from 0.
            windows: Token ids, shape (B, L), labels, shape (B, bases), and, for a model that reads
                them, tracks, shape (B, L, C), of some windows at a time; `IGNORED` where a base
                does not count.
            bases: Bases of the window within L.
            class_weights: Weights of class 0 and 1 in the loss, shape (2,).
            seed: Seed of whatever is drawn.

        Returns:
            Mean weighted cross-entropy of the training bases.
        """
        self.choose(number)
        measured, known = [], []
        for ids, targets, *tracks in windows:
            labels = targets.numpy(force=True)
            counted = labels != IGNORED
            measured.append(self._features(ids, bases, *tracks)[counted])
            known.append(labels[counted])
        features, labels = np.concatenate(measured), np.concatenate(known)
        weights = class_weights.numpy(force=True)[labels]
        self.fit_score(features, labels, weights, seed)
        return self._loss(features, labels, weights)

    @torch.no_grad()
    def _loss(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int8],
        weights: NDArray[np.float32],
    ) -> float:
        device, total = model_device(self), 0.0
        for first in range(0, len(labels), _ROWS):
            rows, targets, each = (
                torch.from_numpy(values[first : first + _ROWS]).to(device)
                for values in (features, labels, weights)
            )
            logits = self.score(rows)[:, 0].double()
            losses = F.binary_cross_entropy_with_logits(logits, targets.double(), reduction="none")
            total += float((each * losses).sum())
        return total / float(weights.sum(dtype=np.float64))

    def _logits(self, input_ids: Tensor) -> Tensor:
        return self._logits_at(input_ids, slice(0, input_ids.shape[1]))

    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> ClassifierOutput:
        if input_ids is None:
            self.get_input_embeddings()
        # Not computed everywhere and then cut: flanks are longer than windows.
        first, last, _ = positions.indices(input_ids.shape[1])
        return ClassifierOutput(self._logits_at(input_ids, slice(first, last)), ())

    def _label_with_tracks(
        self, input_ids: Tensor, tracks: Tensor, positions: slice
    ) -> ClassifierOutput:
        first, last, _ = positions.indices(input_ids.shape[1])
        return ClassifierOutput(self._logits_at(input_ids, slice(first, last), tracks), ())

    def _features(
        self, input_ids: Tensor, bases: slice, tracks: Tensor | None = None
    ) -> NDArray[np.float32]:
        """Return features of letters and, behind them, of tracks, shape (B, bases, F)."""
        features = self.measure(base_codes(input_ids), bases)
        if tracks is None:
            return features
        values, names = tracks.numpy(force=True), self.config.tracks
        signal = np.array([name not in TRACKS for name in names for _ in track_channels([name])])
        of_letters, of_signals = values[:, bases, ~signal], values[..., signal]
        return np.concatenate((features, of_letters, measure_signals(of_signals, bases)), -1)

    def _logits_at(self, input_ids: Tensor, bases: slice, tracks: Tensor | None = None) -> Tensor:
        """Map (B, L) ids to logits of some bases, shape (B, bases, 2), float32."""
        features = torch.from_numpy(self._features(input_ids, bases, tracks))
        for_one: Tensor = self.score(features.to(input_ids.device)).float()
        return torch.cat([torch.zeros_like(for_one), for_one], dim=-1)


def measure_signals(values: NDArray[np.float32], bases: slice) -> NDArray[np.float32]:
    """Measure signal tracks at bases and around them; equal on both strands.

    Args:
        values: Standardised values, shape (B, L, C), float32; 0 where there is none.
        bases: Bases to measure, with a start and an end; the others are their flanks.

    Returns:
        The values of each base, and their means within `SIGNAL_RADII` as far as there are bases,
        shape (B, bases, C * (1 + radii)), float32.
    """
    # Whole numbers, whose sums are exact: trees compare, and the other strand must get the same.
    whole = np.rint(values.astype(np.float64) * _UNITS).astype(np.int64)
    sums = np.pad(whole.cumsum(1), ((0, 0), (1, 0), (0, 0)))
    at = np.arange(bases.start, bases.stop)
    features = [whole[:, bases] / _UNITS]
    for radius in SIGNAL_RADII:
        first, last = np.maximum(at - radius, 0), np.minimum(at + radius + 1, values.shape[1])
        number = (last - first)[:, None] * _UNITS
        features.append((sums[:, last] - sums[:, first]) / number)
    return np.concatenate(features, -1).astype(np.float32)


def base_codes(input_ids: Tensor) -> NDArray[np.uint8]:
    """Return the base codes of token ids, on the CPU.

    Args:
        input_ids: Token ids, any shape, integer.

    Returns:
        Codes of the same shape, uint8; `OTHER` for whatever is no base.

    Example:
        >>> base_codes(torch.tensor([[7, 10, 11, 4]])).tolist()
        [[0, 3, 4, 4]]
    """
    codes = input_ids.long() - FIRST_BASE
    known = (codes >= 0) & (codes < OTHER)
    return torch.where(known, codes, OTHER).to(torch.uint8).numpy(force=True)


def around(values: NDArray[Scalar], bases: slice, reach: int) -> tuple[NDArray[Scalar], slice]:
    """Cut rows down to some bases and what is within reach of them.

    Args:
        values: A value for each base, such as its code, shape (B, L).
        bases: Bases of interest, with a start and an end.
        reach: Bases on each side that are kept, as far as there are any.

    Returns:
        The part of the rows, and the same bases within it.

    Example:
        >>> near, inner = around(np.zeros((1, 20), np.uint8), slice(5, 10), reach=8)
        >>> near.shape, inner
        ((1, 18), slice(5, 10, None))
    """
    first = max(0, bases.start - reach)
    return values[:, first : bases.stop + reach], slice(bases.start - first, bases.stop - first)
