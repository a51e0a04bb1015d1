"""What models are scored on: stretches of a genome, read in windows of any length, or sequences.

Scores come back base by base of the stretches, so that every figure that follows, its weights and
its threshold are of the same bases for every model.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from hyena_ray.dataset.negative_draws import NegativeDraw
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.stretches import cut_labels, genome_weights, join_windows, window_offsets
from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.model.devices import upload
from hyena_ray.tasks import Task, task_named
from hyena_ray.training.loaders import ArraySource, DeviceRows, WindowSource

Value = TypeVar("Value", bound=np.generic)


class HeldOut(NamedTuple):
    """Held-out stretches or sequences, and how many of the genome each one represents."""

    rows: Windows
    """m stretches with their flanks, or sequences."""
    weight: NDArray[np.float64]
    """(m,) stretches of the genome that each one represents; 1 for sequences."""
    task: Task
    """What is labelled."""
    scales: tuple[SignalScale, ...] = ()
    """Scales of the tracks of the data, by which a new model reads them."""

    @classmethod
    def read(cls, data: PreparedData, split: str) -> HeldOut:
        """Read a held-out split.

        Args:
            data: Prepared data, or a fold's view of them.
            split: Name of the split.

        Raises:
            InputError: There is no such split, or a file is damaged.
        """
        return cls.of(data, split, data.read_held_out(split))

    @classmethod
    def of(cls, data: PreparedData, split: str, rows: Windows) -> HeldOut:
        """Weight the rows of a held-out split that were read already.

        Args:
            data: Prepared data, or a fold's view of them.
            split: Name of the split.
            rows: All stretches or sequences of the split.
        """
        task = task_named(data.manifest.task)
        if task.kind == "sequence":
            weight = np.ones(len(rows.start))
        else:
            weight = genome_weights(rows, data.manifest.counts_of(0, split))
        return cls(rows, weight, task, data.manifest.scales)

    def source(self, length: int) -> WindowSource:
        """Return the windows with which a model reads them.

        Args:
            length: Bases of a window; a sequence is one window.
        """
        if self.task.kind == "sequence":
            return ArraySource(self.rows)
        return StretchSource(self.rows, length)

    def join(self, scores: NDArray[Value]) -> NDArray[Value]:
        """Join scores of the windows to scores of the rows.

        Args:
            scores: One for each label of the windows of `source`, shape (n, labels).

        Returns:
            One for each label of the rows, shape (m, labels).
        """
        return join_windows(scores, self.rows.labels.shape[1])

    def base_weights(self) -> NDArray[np.float64]:
        """Return the number of bases of the genome that each base represents, shape (m, S)."""
        return np.broadcast_to(self.weight[:, None], self.rows.labels.shape)

    def tile_weights(self) -> NDArray[np.float64]:
        """Return the weight of each base in a sample of tiles at a fixed ratio of negatives.

        The original work tested on such a sample: all labelled tiles, and `task.negatives` times as
        many unlabelled ones. Here nothing is drawn; every unlabelled tile has the weight that it is
        expected to have in the sample. Tiles have the task's first length and start with the
        stretch; a shorter one at its end is left out.

        Returns:
            Weights, shape (m, S); 0 for bases in no tile.
        """
        labels = self.rows.labels
        stretch = labels.shape[1]
        length = min(self.task.lengths[0], stretch)
        tiles = stretch // length
        covered = tiles * length
        positive = (labels[:, :covered] == 1).reshape(-1, tiles, length).any(-1)
        negatives = (self.weight[:, None] * ~positive).sum()
        rate = min(1.0, self.task.negatives * positive.sum() / negatives) if negatives else 0.0
        weight = np.where(positive, 1.0, rate * self.weight[:, None])
        return np.pad(np.repeat(weight, length, axis=1), ((0, 0), (0, stretch - covered)))


class StretchSource(ArraySource):
    """Windows that are cut from stretches when they are read, in the order of the genome.

    Args:
        stretches: m stretches with their flanks.
        length: Bases of a window.

    Example:
        >>> stretches = Windows(
        ...     window_id=np.array([0]),
        ...     contig=np.array(["chr1"]),
        ...     start=np.array([0]),
        ...     tokens=np.full((1, 10), 7, np.uint8),
        ...     labels=np.zeros((1, 6), np.int8),
        ...     kind=np.array([1], np.uint8),
        ... )
        >>> source = StretchSource(stretches, 4)
        >>> [batch.tokens().shape for batch in source.batches(8, epoch=None, seed=0)]
        [torch.Size([2, 8])]
    """

    def __init__(self, stretches: Windows, length: int) -> None:
        self._tokens = _WindowRows(stretches, length)
        self._labels = DeviceRows(cut_labels(stretches.labels, length), resident=True)
        # Whatever is held out is scored.
        self._draw = NegativeDraw.of(np.zeros(len(self._labels.array), np.uint8), None)


class _WindowRows(DeviceRows):
    """The tokens of windows that share the memory of their stretches."""

    def __init__(self, stretches: Windows, length: int) -> None:
        super().__init__(stretches.tokens, resident=True)
        stretch = stretches.labels.shape[1]
        self._offsets = window_offsets(stretch, length)
        self._width = stretches.tokens.shape[1] - stretch + length

    def take(self, rows: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the tokens of some windows; see `DeviceRows.take`."""
        stretch, window = np.divmod(rows, len(self._offsets))
        start = self._offsets[window]
        copy = self.resident_copy(device)
        if copy is None:
            windows: NDArray[Any] = sliding_window_view(self.array, self._width, axis=1)
            # (B, W), and where the data have tracks (B, W, 1 + tracks).
            return upload(np.moveaxis(windows[stretch, start], -1, 1), device)
        windows_there = copy.unfold(1, self._width, 1)
        return windows_there[upload(stretch, device), upload(start, device)].movedim(-1, 1)
