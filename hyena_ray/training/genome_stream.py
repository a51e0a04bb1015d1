"""The windows of every step of a pretraining, as a function of (seed, step) alone: on any number of
workers, in any process, and after a resume they are the same.

An epoch of a stage passes every stretch without N once, in tiles of the stage's length that lie end
to end; they begin at an offset of the epoch and stretch, so that another epoch cuts between other
bases. Their order is a permutation drawn from (seed, stage, epoch). No window holds an N."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
from hyena_ray.genome.contigs import N_CODE
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.settings import MaskSettings, PretrainSettings

_PER_BYTE = 4


class PackedBases(NamedTuple):
    """Stretches without N. Plain arrays, so that processes share them without a copy."""

    packed: NDArray[np.uint8]
    """Four bases a byte, the first in the lowest bits; every stretch begins with a byte."""
    starts: NDArray[np.int64]
    """(stretches,) where each begins, in bases of `packed`."""
    lengths: NDArray[np.int64]
    """(stretches,) bases of each."""
    contigs: NDArray[np.int64]
    """(stretches,) which contig each lies in, as it was given."""

    @classmethod
    def of(cls, stretches: Iterable[tuple[int, NDArray[np.uint8]]]) -> PackedBases:
        """Pack stretches, each with the number of its contig and (length,) codes 0 to 3."""
        packed, lengths, contigs = [np.empty(0, np.uint8)], [], []
        for contig, codes in stretches:
            # Strided views: nothing as long as the stretch is made but a quarter of it.
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
        """As if all stretches had been packed together."""
        parts = [cls.of(()), *parts]
        sizes = np.cumsum([0, *(_PER_BYTE * len(part.packed) for part in parts[:-1])])
        return cls(
            np.concatenate([part.packed for part in parts]),
            np.concatenate([p.starts + s for p, s in zip(parts, sizes, strict=True)]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.contigs for part in parts]),
        )

    def cut(self, positions: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
        """(n, length) codes of the windows that begin at (n,) positions of `packed`."""
        columns = positions[:, None] + np.arange(length)
        shifts = (columns & 3).astype(np.uint8) << 1
        codes: NDArray[np.uint8] = (self.packed[columns >> 2] >> shifts) & np.uint8(3)
        return codes

    def stretch(self, number: int) -> NDArray[np.uint8]:
        """(length,) codes of one stretch."""
        first, length = int(self.starts[number]), int(self.lengths[number])
        bytes_ = self.packed[first // 4 : first // 4 - (-length // 4)]
        shifts = np.arange(0, 2 * _PER_BYTE, 2, dtype=np.uint8)
        return ((bytes_[:, None] >> shifts) & np.uint8(3)).reshape(-1)[:length]


def known_stretches(codes: NDArray[np.uint8], shortest: int) -> list[slice]:
    """The stretches of a contig's (length,) codes that hold no N and have `shortest` bases."""
    known = np.concatenate([[False], codes != N_CODE, [False]])
    edges = np.flatnonzero(known[1:] != known[:-1])
    return [
        slice(int(first), int(last))
        for first, last in edges.reshape(-1, 2)
        if last - first >= shortest
    ]


Words = NDArray[np.uint64]
_ROUNDS = 6


def mixed(words: Words, key: int) -> Words:
    """Random words, fixed by each word and the key.

    Source: the finaliser of SplitMix64 (Steele et al. 2014).
    """
    z = words + np.uint64((key * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key_of(*numbers: int) -> int:
    """One key of several numbers, in [0, 2^64)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def permuted(indices: NDArray[np.int64], count: int, key: int) -> NDArray[np.int64]:
    """Where a permutation of `count` things sends these indices.

    Args:
        indices: each in [0, count).
        count: of all things, at least 1.
        key: of the permutation; all of them differ.

    Source: Black and Rogaway 2002, a Feistel network on the next power of four and a walk along its
    cycle until it comes back into the range.
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    found = indices.astype(np.uint64)
    outside = np.ones(len(found), bool)
    while outside.any():
        left, right = found[outside] >> np.uint64(half), found[outside] & low
        for number in range(_ROUNDS):
            left, right = right, left ^ (mixed(right, key + number) & low)
        found[outside] = (left << np.uint64(half)) | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


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
        self._tiles = [tile_counts(bases.lengths, stage.length) for stage in self.stages]

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
        seen = draw_mask(
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


def tile_counts(lengths: NDArray[np.int64], length: int) -> NDArray[np.int64]:
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
"""What `draw_mask` gives: no target; a target that the model sees; one that it sees as [MASK]."""


def draw_mask(
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
    """Put what `draw_mask` has drawn in the place of (B, L) tokens."""
    targets = np.where(seen == KEPT, np.int8(IGNORED), tokens.astype(np.int8))
    inputs = np.where(seen >= 0, seen.astype(np.uint8), tokens)
    inputs[seen == HIDDEN] = TOKEN_IDS["[MASK]"]
    return Batch(inputs, targets, weight)
