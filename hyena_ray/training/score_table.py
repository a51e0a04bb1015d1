"""Scores of a genome in a table of bounded size, from which every figure is made.

A figure needs labels, scores and blocks of all bases, and three billion of them do not fit into
memory. Bases with the same score, label and block are one row here, with their number as weight.
Where there are too many different scores they are rounded, in logits, as finely as the table
allows; no score gets to the other side of the threshold. Until then all figures are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyena_ray.training.bootstrap import Scored

FINEST = 1 << 14
"""Steps of the first rounding in a logit; each further one has half of them."""
_LABEL, _BLOCK = 32, 33
_EXTREME = 30.0
"""Logit beyond which scores are alike: past what float32 tells from 0."""


class ScoreTable:
    """Numbers of bases by score, label and block.

    Args:
        threshold: Probability from which a base is called.
        rows: Most rows; with few, the last rounding is to whole logits, and there may be more.

    Example:
        >>> table = ScoreTable(threshold=0.5, rows=100)
        >>> for _ in range(2):
        ...     table.add(np.array([0, 1]), np.array([0.25, 0.75], np.float32), np.array([0, 0]))
        >>> scored = table.scored()
        >>> scored.labels.tolist(), scored.scores.tolist(), scored.weight.tolist()
        ([0, 1], [0.25, 0.75], [2.0, 2.0])
    """

    def __init__(self, threshold: float, rows: int) -> None:
        self._threshold, self._rows = threshold, rows
        self._steps: int | None = None
        self._keys: NDArray[np.int64] = np.empty(0, np.int64)
        self._counts: NDArray[np.int64] = np.empty(0, np.int64)

    def add(
        self,
        labels: NDArray[np.integer],
        scores: NDArray[np.float32],
        block: NDArray[np.int64],
    ) -> None:
        """Add bases.

        Args:
            labels: 0 or 1, shape (n,).
            scores: Probabilities, shape (n,).
            block: Block of each base, from 0, shape (n,).
        """
        keys, counts = np.unique(_keys(labels, self._rounded(scores), block), return_counts=True)
        self._merge(np.append(self._keys, keys), np.append(self._counts, counts))
        while len(self._keys) > self._rows and self._steps != 1:
            self._steps = FINEST if self._steps is None else self._steps // 2
            labels, scores, block = _parts(self._keys)
            self._merge(_keys(labels, self._rounded(scores), block), self._counts)

    def scored(self) -> Scored:
        """Return the rows, with the number of their bases as weight."""
        labels, scores, block = _parts(self._keys)
        called = scores >= self._threshold
        return Scored(labels, scores, called, block, self._counts.astype(np.float64))

    def _merge(self, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        self._keys, place = np.unique(keys, return_inverse=True)
        # Exact: sums of float64 up to 2**53.
        self._counts = np.bincount(place, counts, len(self._keys)).astype(np.int64)

    def _rounded(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._steps is None:
            return scores.astype(np.float32)
        exact = scores.astype(np.float64)
        with np.errstate(divide="ignore"):
            logits = np.clip(np.log(exact) - np.log1p(-exact), -_EXTREME, _EXTREME)
        rounded = 1 / (1 + np.exp(-np.round(logits * self._steps) / self._steps))
        near, lowest = rounded.astype(np.float32), np.float32(self._threshold)
        below = np.nextafter(lowest, np.float32(-1))
        side: NDArray[np.float32] = np.where(
            scores >= lowest, np.maximum(near, lowest), np.minimum(near, below)
        )
        return side


def _keys(
    labels: NDArray[np.integer], scores: NDArray[np.float32], block: NDArray[np.int64]
) -> NDArray[np.int64]:
    # The bits of floats from 0 on are in the order of their values.
    bits = np.ascontiguousarray(scores, np.float32).view(np.uint32).astype(np.int64)
    return (block << _BLOCK) | (labels.astype(np.int64) << _LABEL) | bits


def _parts(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int64]]:
    labels = ((keys >> _LABEL) & 1).astype(np.int8)
    scores = (keys & 0xFFFFFFFF).astype(np.uint32).view(np.float32)
    return labels, scores, keys >> _BLOCK
