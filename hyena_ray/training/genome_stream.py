"""The windows of every step of a pretraining, as a function of (seed, step) alone: on any number of
workers, in any process, and after a resume they are the same.

An epoch of a stage passes every stretch without N once, in tiles of the stage's length end to
end; they start at an offset of the epoch and stretch, so that another epoch cuts between other
bases. Their order is a permutation drawn from (seed, stage, epoch). No window holds an N."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.keyed_random import derive_key, mixed
from hyena_ray.dataset.tokens import (
    FIRST_BASE,
    IGNORED,
    TOKEN_IDS,
    codes_to_tokens,
    random_half,
    reverse_complement,
)
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.settings import MaskSettings, PretrainSettings

_PER_BYTE = 4


class PackedBases(NamedTuple):
    """Bases of many stretches without N, four to a byte: a human genome takes 0.8 GB.

    No window of a pretraining holds an N, so two bits encode a base. The arrays are
    plain, so that processes share them without a copy.

    Example:
        >>> bases = PackedBases.of([(0, np.array([0, 1, 2, 3, 3], np.uint8))])
        >>> bases.packed.tolist(), bases.cut(np.array([1]), 3).tolist()
        ([228, 3], [[1, 2, 3]])
    """

    packed: NDArray[np.uint8]
    """Four bases a byte, the first in the lowest bits; every stretch starts at a byte."""
    starts: NDArray[np.int64]
    """Start of every stretch, in bases of `packed`; shape (stretches,)."""
    lengths: NDArray[np.int64]
    """Number of bases of every stretch; shape (stretches,)."""
    contigs: NDArray[np.int64]
    """Number of the contig that every stretch is in; shape (stretches,)."""

    @classmethod
    def of(cls, stretches: Iterable[tuple[int, NDArray[np.uint8]]]) -> PackedBases:
        """Pack stretches.

        Args:
            stretches: Number of the contig and base codes 0 to 3, shape (length,), of each.
        """
        packed, lengths, contigs = [np.empty(0, np.uint8)], [], []
        for contig, codes in stretches:
            # Strided views: no copy is longer than a quarter of the stretch.
            quarters = [codes[offset::_PER_BYTE] for offset in range(_PER_BYTE)]
            together = np.zeros(len(quarters[0]), np.uint8)
            for offset, quarter in enumerate(quarters):
                together[: len(quarter)] |= quarter << (2 * offset)
            packed.append(together)
            lengths.append(len(codes))
            contigs.append(contig)
        sizes = np.array([_PER_BYTE * len(part) for part in packed[1:]], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])[: len(sizes)]
        return cls(
            np.concatenate(packed),
            starts,
            np.array(lengths, np.int64),
            np.array(contigs, np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence[PackedBases]) -> PackedBases:
        """Return all stretches as if they had been packed together.

        Args:
            parts: Packed stretches in order.
        """
        parts = [cls.of(()), *parts]
        sizes = np.cumsum([0, *(_PER_BYTE * len(part.packed) for part in parts[:-1])])
        return cls(
            np.concatenate([part.packed for part in parts]),
            np.concatenate([p.starts + s for p, s in zip(parts, sizes, strict=True)]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.contigs for part in parts]),
        )

    def cut(self, positions: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
        """Return the base codes of some windows, shape (n, length).

        Args:
            positions: Starts of the windows, in bases of `packed`; shape (n,).
            length: Bases of a window.
        """
        columns = positions[:, None] + np.arange(length)
        shifts = (columns & 3).astype(np.uint8) << 1
        codes: NDArray[np.uint8] = (self.packed[columns >> 2] >> shifts) & np.uint8(3)
        return codes

    def stretch(self, number: int) -> NDArray[np.uint8]:
        """Return the base codes of one stretch, shape (length,).

        Args:
            number: Index of the stretch.
        """
        first, length = int(self.starts[number]), int(self.lengths[number])
        bytes_ = self.packed[first // 4 : first // 4 - (-length // 4)]
        shifts = np.arange(0, 2 * _PER_BYTE, 2, dtype=np.uint8)
        return ((bytes_[:, None] >> shifts) & np.uint8(3)).reshape(-1)[:length]


def known_stretches(codes: NDArray[np.uint8], shortest: int) -> list[slice]:
    """Return the stretches of a contig that hold no N.

    Args:
        codes: Base codes of the contig, shape (length,); 4 is N.
        shortest: Least number of bases of a stretch.

    Example:
        >>> known_stretches(np.array([4, 0, 1, 4, 2], np.uint8), shortest=2)
        [slice(1, 3, None)]
    """
    known = np.concatenate([[False], codes != N_CODE, [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    return [
        slice(int(first), int(last))
        for first, last in edges.reshape(-1, 2)
        if last - first >= shortest
    ]


_ROUNDS = 6
"""Rounds of the Feistel network in `permuted`."""


def permuted(indices: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    """Return where a random permutation of `count` things sends some indices.

    Any part of it is computed at once, in any process, without a list of them all: one of the 48
    million windows of 64 bases in a human genome would take 400 MB and seconds in every process,
    and again after every resume.

    Args:
        indices: Indices in [0, count), shape (n,).
        count: Number of all things, at least 1.
        key: Key of the permutation; every key has another one.

    Reference: Black and Rogaway 2002, a Feistel network on the next power of four and a walk along
    its cycle until it comes back into the range.

    Example:
        >>> sorted(permuted(np.arange(5), 5, key=7).tolist())
        [0, 1, 2, 3, 4]
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    images = indices.astype(np.uint64)
    outside = np.ones(len(images), bool)
    while outside.any():
        left, right = images[outside] >> np.uint64(half), images[outside] & low
        for number in range(_ROUNDS):
            left, right = right, left ^ (mixed(right, key + number) & low)
        images[outside] = (left << np.uint64(half)) | right
        outside = images >= np.uint64(count)
    return images.astype(np.int64)


_ORDER, _OFFSETS, _STRANDS, _MASKS = range(4)
"""Names of independent draws with the same seed."""


class Batch(NamedTuple):
    """A worker's windows of one step."""

    inputs: NDArray[np.uint8]
    """Tokens that the model sees, shape (B, L)."""
    targets: NDArray[np.int8]
    """Tokens that the output is compared with, shape (B, L); `IGNORED` where it is with none."""
    weight: int
    """Number of the step's targets on all workers."""


class WindowStream:
    """Batches of a pretraining.

    Args:
        bases: Bases to train on.
        settings: Settings of the run.
    """

    def __init__(self, bases: PackedBases, settings: PretrainSettings) -> None:
        self.bases = bases
        self._settings = settings
        self._recipe = settings.training
        self.stages = settings.stages()
        self._tiles = [tile_counts(bases.lengths, stage.length) for stage in self.stages]

    def count(self, stage: int) -> int:
        """Return the number of windows in an epoch of a stage.

        Args:
            stage: Index of the stage.
        """
        return int(self._tiles[stage].sum())

    def batches(self, steps: Iterable[int], workers: Workers = ALONE) -> Iterator[Batch]:
        """Yield a worker's part of some steps.

        Args:
            steps: Numbers of the steps, from 0.
            workers: Place of the worker among those that train together.
        """
        for step in steps:
            yield self.batch(step, workers)

    def batch(self, step: int, workers: Workers = ALONE) -> Batch:
        """Return a worker's part of a step: rows rank, rank + size, ... of its windows.

        A worker without any gets one without targets, since all workers must pass.

        Args:
            step: Number of the step, from 0.
            workers: Place of the worker among those that train together.
        """
        stage = self._stage_at(step)
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
        seen = draw_mask(
            (whole.rows, whole.length), self._settings.masking, self._draws(_MASKS, step)
        )
        return masked(tokens, seen[own], int((seen != KEPT).sum()))

    def positions(self, step: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the starts of some rows of a step in the packed bases, shape (n,).

        Args:
            step: Number of the step, from 0.
            rows: Rows of the step, shape (n,).
        """
        stage = self._stage_at(step)
        return self.starts(
            stage, (step - self.stages[stage].first) * self.stages[stage].rows + rows
        )

    def starts(self, stage: int, draws: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the starts of some draws of a stage in the packed bases, shape (n,).

        Args:
            stage: Index of the stage.
            draws: Numbers of the draws, from 0 in the stage, shape (n,); draws
                [e * count, (e + 1) * count) are epoch e.
        """
        count, starts = self.count(stage), np.empty(len(draws), np.int64)
        epochs = draws // count
        for epoch in np.unique(epochs):
            drawn = epochs == epoch
            order = derive_key(self._recipe.seed, _ORDER, stage, int(epoch))
            numbers = permuted(draws[drawn] % count, count, order)
            starts[drawn] = self._tile_starts(stage, int(epoch), numbers)
        return starts

    def _stage_at(self, step: int) -> int:
        return next(index for index, stage in enumerate(self.stages) if step < stage.last)

    def _tile_starts(self, stage: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the starts of the tiles with these numbers, in the order of the genome."""
        tiles, length = self._tiles[stage], self.stages[stage].length
        ends = np.cumsum(tiles)
        stretch = np.searchsorted(ends, numbers, side="right")
        slack = np.minimum(self.bases.lengths - tiles * length, length - 1)[stretch]
        key = derive_key(self._recipe.seed, _OFFSETS, stage, epoch)
        drawn = mixed(stretch.astype(np.uint64), key) % (slack + 1).astype(np.uint64)
        tile = numbers - (ends - tiles)[stretch]
        starts: NDArray[np.int64] = self.bases.starts[stretch] + drawn.astype(np.int64)
        starts += tile * length
        return starts

    def _draws(self, what: int, step: int) -> np.random.Generator:
        return np.random.default_rng([self._recipe.seed, what, step])


def tile_counts(lengths: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return the number of tiles of every stretch, shape (stretches,).

    As many as fit at any offset below `length`, and one where a tile fits at all.

    Args:
        lengths: Bases of every stretch, shape (stretches,).
        length: Bases of a tile.
    """
    fit = (lengths + 1) // length - 1
    return np.where(lengths >= length, np.maximum(fit, 1), 0)


def next_bases(tokens: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the targets of the next-base objective: the token after each, and none after the last.

    Args:
        tokens: Tokens, shape (B, L).

    Example:
        >>> next_bases(np.array([[7, 8, 9]], np.uint8)).tolist()
        [[8, 9, -100]]
    """
    targets = np.full(tokens.shape, IGNORED, np.int8)
    targets[:, :-1] = tokens[:, 1:]
    return targets


KEPT, UNCHANGED, HIDDEN = -1, -2, -3
"""What `draw_mask` gives: no target; a target that the model sees; one that it sees as [MASK]."""


def draw_mask(
    shape: tuple[int, int], settings: MaskSettings, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Draw which bases are targets and what the model sees in their place.

    Args:
        shape: Windows and bases of a window, (B, L).
        settings: Fractions of masked and random bases.
        rng: Source of the draws.

    Returns:
        `KEPT`, `UNCHANGED`, `HIDDEN`, or the token of a random base that is seen; shape (B, L).
    """
    chosen, way = rng.random(shape), rng.random(shape)
    base = rng.integers(FIRST_BASE, FIRST_BASE + 4, shape, np.int8)
    seen = np.where(way < settings.masked, np.int8(HIDDEN), base)
    seen[way >= settings.masked + settings.random] = UNCHANGED
    seen[chosen >= settings.share] = KEPT
    return seen


def masked(tokens: NDArray[np.uint8], seen: NDArray[np.int8], weight: int) -> Batch:
    """Return the batch in which some tokens are masked.

    Args:
        tokens: Tokens, shape (B, L).
        seen: Value of `draw_mask`, shape (B, L).
        weight: Number of the step's targets on all workers.
    """
    targets = np.where(seen == KEPT, np.int8(IGNORED), tokens.astype(np.int8))
    inputs = np.where(seen >= 0, seen.astype(np.uint8), tokens)
    inputs[seen == HIDDEN] = TOKEN_IDS["[MASK]"]
    return Batch(inputs, targets, weight)
