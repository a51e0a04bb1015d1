"""What is attributed of windows: the logits of their true positives, and from which baseline.

In: a WindowModel and Windows.  Out: their Targets, with values and gradients.  No Ray here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.methods import shuffle_generator
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shuffle import dinucleotide_shuffle
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, codes_of, tokens_of
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel

POSITIVE = 1
"""Label and class that are attributed."""


class Targets:
    """The windows with true positives, and what of them is attributed.

    The target of a window is the sum of weight * positive logit over its labels.  The composition
    of the surroundings, for models that are told it, stays as it is at every point, baselines too:
    what is attributed is what the model read.

    Args:
        model: in evaluation mode.
        tokens: (M, W + 2 * stored) uint8, `stored` as the model's readout says.
        window_id: (M,) int64.
        true_positive: (M, W) bool, or (M, 1) per sequence.
        settings: `normalise`, `baseline` and `seed` are read.
    """

    def __init__(
        self,
        model: WindowModel,
        tokens: NDArray[np.uint8],
        window_id: NDArray[np.int64],
        true_positive: NDArray[np.bool_],
        settings: AttributionSettings,
    ) -> None:
        self.model = model
        self.window_id = window_id
        weight = true_positive.astype(np.float32)
        if settings.normalise:
            weight /= weight.sum(axis=1, keepdims=True)
        device = device_of(model)
        self.weight = torch.from_numpy(weight).to(device)
        given = torch.from_numpy(tokens).to(device)
        self.inputs = model.strand_tokens(given)
        """Per strand (M, T) int64 input ids."""
        self._composition = model.composition(given)
        self._baselines = [
            model.strand_tokens(torch.from_numpy(baseline).to(device))
            for baseline in _baselines(model, tokens, window_id, settings)
        ]

    @cached_property
    def bases(self) -> Tensor:
        """(4, d) embeddings of A, C, G and T."""
        letters = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=self.weight.device)
        with torch.no_grad():
            return self.model.embed(letters[None])[0]

    def __len__(self) -> int:
        return len(self.window_id)

    @torch.no_grad()
    def embeddings(
        self, strand: int, window: NDArray[np.int64], copy: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of windows and of their baselines, (R, T, d) each.

        Args:
            window: (R,)
            copy: (R,) numbers; copies take the baselines in turn.
        """
        inputs = self.model.embed(self.inputs[strand][window])
        if not self._baselines:
            return inputs, torch.zeros_like(inputs)
        ids = torch.stack([baseline[strand] for baseline in self._baselines])
        return inputs, self.model.embed(ids[copy % len(ids), window])

    def values(self, strand: int, window: NDArray[np.int64], points: Tensor) -> Tensor:
        """(R,) targets of windows at (R, T, d) points in place of their embeddings."""
        composition = None if self._composition is None else self._composition[window]
        logits = self.model.strand_logits(points, strand, composition)
        return (logits[..., POSITIVE] * self.weight[window]).sum(1)

    def gradients(self, strand: int, window: NDArray[np.int64], points: Tensor) -> Tensor:
        """(R, T, d) gradients of `values`."""
        points = points.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(self.values(strand, window, points).sum(), points)[0]


def _baselines(
    model: WindowModel,
    tokens: NDArray[np.uint8],
    window_id: NDArray[np.int64],
    settings: AttributionSettings,
) -> list[NDArray[np.uint8]]:
    """Tokens of the baselines, each shaped as `tokens`; none for the zero embedding."""
    if settings.baseline == "zero":
        return []
    if settings.baseline == "n":
        return [np.full_like(tokens, N_TOKEN)]
    unread = model.readout.stored - model.readout.flank
    read = slice(unread, tokens.shape[1] - unread)
    found = []
    for number in range(settings.shuffles):
        shuffled = tokens.copy()
        for row, identity in zip(shuffled[:, read], window_id.tolist(), strict=True):
            generator = shuffle_generator(settings.seed, identity, number)
            row[:] = tokens_of(dinucleotide_shuffle(codes_of(row), generator))
        found.append(shuffled)
    return found


def tokens_read(model: WindowModel, windows: Windows) -> NDArray[np.uint8]:
    """Tokens with exactly as many bases on each side as the model has a use for.

    Raises:
        InputError: the windows do not have the length or the flank that the model needs.
    """
    length, needed = model.readout.window, model.readout.stored
    found = windows.labels.shape[1]
    if found == 1:
        # One label for a sequence, which has no flank.
        found = windows.tokens.shape[1]
    stored = (windows.tokens.shape[1] - found) // 2
    if found != length:
        raise InputError(
            "windows",
            f"{found} bases",
            f"the model reads windows of {length}",
            f"prepare the data with --lengths {length}, or use another model",
        )
    if stored < needed:
        raise InputError(
            "windows",
            f"flank {stored}",
            f"the model needs a flank of {needed}",
            f"prepare the data with --flank {needed} or more",
        )
    return windows.tokens[:, stored - needed : stored + length + needed]


def true_positives(
    model: WindowModel, tokens: NDArray[np.uint8], labels: NDArray[np.int8], batch: int
) -> NDArray[np.bool_]:
    """(N, labels) bool: labelled 1, and the probability of 1 reaches the model's threshold."""
    device = device_of(model)
    found: NDArray[np.bool_] = labels == POSITIVE
    # Windows without a label have no true positive, whatever the model says.
    for rows in batches(np.flatnonzero(found.any(axis=1)), batch):
        with torch.no_grad():
            logits = model.predict(torch.from_numpy(tokens[rows.padded]).to(device))
        probability = logits.float().softmax(-1)[: len(rows.real), :, POSITIVE].cpu().numpy()
        found[rows.real] &= probability >= model.threshold
    return found


class Batch(NamedTuple):
    """Items that are computed at once."""

    real: NDArray[np.int64]
    """(at most batch,)"""
    padded: NDArray[np.int64]
    """(batch,) the same, the last one repeated: bits depend on the shape of a batch."""


def batches(items: NDArray[np.int64], batch: int) -> Iterator[Batch]:
    """Cut items into batches of one size."""
    for first in range(0, len(items), batch):
        real = items[first : first + batch]
        yield Batch(real, np.pad(real, (0, batch - len(real)), mode="edge"))


def device_of(model: WindowModel) -> torch.device:
    """Where a model's weights lie."""
    return next(model.parameters()).device
