"""Random augmentation of training batches: drawn on the host, applied on the device of the windows.

The draws for a batch are a few small arrays. They do not depend on the device or on the number of
workers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.tokens import random_half
from hyena_ray.model.convolution import ALL
from hyena_ray.model.devices import upload
from hyena_ray.model.window import reverse_complement
from hyena_ray.training.settings import TrainingSettings


class Changes(NamedTuple):
    """Changes to a batch of B windows, applied in the order of the fields."""

    shift: int = 0
    """Rows by which the targets are rolled down: window i gets those of window i - shift."""
    removed: int = 0
    """Bases by which every window is shortened. What is cut off a side of the window becomes part
    of its flank, so flanks remain real bases."""
    offsets: NDArray[np.int64] | None = None
    """First base that each window keeps, shape (B,); None if windows stay whole."""
    turned: NDArray[np.bool_] | None = None
    """Whether each window is replaced by the opposite strand, shape (B,); None if none is."""

    def make(self, tokens: Tensor, targets: Tensor, own: slice = ALL) -> tuple[Tensor, Tensor]:
        """Apply the changes to the tokens of some windows of the batch and to the targets of all.

        Args:
            tokens: Tokens of these windows, shape (own, W + 2 * stored flank), uint8.
            targets: Labels or probabilities of all windows, shape (B, W), on the same device.
            own: Which windows of the batch these are.

        Returns:
            Tokens, shape (own, W - removed + 2 * stored flank), with the levels of tracks behind
            them where the data have any, and targets, shape (B, W - removed).
        """
        device = tokens.device
        if self.shift:
            targets = targets.roll(self.shift, 0)
        if self.offsets is not None:
            offsets = upload(self.offsets, device)
            tokens = crop(tokens, offsets[own], self.removed)
            targets = crop(targets, offsets, self.removed)
        if self.turned is not None:
            turned = upload(self.turned, device)
            flags = turned[own].view(-1, *(1,) * (tokens.ndim - 1))
            tokens = torch.where(flags, reverse_complement(tokens), tokens)
            targets = torch.where(turned[:, None], targets.flip(1), targets)
        return tokens, targets


class Augmentation:
    """Draw the changes to the batches of one epoch, which depend on (seed, epoch) alone.

    Args:
        recipe: Settings of the augmentation, and the seed.
        epoch: Number of the epoch, from 0.
    """

    def __init__(self, recipe: TrainingSettings, epoch: int) -> None:
        self._recipe = recipe
        self._strands = np.random.default_rng([recipe.seed, epoch, 1])
        self._crops = np.random.default_rng([recipe.seed, epoch, 2])
        self._owners = np.random.default_rng([recipe.seed, epoch, 3])

    def draw(self, count: int, window: int) -> Changes:
        """Draw the changes to the next batch.

        Args:
            count: Number of windows in the batch.
            window: Bases of a window, each with a label.
        """
        shift, removed, offsets, turned = 0, 0, None, None
        if self._recipe.permute_labels:
            # No window keeps its own labels: one correct window in a batch is enough to learn from.
            shift = int(self._owners.integers(1, max(2, count)))
        if self._recipe.shortest_crop is not None:
            removed = window - int(self._crops.integers(self._recipe.shortest_crop, window + 1))
            offsets = self._crops.integers(0, removed + 1, size=count)
        if self._recipe.reverse_complement:
            turned = np.zeros(count, np.bool_)
            turned[random_half(count, self._strands)] = True
        return Changes(shift, removed, offsets, turned)


def crop(rows: Tensor, offsets: Tensor, removed: int) -> Tensor:
    """Shorten every row, starting at an offset of its own.

    Args:
        rows: Shape (B, L), or (B, L, 1 + tracks).
        offsets: First position that each row keeps, shape (B,), int64.
        removed: Positions by which each row is shortened; at least the largest offset.

    Returns:
        Shape (B, L - removed), or (B, L - removed, 1 + tracks).

    Example:
        >>> crop(torch.arange(8).view(2, 4), torch.tensor([0, 1]), removed=1)
        tensor([[0, 1, 2],
                [5, 6, 7]])
    """
    columns = torch.arange(rows.shape[1] - removed, device=rows.device)
    places = offsets[:, None] + columns
    if rows.ndim == 3:
        places = places[..., None].expand(-1, -1, rows.shape[2])
    return rows.gather(1, places)
