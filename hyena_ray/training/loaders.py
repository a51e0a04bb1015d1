"""Batches of windows for training and evaluation: their source, their order, their augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.tokens import random_crop, reverse_half
from hyena_ray.errors import InputError
from hyena_ray.training.settings import TrainingSettings


class Batch(NamedTuple):
    """Some windows with their labels."""

    tokens: NDArray[np.uint8]
    """Tokens, shape (B, W + 2 * stored flank)."""
    labels: NDArray[np.int8]
    """Labels, shape (B, W); `IGNORED` where a base does not count."""


class WindowSource(Protocol):
    """Windows that can be passed through any number of times."""

    @property
    def count(self) -> int:
        """Number of windows."""
        ...

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield all windows once, in an order fixed by (seed, epoch).

        Args:
            batch_size: Windows of a batch; the last batch may have fewer.
            epoch: Number of the epoch, from 0; None keeps the order of window_id.
            seed: Seed of the order.
        """
        ...


class ArraySource:
    """Windows in memory.

    Args:
        windows: Windows of one length.

    Example:
        >>> ids = np.arange(3)
        >>> tokens, labels = np.full((3, 2), 7, np.uint8), np.zeros((3, 2), np.int8)
        >>> source = ArraySource(Windows(ids, np.full(3, "chr1"), 2 * ids, tokens, labels))
        >>> [len(batch.tokens) for batch in source.batches(2, epoch=0, seed=0)]
        [2, 1]
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self._windows.window_id)

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield all windows once; see `WindowSource.batches`."""
        order = np.arange(self.count)
        if epoch is not None:
            order = np.random.default_rng([seed, epoch]).permutation(self.count)
        for first in range(0, self.count, batch_size):
            rows = order[first : first + batch_size]
            yield Batch(self._windows.tokens[rows], self._windows.labels[rows])


class ProgressSource:
    """A source that reports how many windows were used.

    Args:
        source: Source of the windows.
        on_progress: Called with the number of windows of every batch, once it has been used.
    """

    def __init__(self, source: WindowSource, on_progress: Callable[[int], None]) -> None:
        self._source = source
        self._on_progress = on_progress

    @property
    def count(self) -> int:
        """Number of windows."""
        return self._source.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield all windows once; see `WindowSource.batches`."""
        for batch in self._source.batches(batch_size, epoch=epoch, seed=seed):
            yield batch
            self._on_progress(len(batch.labels))


class Augmentation:
    """Random changes of one epoch's batches, fixed by (seed, epoch) alone.

    Args:
        recipe: Settings that say what is changed, and the seed.
        epoch: Number of the epoch, from 0.
    """

    def __init__(self, recipe: TrainingSettings, epoch: int) -> None:
        self._recipe = recipe
        self._strands = np.random.default_rng([recipe.seed, epoch, 1])
        self._crops = np.random.default_rng([recipe.seed, epoch, 2])
        self._owners = np.random.default_rng([recipe.seed, epoch, 3])

    def __call__(
        self, tokens: NDArray[np.uint8], labels: NDArray[np.int8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """Return the next batch, changed.

        Args:
            tokens: Tokens, shape (B, W + 2 * stored flank).
            labels: Labels, shape (B, W).
        """
        if self._recipe.permute_labels:
            # No window keeps its own: one right label in a batch is enough to learn from.
            labels = np.roll(labels, self._owners.integers(1, max(2, len(labels))), axis=0)
        if self._recipe.shortest_crop is not None:
            tokens, labels = random_crop(tokens, labels, self._recipe.shortest_crop, self._crops)
        if self._recipe.reverse_complement:
            tokens, labels = reverse_half(tokens, labels, self._strands)
        return tokens, labels


def check_both_classes(source: WindowSource, place: str) -> None:
    """Refuse windows from which nothing can be learnt or scored.

    Args:
        source: Windows with labels.
        place: What they are, for the message.

    Raises:
        InputError: Labels 0 and 1 are not both there.
    """
    labels: set[int] = set()
    for batch in source.batches(1024, epoch=None, seed=0):
        labels.update(np.unique(batch.labels).tolist())
        if {0, 1} <= labels:
            return
    raise InputError(
        place, f"labels {sorted(labels)}", "both classes, 0 and 1, are needed", "add regions"
    )
