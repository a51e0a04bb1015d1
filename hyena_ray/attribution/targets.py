"""Targets of an attribution: the logits of true positives, at any point of embedding space."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.attribution.path_baselines import make_baselines, sequence_keys
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import FIRST_BASE
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel

POSITIVE = 1
"""Label and class that are attributed."""
GRAIN = 16
"""Inputs are cut to multiples of this many positions: a model computes its filters once for every
length of the input."""


class Pass(NamedTuple):
    """Points that go through the model together."""

    points: NDArray[np.int64]
    """Numbers of the points, shape (R,)."""
    length: int
    """Positions of the input that their targets depend on; later ones score 0."""
    labels: slice
    """Labels that the targets read, in forward orientation."""


class Targets:
    """Targets of windows with true positives, with their gradients.

    The target of a window is the sum of weight * positive logit over its labels. The flank
    composition, where a model reads it, stays that of the window at every point, baselines
    included: attributed is what the model read.

    Args:
        model: Model in evaluation mode.
        tokens: Token ids of M windows with the flank that the readout requires, shape (M, W + 2 *
            required_flank), uint8.
        true_positive: True positives, shape (M, W), or (M, 1) for sequences with one label; every
            window has one.
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
        read = _read_columns(model, tokens)
        self.keys = sequence_keys(tokens[:, read])
        """Keys of the sequences that the model reads, shape (M,)."""
        weight = true_positive.astype(np.float32)
        if settings.normalise:
            weight /= weight.sum(axis=1, keepdims=True)
        device = _device(model)
        self.weight = torch.from_numpy(weight).to(device)
        on_device = torch.from_numpy(tokens).to(device)
        self.inputs = model.strand_tokens(on_device)
        """Input ids of each strand, shape (M, T), int64."""
        self.length = self.inputs[0].shape[1]
        """Positions T of the input."""
        self._composition = model.composition(on_device)
        baselines = [
            model.strand_tokens(torch.from_numpy(baseline).to(device))
            for baseline in make_baselines(tokens, read, self.keys, settings)
        ]
        self._baselines = [torch.stack(strand) for strand in zip(*baselines, strict=True)]
        """Input ids of each strand, shape (baselines, M, T); empty for the zero embedding."""
        self._batch = settings.batch
        labels = true_positive.shape[1]
        self._first = true_positive.argmax(axis=1)
        self._last = labels - true_positive[:, ::-1].argmax(axis=1)
        spans = [
            slice(*span) for span in zip(self._first.tolist(), self._last.tolist(), strict=True)
        ]
        self.receptive_ends = [
            np.array([model.receptive_end(strand, span) for span in spans], np.int64)
            for strand in range(len(self.inputs))
        ]
        """Positions of the input that the target depends on, of each strand, shape (M,)."""

    @cached_property
    def bases(self) -> Tensor:
        """Embeddings of A, C, G and T, shape (4, d)."""
        tokens = torch.arange(FIRST_BASE, FIRST_BASE + 4, device=self.weight.device)
        with torch.no_grad():
            return self.model.embed(tokens[None])[0]

    def __len__(self) -> int:
        return len(self.keys)

    def passes(self, strand: int, window: NDArray[np.int64]) -> Iterator[Pass]:
        """Divide points into passes of about `settings.batch` positions.

        Points whose inputs are about equally long share a pass: a causal model need not read beyond
        the last true positive.

        Args:
            strand: Number of the strand.
            window: Window of each point, shape (P,).
        """
        ends = np.minimum(-(-self.receptive_ends[strand][window] // GRAIN) * GRAIN, self.length)
        order = np.lexsort((self._first[window], -ends))
        while len(order):
            length = int(ends[order[0]])
            points, order = np.split(order, [max(1, self._batch // length)])
            rows = window[points]
            labels = slice(int(self._first[rows].min()), int(self._last[rows].max()))
            yield Pass(points, length, labels)

    @torch.no_grad()
    def embeddings(
        self, strand: int, window: NDArray[np.int64], copy: NDArray[np.int64], length: int
    ) -> tuple[Tensor, Tensor]:
        """Return the embeddings of windows and of their baselines.

        Args:
            strand: Number of the strand.
            window: Windows, shape (R,).
            copy: Numbers of copies, shape (R,); copies take the baselines in turn.
            length: Positions to return, from the first.

        Returns:
            Two tensors of shape (R, length, d).
        """
        inputs = self.model.embed(self.inputs[strand][window, :length])
        if not self._baselines:
            return inputs, torch.zeros_like(inputs)
        ids = self._baselines[strand]
        return inputs, self.model.embed(ids[copy % len(ids), window, :length])

    def values(
        self, strand: int, window: NDArray[np.int64], points: Tensor, labels: slice
    ) -> Tensor:
        """Return the targets of windows at other points than their own embeddings.

        Args:
            strand: Number of the strand.
            window: Windows, shape (R,).
            points: Points of embedding space, shape (R, length, d).
            labels: Labels that the targets read; see `Pass`.

        Returns:
            Targets, shape (R,).
        """
        composition = None if self._composition is None else self._composition[window]
        logits = self.model.strand_logits(points, strand, composition, labels)
        return (logits[..., POSITIVE] * self.weight[window, labels]).sum(1)

    @torch.no_grad()
    def token_values(
        self,
        strand: int,
        window: NDArray[np.int64],
        ids: Tensor | NDArray[np.int64],
        labels: slice,
    ) -> Tensor:
        """Return the targets of windows with other tokens than their own.

        Args:
            strand: Number of the strand.
            window: Windows, shape (R,).
            ids: Input ids, shape (R, length).
            labels: Labels that the targets read; see `Pass`.

        Returns:
            Targets, shape (R,), float64.
        """
        points = self.model.embed(torch.as_tensor(ids, device=self.weight.device))
        return self.values(strand, window, points, labels).double()

    def gradients(
        self, strand: int, window: NDArray[np.int64], points: Tensor, labels: slice
    ) -> tuple[Tensor, Tensor]:
        """Return the targets of windows at points, and their gradients.

        Args:
            strand: Number of the strand.
            window: Windows, shape (R,).
            points: Points of embedding space, shape (R, length, d).
            labels: Labels that the targets read; see `Pass`.

        Returns:
            Targets, shape (R,), and gradients, shape (R, length, d).
        """
        points = points.detach().requires_grad_(True)
        with torch.enable_grad():
            values = self.values(strand, window, points, labels)
            return values.detach(), torch.autograd.grad(values.sum(), points)[0]


def labelled_windows(windows: Windows, limit: int) -> Windows:
    """Return windows that have a positive label, sampled evenly across all that do.

    Args:
        windows: Windows as prepared.
        limit: Return at most this many.
    """
    rows = np.flatnonzero((windows.labels == POSITIVE).any(axis=1))
    return windows.rows(rows[:: -(-len(rows) // limit)] if len(rows) else rows)


def trim_tokens(model: WindowModel, windows: Windows) -> NDArray[np.uint8]:
    """Return the tokens of windows with exactly the flank that the model requires.

    Args:
        model: Model that reads the windows.
        windows: N windows as prepared, with the same flank or a longer one.

    Returns:
        Token ids, shape (N, W + 2 * required_flank), uint8.

    Raises:
        InputError: The windows have another length, or a shorter flank than the model requires.
    """
    length, required = model.readout.window, model.readout.required_flank
    window = windows.labels.shape[1]
    if window == 1:
        # Sequences with one label have no flank.
        window = windows.tokens.shape[1]
    flank = (windows.tokens.shape[1] - window) // 2
    if window != length:
        raise InputError(
            "windows",
            f"{window} bases",
            f"the model reads windows of {length}",
            f"prepare the data with --lengths {length}, or use another model",
        )
    if flank < required:
        raise InputError(
            "windows",
            f"flank {flank}",
            f"the model needs a flank of {required}",
            f"prepare the data with --flank {required} or more",
        )
    return windows.tokens[:, flank - required : flank + length + required]


def true_positives(
    model: WindowModel, tokens: NDArray[np.uint8], labels: NDArray[np.int8], batch: int
) -> NDArray[np.bool_]:
    """Find the labels that are 1 and that the model predicts: probability at its threshold or
    above.

    Args:
        model: Model in evaluation mode.
        tokens: Token ids as `trim_tokens` returns them, shape (N, L), uint8.
        labels: Labels, shape (N, W), or (N, 1) for sequences; -100 for none.
        batch: Sequence positions of one pass through the model.

    Returns:
        True positives, shaped as the labels, bool.
    """
    device = _device(model)
    positive: NDArray[np.bool_] = labels == POSITIVE
    # Windows without a label have no true positive, whatever the model predicts.
    rows = np.flatnonzero(positive.any(axis=1))
    for some in batches(rows, max(1, batch // tokens.shape[1])):
        with torch.no_grad():
            logits = model.predict(torch.from_numpy(tokens[some]).to(device))
        probability = logits.float().softmax(-1)[..., POSITIVE].cpu().numpy()
        positive[some] &= probability >= model.threshold
    return positive


def batches(items: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Divide items into batches, the last of which may be smaller.

    Args:
        items: Items, shape (n,).
        size: Items of a batch.
    """
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _read_columns(model: WindowModel, tokens: NDArray[np.uint8]) -> slice:
    """Return the columns that the model reads as bases; of the others it reads the composition."""
    unread = model.readout.required_flank - model.readout.flank
    return slice(unread, tokens.shape[1] - unread)


def _device(model: WindowModel) -> torch.device:
    return next(model.parameters()).device
