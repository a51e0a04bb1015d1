"""Scores of variants: what one or several models say of the windows of both alleles.

Every figure is taken from each model by itself, then averaged over the models, with the standard
deviation as their spread. Windows that are alike, such as the reference windows of a position with
several alternative alleles, are scored once.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import N_TOKEN, ids_of
from hyena_ray.model.devices import arithmetic, halving, model_device, upload
from hyena_ray.model.ensemble import long_window_odds
from hyena_ray.model.filters import frozen_filters
from hyena_ray.model.window import WindowScorer, check_finite


class Places(NamedTuple):
    """Where alleles are in their windows."""

    before: NDArray[np.int64]
    """Bases of the window before the allele, shape (n,)."""
    ref: NDArray[np.int64]
    """Bases of the reference allele, shape (n,)."""
    alt: NDArray[np.int64]
    """Bases of the alternative allele, shape (n,)."""


class VariantScores(NamedTuple):
    """Figures of n alternative alleles, means over the models."""

    highest_ref: NDArray[np.float64]
    """Highest probability in the reference window, shape (n,)."""
    highest_alt: NDArray[np.float64]
    """Highest probability in the alternative window."""
    change: NDArray[np.float64]
    """Change of the highest probability."""
    change_sd: NDArray[np.float64]
    """Standard deviation of the change over the models; NaN with one model."""
    summed_ref: NDArray[np.float64]
    """Sum of the log-odds of the known bases of the reference window."""
    summed_alt: NDArray[np.float64]
    """Sum of the log-odds of the known bases of the alternative window."""
    summed_change: NDArray[np.float64]
    """Change of the sum."""
    summed_change_sd: NDArray[np.float64]
    """Standard deviation of that change over the models; NaN with one model."""
    largest_change: NDArray[np.float64]
    """Largest change of the probability of a base that both windows have, with its sign."""
    changed_at: NDArray[np.int64]
    """The base of the reference window where it is, counted from 0."""
    ref: NDArray[np.float32]
    """Probability of every base of the reference window, shape (n, window); NaN for N."""
    alt: NDArray[np.float32]
    """Probability of every base of the alternative window, shape (n, window); NaN for N."""


class VariantScorer:
    """Scores windows with a model, or with every member of an ensemble, on its device.

    The filters of the models are computed once, so weights must not change before `close`.

    Args:
        model: A model of bases, or several, in evaluation mode.
        batch: Windows of one forward pass, halved each time that a GPU runs out of memory.

    Example:
        >>> from hyena_ray.dataset.tokens import encode
        >>> from hyena_ray.model.build import build_model
        >>> from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
        >>> from hyena_ray.tasks import TASKS
        >>> settings, readout = ModelSettings(architecture="rule"), Readout(window=20, flank=32)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> ends = "A" * 34
        >>> texts = (ends + bases + ends for bases in ("CGCGCGCGCGCGCGCG", "CGCGCGCCCGCGCGCG"))
        >>> pair = np.stack([encode(text) for text in texts])
        >>> places = Places(*(np.array([size]) for size in (9, 1, 1)))
        >>> with VariantScorer(model.eval(), batch=2) as scorer:
        ...     scores = scorer.score(pair[None], places)
        >>> scores.change.shape, bool(scores.summed_change[0] < 0)
        ((1,), True)
    """

    def __init__(self, model: WindowScorer, batch: int) -> None:
        self.batch = batch
        """Windows of one forward pass, possibly halved since the scorer was made."""
        self._window = model.readout.window
        self._members = model.members
        self._device = model_device(model)
        self._frozen = ExitStack()
        self._frozen.enter_context(frozen_filters(model))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the filters; the scorer cannot be used afterwards."""
        self._frozen.close()

    def score(self, windows: NDArray[np.uint8], places: Places) -> VariantScores:
        """Score alleles.

        Args:
            windows: Tokens of the reference window and of the alternative one, shape
                (n, 2, window + 2 * flank) or (n, 2, window + 2 * flank, 1 + tracks).
            places: Where the alleles are in them.

        Raises:
            DeviceError: A single window does not fit into the memory of the GPU.
            NonFiniteError: A model's logits overflow.
        """
        flat = windows.reshape(-1, *windows.shape[2:])
        rows, inverse = np.unique(flat.reshape(len(flat), -1), axis=0, return_inverse=True)
        odds = self._odds(rows.reshape(len(rows), *flat.shape[1:]))[:, inverse.reshape(-1)]
        flank = (flat.shape[1] - self._window) // 2
        known = ids_of(flat)[:, flank : flank + self._window] != N_TOKEN
        check_finite(odds[:, known])
        probabilities = np.where(known, 1 / (1 + np.exp(-odds)), np.nan)
        # Models, alleles of a file, reference and alternative, bases.
        shape = len(odds), len(windows), 2, self._window
        per_base = probabilities.reshape(shape)
        highest = np.nanmax(per_base, axis=-1)
        summed = np.where(known, odds, 0.0).reshape(shape).sum(-1)
        change, summed_change = (own[..., 1] - own[..., 0] for own in (highest, summed))
        mean = per_base.mean(0)
        largest, changed_at = _largest_change(mean[:, 0], mean[:, 1], places)
        (highest_ref, highest_alt), (summed_ref, summed_alt) = highest.mean(0).T, summed.mean(0).T
        return VariantScores(
            highest_ref=highest_ref,
            highest_alt=highest_alt,
            change=change.mean(0),
            change_sd=_spread(change),
            summed_ref=summed_ref,
            summed_alt=summed_alt,
            summed_change=summed_change.mean(0),
            summed_change_sd=_spread(summed_change),
            largest_change=largest,
            changed_at=changed_at,
            ref=mean[:, 0].astype(np.float32),
            alt=mean[:, 1].astype(np.float32),
        )

    def _odds(self, tokens: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Compute calibrated log-odds, shape (models, n, window)."""

        def attempt(batch: int) -> NDArray[np.float64]:
            self.batch = batch
            parts = []
            for first in range(0, len(tokens), batch):
                part = upload(tokens[first : first + batch], self._device)
                own = [
                    member.calibration.line(long_window_odds(member, part, self._window))
                    for member in self._members
                ]
                parts.append(torch.stack(own).cpu().numpy())
            return np.concatenate(parts, 1).astype(np.float64)

        with torch.inference_mode(), arithmetic("float32"):
            return halving(self.batch, attempt, "--batch", "window")


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation over models, shape (n,); NaN with one model."""
    one = len(values) == 1
    return np.full(values.shape[1], np.nan) if one else values.std(0, ddof=1)


def _largest_change(
    ref: NDArray[np.float64], alt: NDArray[np.float64], places: Places
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the largest change of a base that both windows have, and where it is.

    Bases before the allele have the same place in both windows; those behind it are moved by an
    insertion or a deletion, and the last ones may be in one window only.
    """
    base = np.arange(ref.shape[1])
    replaced = places.before + np.minimum(places.ref, places.alt)
    behind = base >= (places.before + places.ref)[:, None]
    partner = base + np.where(behind, (places.alt - places.ref)[:, None], 0)
    both = (base < replaced[:, None]) | behind
    both &= partner < ref.shape[1]
    moved = np.take_along_axis(alt, np.where(both, partner, 0), 1)
    change = np.where(both, moved - ref, np.nan)
    size = np.where(np.isnan(change), -1.0, np.abs(change))
    at = size.argmax(1)
    rows = np.arange(len(ref))
    return np.where(size[rows, at] < 0, 0.0, change[rows, at]), at
