"""Batches of windows for training and evaluation: their source, order and device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.model.convolution import ALL
from hyena_ray.model.devices import upload

HOST = torch.device("cpu")
"""Device of windows that are inspected on the host."""
RESIDENT_FRACTION = 0.25
"""Largest fraction of a GPU's free memory that an array of windows may take, because other trials
may share the GPU."""
UPLOAD_BYTES = 1 << 24
"""Bytes that are copied to a GPU in one piece."""


class DeviceRows:
    """An array on the host, whose rows can be read on any device.

    Args:
        array: Array on the host, shape (N, ...).
        resident: Whether the whole array may be copied to a GPU when rows are first read there. If
            not, or if the array is too large, rows are gathered on the host.
    """

    def __init__(self, array: NDArray[Any], *, resident: bool) -> None:
        self.array = array
        self._resident = resident
        self._copy: Tensor | None = None

    def take(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return some rows on a device, without synchronising with it.

        Args:
            rows: Indices of the rows, shape (B,).
            device: Device of the result.

        Returns:
            The rows, shape (B, ...).
        """
        copy = self.resident_copy(device)
        if copy is None:
            return upload(self.array[rows], device)
        return copy.index_select(0, upload(rows, device))

    def resident_copy(self, device: torch.device) -> Tensor | None:
        """Return the copy of the array on a device; None where rows are gathered on the host.

        Args:
            device: Device of the copy, which is made when it is first asked for.
        """
        if not self._is_on(device):
            return None
        if self._copy is None:
            self._copy = self._upload(device)
        return self._copy

    def _is_on(self, device: torch.device) -> bool:
        """Return whether a device has a copy of the array, or may get one."""
        if device.type == "cpu":
            return False
        if self._resident and self._copy is None:
            free, _ = torch.cuda.mem_get_info(device)
            self._resident = self.array.nbytes <= RESIDENT_FRACTION * free
        return self._resident

    def _upload(self, device: torch.device) -> Tensor:
        """Copy the array in parts of one size, for which the same pinned memory is reused."""
        array = self.array
        copy = upload(array[:1], device).new_empty(array.shape)
        size = max(1, UPLOAD_BYTES // max(1, array[:1].nbytes))
        for first in range(0, len(array), size):
            part = slice(first, first + size)
            copy[part] = upload(array[part], device)
        return copy


class Batch:
    """Some windows with their labels, which are read only when they are used.

    Args:
        tokens: Tokens of all windows of the source, shape (N, W + 2 * stored flank), uint8.
        labels: Labels of all windows, shape (N, W), int8; `IGNORED` for a base that does not count.
        rows: Indices of the windows in the batch, shape (B,).
        teacher: A teacher's probabilities of class 1 for all labels, shape (N, W), float32; None
            where there is no teacher.
    """

    def __init__(
        self,
        tokens: DeviceRows,
        labels: DeviceRows,
        rows: NDArray[np.int64],
        teacher: DeviceRows | None = None,
    ) -> None:
        self._tokens = tokens
        self._labels = labels
        self._rows = rows
        self._teacher = teacher

    @classmethod
    def of(cls, tokens: NDArray[np.uint8], labels: NDArray[np.int8]) -> Batch:
        """Return a batch of windows that are already in memory.

        Args:
            tokens: Tokens, shape (B, W + 2 * stored flank).
            labels: Labels, shape (B, W).
        """
        return cls(
            DeviceRows(tokens, resident=False),
            DeviceRows(labels, resident=False),
            np.arange(len(labels)),
        )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def window(self) -> int:
        """Bases of a window, each with a label."""
        return int(self._labels.array.shape[1])

    def tokens(self, device: torch.device = HOST, part: slice = ALL) -> Tensor:
        """Return the tokens of some windows of the batch on a device.

        Args:
            device: Device of the result.
            part: Windows of the batch whose tokens are read.
        """
        return self._tokens.take(self._rows[part], device)

    def labels(self, device: torch.device = HOST) -> Tensor:
        """Return the labels of all windows of the batch on a device.

        Args:
            device: Device of the result.
        """
        return self._labels.take(self._rows, device)

    def teacher(self, device: torch.device = HOST) -> Tensor | None:
        """Return a teacher's probabilities of all windows of the batch on a device; None without.

        Args:
            device: Device of the result.
        """
        return None if self._teacher is None else self._teacher.take(self._rows, device)


class OwnRows(DeviceRows):
    """The rows of an array that one of several workers reads; no other one can be taken.

    Args:
        array: These rows alone, shape (n, ...).
        numbers: Their numbers among all rows, shape (n,), ascending.
    """

    def __init__(self, array: NDArray[Any], numbers: NDArray[np.int64]) -> None:
        super().__init__(array, resident=True)
        self._numbers = numbers

    def take(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return some rows on a device; see `DeviceRows.take`.

        Args:
            rows: Numbers of the rows among all, shape (B,).
            device: Device of the result.
        """
        places = np.searchsorted(self._numbers, rows)
        if not np.array_equal(self._numbers[places.clip(max=len(self._numbers) - 1)], rows):
            raise IndexError("these rows are read by another worker")
        return super().take(places, device)


def batches_in(
    tokens: DeviceRows,
    labels: DeviceRows,
    order: NDArray[np.int64],
    batch_size: int,
    teacher: DeviceRows | None = None,
) -> Iterator[Batch]:
    """Cut windows into batches.

    Args:
        tokens: Tokens of N windows.
        labels: Labels of the same windows.
        order: Numbers of the windows in the order in which they are passed through.
        batch_size: Windows of a batch; the last one may have fewer.
        teacher: A teacher's probabilities for the same windows, where there is one.
    """
    for first in range(0, len(order), batch_size):
        yield Batch(tokens, labels, order[first : first + batch_size], teacher)


class WindowSource(Protocol):
    """Windows that can be passed through any number of times."""

    @property
    def count(self) -> int:
        """Number of windows of an epoch."""
        ...

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield the windows of an epoch once; which ones and their order depend on (seed, epoch).

        Args:
            batch_size: Windows of a batch; the last batch may have fewer.
            epoch: Number of the epoch, from 0; None takes those of the first one in order of
                window_id.
            seed: Seed of the draw and the order.
        """
        ...


class ArraySource:
    """Windows in memory.

    Args:
        windows: Windows of one length.
        shares: Negatives per labelled window by kind that each epoch draws; None takes all windows.

    Example:
        >>> ids, kinds = np.arange(3), np.array([0, 1, 1], np.uint8)
        >>> tokens, labels = np.full((3, 2), 7, np.uint8), np.zeros((3, 2), np.int8)
        >>> source = ArraySource(Windows(ids, np.full(3, "chr1"), 2 * ids, tokens, labels, kinds))
        >>> [len(batch) for batch in source.batches(2, epoch=0, seed=0)]
        [2, 1]
    """

    _teacher: DeviceRows | None = None

    def __init__(self, windows: Windows, shares: str | None = None) -> None:
        self._tokens = DeviceRows(windows.tokens, resident=True)
        self._labels = DeviceRows(windows.labels, resident=True)
        self._draw = NegativeDraw.of(windows.kind, shares)

    @property
    def count(self) -> int:
        """Number of windows of an epoch."""
        return self._draw.count

    @property
    def stored(self) -> int:
        """Number of windows, those included that an epoch does not draw."""
        return len(self._labels.array)

    @property
    def labels_per_window(self) -> int:
        """Labels of a window: its bases, or one of a sequence."""
        return int(self._labels.array.shape[1])

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield the windows of an epoch once; see `WindowSource.batches`."""
        order = self._draw.rows(epoch=epoch or 0, seed=seed)
        if epoch is not None:
            order = order[np.random.default_rng([seed, epoch]).permutation(self.count)]
        yield from batches_in(self._tokens, self._labels, order, batch_size, self._teacher)

    def every_window(self, batch_size: int) -> Iterator[Batch]:
        """Yield all windows, whether an epoch draws them or not, in batches of one size.

        Args:
            batch_size: Windows of a batch; the last one is filled up with the last window.
        """
        whole = -(-self.stored // batch_size) * batch_size
        order = np.arange(whole).clip(max=self.stored - 1)
        yield from batches_in(self._tokens, self._labels, order, batch_size, self._teacher)

    def taught(self, probabilities: NDArray[np.float32]) -> Self:
        """Return the same windows with the probabilities of a teacher.

        Args:
            probabilities: Its probabilities of class 1 for all labels, shape (N, W).
        """
        source = copy.copy(self)
        source._teacher = DeviceRows(probabilities, resident=True)
        return source


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
        """Number of windows of an epoch."""
        return self._source.count

    def batches(self, batch_size: int, *, epoch: int | None, seed: int) -> Iterator[Batch]:
        """Yield the windows of an epoch once; see `WindowSource.batches`."""
        for batch in self._source.batches(batch_size, epoch=epoch, seed=seed):
            yield batch
            self._on_progress(len(batch))


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
        labels.update(batch.labels().unique().tolist())
        if {0, 1} <= labels:
            return
    raise InputError(
        place, f"labels {sorted(labels)}", "both classes, 0 and 1, are needed", "add regions"
    )
