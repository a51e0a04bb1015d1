"""Where training gets its batches from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError


class Batch(NamedTuple):
    """Some windows: tokens (B, W + 2 stored flank) uint8, labels (B, W) int8, -100 ignored."""

    tokens: np.ndarray
    labels: np.ndarray


class WindowSource(Protocol):
    """Windows that can be passed through any number of times."""

    @property
    def count(self) -> int:
        """Number of windows."""
        ...

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """One pass. The order is fixed by (seed, epoch); epoch None keeps window_id order."""
        ...


class ArraySource:
    """Windows that lie in memory."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    @property
    def count(self) -> int:
        return len(self._windows.window_id)

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        order = np.arange(self.count)
        if epoch is not None:
            order = np.random.default_rng([seed, epoch]).permutation(self.count)
        for first in range(0, self.count, batch_size):
            rows = order[first : first + batch_size]
            yield Batch(self._windows.tokens[rows], self._windows.labels[rows])


class ProgressSource:
    """A source that says how many windows it has handed out, for whoever tells how far work is."""

    def __init__(self, source: WindowSource, on_progress: Callable[[int], None]) -> None:
        """
        Args:
            source: of the windows.
            on_progress: called with the number of windows of every batch, once it has been used.
        """
        self._source = source
        self._on_progress = on_progress

    @property
    def count(self) -> int:
        return self._source.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        for batch in self._source.batches(batch_size, epoch=epoch, seed=seed):
            yield batch
            self._on_progress(len(batch.labels))


def check_both_classes(source: WindowSource, place: str) -> None:
    """Refuse windows from which nothing can be learnt or scored.

    Raises:
        InputError: labelled and unlabelled bases are not both there.
    """
    found: set[int] = set()
    for batch in source.batches(1024, epoch=None, seed=0):
        found.update(np.unique(batch.labels).tolist())
        if {0, 1} <= found:
            return
    raise InputError(
        place, f"labels {sorted(found)}", "both classes, 0 and 1, are needed", "add regions"
    )
