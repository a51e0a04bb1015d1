"""The windows of every step, as a function of (seed, step) alone: on any number of workers, in any
process, and after a resume they are the same.

An epoch of a stage passes every stretch without N once, in tiles of the stage's length that lie end
to end; they begin at an offset of the epoch and stretch, so that another epoch cuts between other
bases. Their order is a permutation drawn from (seed, stage, epoch). No window holds an N.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.tokens import (
    FIRST_BASE,
    IGNORED,
    TOKEN_IDS,
    codes_to_tokens,
    random_half,
    reverse_complement,
)
from hyena_ray.pretraining.packed import PackedBases
from hyena_ray.pretraining.settings import MaskSettings, PretrainSettings
from hyena_ray.pretraining.shuffle import key_of, mixed, permuted
from hyena_ray.training.workers import ALONE, Workers

_ORDER, _OFFSETS, _STRANDS, _MASKS = range(4)
"""What is drawn, apart from all else that is drawn with the same seed."""


class Batch(NamedTuple):
    """A worker's windows of one step."""

    inputs: NDArray[np.uint8]
    """(B, L) tokens that the model sees."""
    targets: NDArray[np.int8]
    """(B, L) tokens that position i of the output stands for, `IGNORED` where for none."""
    weight: int
    """Targets of the step on all workers."""


class WindowStream:
    """Batches of a pretraining.

    Args:
        bases: to train on.
        settings: of the run.
    """

    def __init__(self, bases: PackedBases, settings: PretrainSettings) -> None:
        self.bases = bases
        self._settings = settings
        self._recipe = settings.training
        self.stages = settings.stages()
        self._tiles = [tiles_of(bases.lengths, stage.length) for stage in self.stages]

    def count(self, stage: int) -> int:
        """Windows of an epoch of a stage."""
        return int(self._tiles[stage].sum())

    def batches(self, steps: Iterable[int], workers: Workers = ALONE) -> Iterator[Batch]:
        """A worker's part of each of these steps."""
        for step in steps:
            yield self.batch(step, workers)

    def batch(self, step: int, workers: Workers = ALONE) -> Batch:
        """A worker's part of a step: rows rank, rank + size, ... of its windows.

        Where it has none it gets one without targets, since all workers must pass.
        """
        stage = next(index for index, of in enumerate(self.stages) if step < of.last)
        whole = self.stages[stage]
        own = np.arange(whole.rows)[workers.rank :: workers.size]
        if not len(own):
            spare = self.batch(step, ALONE)
            targets = np.full_like(spare.targets[:1], IGNORED)
            return Batch(spare.inputs[:1], targets, spare.weight)
        tokens = codes_to_tokens(self.bases.cut(self.positions(step, own), whole.length))
        if self._recipe.reverse_complement:
            turned = random_half(whole.rows, self._draws(_STRANDS, step))
            rows = np.isin(own, turned)
            tokens[rows] = reverse_complement(tokens[rows])
        if self._settings.objective == "next_base":
            return Batch(tokens, next_bases(tokens), whole.rows * (whole.length - 1))
        seen = mask_of(
            (whole.rows, whole.length), self._settings.masking, self._draws(_MASKS, step)
        )
        return masked(tokens, seen[own], int((seen != KEPT).sum()))

    def positions(self, step: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) where in the packed bases these rows of a step begin."""
        stage = next(index for index, of in enumerate(self.stages) if step < of.last)
        return self.starts(
            stage, (step - self.stages[stage].first) * self.stages[stage].rows + rows
        )

    def starts(self, stage: int, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) where in the packed bases the windows of these draws, counted from 0 in a stage,
        begin; draws [e * count, (e + 1) * count) are epoch e."""
        count, found = self.count(stage), np.empty(len(draws), np.int64)
        epochs = draws // count
        for epoch in np.unique(epochs):
            of = epochs == epoch
            order = key_of(self._recipe.seed, _ORDER, stage, int(epoch))
            numbers = permuted(draws[of] % count, count, order)
            found[of] = self._start(stage, int(epoch), numbers)
        return found

    def _start(self, stage: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of the tiles with these numbers, in the order of the genome."""
        tiles, length = self._tiles[stage], self.stages[stage].length
        ends = np.cumsum(tiles)
        stretch = np.searchsorted(ends, numbers, side="right")
        slack = np.minimum(self.bases.lengths - tiles * length, length - 1)[stretch]
        key = key_of(self._recipe.seed, _OFFSETS, stage, epoch)
        drawn = mixed(stretch.astype(np.uint64), key) % (slack + 1).astype(np.uint64)
        tile = numbers - (ends - tiles)[stretch]
        starts: NDArray[np.int64] = self.bases.starts[stretch] + drawn.astype(np.int64)
        found: NDArray[np.int64] = starts + tile * length
        return found

    def _draws(self, what: int, step: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.seed, what, step])


def tiles_of(lengths: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """How many tiles of `length` bases each stretch has: as many as fit at any offset below
    `length`, and one where a tile fits at all."""
    fit = (lengths + 1) // length - 1
    return np.where(lengths >= length, np.maximum(fit, 1), 0)


def next_bases(tokens: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(B, L) targets of the next-base objective: what follows each token; the last has nothing."""
    targets = np.full(tokens.shape, IGNORED, np.int8)
    targets[:, :-1] = tokens[:, 1:]
    return targets


KEPT, UNCHANGED, HIDDEN = -1, -2, -3
"""In what `mask_of` draws: no target; a target that the model sees; one that it sees as [MASK]."""


def mask_of(
    shape: tuple[int, int], settings: MaskSettings, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Draw which bases are targets and what the model sees in their place.

    Returns:
        (B, L) int8: `KEPT`, `UNCHANGED`, `HIDDEN`, or the token of a random base that is seen.
    """
    chosen, way = rng.random(shape), rng.random(shape)
    base = rng.integers(FIRST_BASE, FIRST_BASE + 4, shape, np.int8)
    seen = np.where(way < settings.masked, np.int8(HIDDEN), base)
    seen[way >= settings.masked + settings.random] = UNCHANGED
    seen[chosen >= settings.share] = KEPT
    return seen


def masked(tokens: NDArray[np.uint8], seen: NDArray[np.int8], weight: int) -> Batch:
    """Put what `mask_of` has drawn in the place of (B, L) tokens."""
    targets = np.where(seen == KEPT, np.int8(IGNORED), tokens.astype(np.int8))
    inputs = np.where(seen >= 0, seen.astype(np.uint8), tokens)
    inputs[seen == HIDDEN] = TOKEN_IDS["[MASK]"]
    return Batch(inputs, targets, weight)
