"""What is attributed of windows: the logits of their true positives, and from which baseline.

In: a WindowModel and Windows.  Out: their Targets, with values and gradients.  No Ray here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.baselines import dinucleotide_shuffle
from hyena_ray.attribution.methods import shuffle_generator
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE, N_TOKEN, codes_to_tokens, tokens_to_codes
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel

POSITIVE = 1
"""Label and class that are attributed."""
GRAIN = 16
"""Inputs are cut to multiples of so many positions: filters are made anew for every length."""


def labelled_windows(windows: Windows, limit: int) -> Windows:
    """Up to `limit` windows that have a label of 1, evenly over those there are."""
    rows = np.flatnonzero((windows.labels == POSITIVE).any(axis=1))
    return windows.rows(rows[:: -(-len(rows) // limit)] if len(rows) else rows)


class Pass(NamedTuple):
    """Points that go through the model at once."""

    points: NDArray[np.int64]
    """(R,) their numbers."""
    length: int
    """Input positions that their targets depend on; what is behind them has no score."""
    labels: slice
    """Labels that the targets read, in forward orientation."""


class Targets:
    """The windows with true positives, and what of them is attributed.

    The target of a window is the sum of weight * positive logit over its labels.  The composition
    of the surroundings, for models that are told it, stays as it is at every point, baselines too:
    what is attributed is what the model read.

    Args:
        model: in evaluation mode.
        tokens: (M, W + 2 * stored) uint8, `stored` as the model's readout says.
        true_positive: (M, W) bool, or (M, 1) per sequence; each window has one.
        settings: `normalise`, `baseline`, `shuffles`, `seed` and `batch` are read.
    """

    def __init__(
        self,
        model: WindowModel,
        tokens: NDArray[np.uint8],
        true_positive: NDArray[np.bool_],
        settings: AttributionSettings,
    ) -> None:
        self.model = model
        self.keys = sequence_keys(tokens[:, _read(model, tokens)])
        """(M,) of the sequences that the model reads."""
        weight = true_positive.astype(np.float32)
        if settings.normalise:
            weight /= weight.sum(axis=1, keepdims=True)
        device = device_of(model)
        self.weight = torch.from_numpy(weight).to(device)
        given = torch.from_numpy(tokens).to(device)
        self.inputs = model.strand_tokens(given)
        """Per strand (M, T) int64 input ids."""
        self.length = self.inputs[0].shape[1]
        """T"""
        self._composition = model.composition(given)
        baselines = [
            model.strand_tokens(torch.from_numpy(baseline).to(device))
            for baseline in _baselines(model, tokens, self.keys, settings)
        ]
        self._baselines = [torch.stack(of_strand) for of_strand in zip(*baselines, strict=True)]
        """Per strand (shuffles, M, T) ids; none for the zero embedding."""
        self._batch = settings.batch
        labels = true_positive.shape[1]
        self._first = true_positive.argmax(axis=1)
        self._last = labels - true_positive[:, ::-1].argmax(axis=1)
        spans = [
            slice(*span) for span in zip(self._first.tolist(), self._last.tolist(), strict=True)
        ]
        self.receptive_end = [
            np.array([model.receptive_end(strand, span) for span in spans], np.int64)
            for strand in range(len(self.inputs))
        ]
        """Per strand (M,): positions of the input that the target depends on."""

    @cached_property
    def bases(self) -> Tensor:
        """(4, d) embeddings of A, C, G and T."""
        letters = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=self.weight.device)
        with torch.no_grad():
            return self.model.embed(letters[None])[0]

    def __len__(self) -> int:
        return len(self.keys)

    def passes(self, strand: int, window: NDArray[np.int64]) -> Iterator[Pass]:
        """Cut points into passes of about `settings.batch` positions, points of inputs of about one
        length together, since a causal model need not read on behind the last true positive.

        Args:
            window: (P,) whose point each is.
        """
        reach = np.minimum(-(-self.receptive_end[strand][window] // GRAIN) * GRAIN, self.length)
        order = np.lexsort((self._first[window], -reach))
        while len(order):
            length = int(reach[order[0]])
            points, order = np.split(order, [max(1, self._batch // length)])
            which = window[points]
            labels = slice(int(self._first[which].min()), int(self._last[which].max()))
            yield Pass(points, length, labels)

    @torch.no_grad()
    def embeddings(
        self, strand: int, window: NDArray[np.int64], copy: NDArray[np.int64], length: int
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of the first positions of windows and of their baselines, (R, length, d) each.

        Args:
            window: (R,)
            copy: (R,) numbers; copies take the baselines in turn.
        """
        inputs = self.model.embed(self.inputs[strand][window, :length])
        if not self._baselines:
            return inputs, torch.zeros_like(inputs)
        ids = self._baselines[strand]
        return inputs, self.model.embed(ids[copy % len(ids), window, :length])

    def values(
        self, strand: int, window: NDArray[np.int64], points: Tensor, labels: slice
    ) -> Tensor:
        """(R,) targets of windows at (R, length, d) points in place of their embeddings."""
        composition = None if self._composition is None else self._composition[window]
        logits = self.model.strand_logits(points, strand, composition, labels)
        return (logits[..., POSITIVE] * self.weight[window, labels]).sum(1)

    def gradients(
        self, strand: int, window: NDArray[np.int64], points: Tensor, labels: slice
    ) -> tuple[Tensor, Tensor]:
        """`values`, and their gradients (R, length, d)."""
        points = points.detach().requires_grad_(True)
        with torch.enable_grad():
            values = self.values(strand, window, points, labels)
            return values.detach(), torch.autograd.grad(values.sum(), points)[0]


def sequence_keys(tokens: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(N,) numbers that name sequences (N, L): equal ones have one, whatever their window is."""
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in tokens)
    return np.frombuffer(b"".join(digests), np.uint64)


def _read(model: WindowModel, tokens: NDArray[np.uint8]) -> slice:
    """Columns of tokens that the model reads as bases; of the others it is told the composition."""
    unread = model.readout.required_flank - model.readout.flank
    return slice(unread, tokens.shape[1] - unread)


def _baselines(
    model: WindowModel,
    tokens: NDArray[np.uint8],
    keys: NDArray[np.uint64],
    settings: AttributionSettings,
) -> list[NDArray[np.uint8]]:
    """Tokens of the baselines, each shaped as `tokens`; none for the zero embedding."""
    if settings.baseline == "zero":
        return []
    if settings.baseline == "n":
        return [np.full_like(tokens, N_TOKEN)]
    found = []
    for number in range(settings.shuffles):
        shuffled = tokens.copy()
        for row, key in zip(shuffled[:, _read(model, tokens)], keys.tolist(), strict=True):
            generator = shuffle_generator(settings.seed, key, number)
            row[:] = codes_to_tokens(dinucleotide_shuffle(tokens_to_codes(row), generator))
        found.append(shuffled)
    return found


def tokens_read(model: WindowModel, windows: Windows) -> NDArray[np.uint8]:
    """Tokens with exactly as many bases on each side as the model has a use for.

    Raises:
        InputError: the windows do not have the length or the flank that the model needs.
    """
    length, needed = model.readout.window, model.readout.required_flank
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
    rows = np.flatnonzero(found.any(axis=1))
    for some in batches(rows, max(1, batch // tokens.shape[1])):
        with torch.no_grad():
            logits = model.predict(torch.from_numpy(tokens[some]).to(device))
        probability = logits.float().softmax(-1)[..., POSITIVE].cpu().numpy()
        found[some] &= probability >= model.threshold
    return found


def batches(items: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut items into batches; the last may be smaller."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def device_of(model: WindowModel) -> torch.device:
    """Where a model's weights lie."""
    return next(model.parameters()).device
