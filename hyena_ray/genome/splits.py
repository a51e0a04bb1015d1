"""Decide which tiles train, validate and test.

By contig, so that no test window has a neighbour in training; stratified and K-fold, as the study
split, put neighbours on both sides and flatter every figure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.genome.contig_names import alike, listed

TRAIN = "train"
SPLITS = (TRAIN, "val", "test")
SHARES = (0.6, 0.2, 0.2)
"""Of the labelled tiles, what a split by contig that nobody stated aims at."""
LEAST_FOLDS = 3
"""One tests, the next one validates, and the rest trains."""
EXAMPLES = "write contig:train=chr13,chr14;val=chr7;test=chr20 or stratified:0.6/0.2/0.2 or kfold:5"


class Split(Protocol):
    """A rule that gives each tile to one split, or to none."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the splits, in the order of the indices that `assign` gives."""

    @property
    def text(self) -> str:
        """The rule as `parse_split` reads it."""

    def assign(
        self, contig: str, positive: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int8]:
        """(n,) index into `names` for each of a contig's tiles, -1 for none."""

    def check_contigs(self, names: Collection[str]) -> None:
        """Raise InputError when the rule names a contig that the genome lacks."""


@dataclass(frozen=True, slots=True)
class ContigSplit:
    """Whole contigs to each split; contigs that are not named are left out."""

    contigs: Mapping[str, tuple[str, ...]]
    """Split name to contig names."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.contigs)

    @property
    def text(self) -> str:
        return "contig:" + ";".join(f"{name}={','.join(of)}" for name, of in self.contigs.items())

    def assign(
        self, contig: str, positive: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int8]:
        index = next((i for i, of in enumerate(self.contigs.values()) if contig in of), -1)
        return np.full(len(positive), index, np.int8)

    def check_contigs(self, names: Collection[str]) -> None:
        for contig in (contig for of in self.contigs.values() for contig in of):
            if contig not in names:
                meant = alike([contig], names)
                remedy = f"it calls it {meant[contig]}" if meant else f"it has {listed(names, 8)}"
                raise InputError("--split", contig, "the genome has no such contig", remedy)


@dataclass(frozen=True, slots=True)
class StratifiedSplit:
    """A share of each contig's positive and of its negative tiles to each split, at random."""

    text: str
    names: tuple[str, ...]
    shares: tuple[float, ...]

    def assign(
        self, contig: str, positive: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int8]:
        split = np.empty(len(positive), np.int8)
        for label in (True, False):
            tiles = rng.permutation(np.flatnonzero(positive == label))
            # One random offset for all edges: shares hold to one tile on a contig, and on
            # average over many small contigs, where plain rounding would starve a split.
            edges = np.floor(np.cumsum(self.shares) * len(tiles) + rng.random()).astype(int)
            edges[-1] = len(tiles)
            parts = np.split(tiles, np.minimum(edges[:-1], len(tiles)))
            for index, part in enumerate(parts):
                split[part] = index
        return split

    def check_contigs(self, names: Collection[str]) -> None:
        """It names none."""


def parse_split(text: str) -> Split:
    """Read a split as the command line gives it.

    Raises:
        InputError: not one of the three forms, or its values do not fit together.
    """
    kind, _, rest = text.partition(":")
    if kind == "contig":
        return _parse_contigs(text, rest)
    if kind == "stratified":
        return _parse_shares(text, rest)
    if kind == "kfold":
        if not re.fullmatch(r"[1-9][0-9]?", rest) or int(rest) < LEAST_FOLDS:
            problem = f"folds are a number from {LEAST_FOLDS} to 99: one tests, one validates"
            raise InputError("--split", text, problem, EXAMPLES)
        folds = int(rest)
        return StratifiedSplit(text, tuple(map(fold_name, range(folds))), (1 / folds,) * folds)
    raise InputError("--split", text, "unknown kind of split", EXAMPLES)


def fold_name(number: int) -> str:
    """Of a fold, as a split."""
    return f"fold{number}"


def _parse_contigs(text: str, rest: str) -> ContigSplit:
    splits: dict[str, tuple[str, ...]] = {}
    for part in rest.split(";"):
        name, _, listed = part.partition("=")
        contigs = tuple(listed.split(","))
        if name not in SPLITS:
            raise InputError("--split", part, f"a split is one of {', '.join(SPLITS)}", EXAMPLES)
        if name in splits:
            raise InputError("--split", part, f"{name} is given twice", EXAMPLES)
        if not all(contigs):
            raise InputError("--split", part, "a contig's name is empty", EXAMPLES)
        splits[name] = contigs
    every = [contig for contigs in splits.values() for contig in contigs]
    for contig in every:
        if every.count(contig) > 1:
            raise InputError(
                "--split", contig, "the contig is named twice", "give it to one split only"
            )
    return ContigSplit(splits)


def _parse_shares(text: str, rest: str) -> StratifiedSplit:
    numbers = rest.split("/")
    if len(numbers) != len(SPLITS) or not all(re.fullmatch(r"0?\.[0-9]+", n) for n in numbers):
        raise InputError("--split", text, "shares are three numbers between 0 and 1", EXAMPLES)
    shares = tuple(float(number) for number in numbers)
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError("--split", text, "shares are above 0 and add up to 1", EXAMPLES)
    return StratifiedSplit(text, SPLITS, shares)


def split_by_contig(labelled: Mapping[str, int]) -> ContigSplit:
    """Choose a split by contig when nobody stated one: shares of about 0.6, 0.2 and 0.2.

    The contig with most goes first, always to the split that lacks most, so that the result
    depends on nothing but the counts.

    Args:
        labelled: contig to its count of labelled tiles.

    Raises:
        InputError: fewer than three contigs have any.
    """
    if len(labelled) < len(SPLITS):
        raise InputError(
            "--split",
            None,
            f"a split by contig needs labelled regions on three contigs, not {len(labelled)}",
            "give --split stratified:0.6/0.2/0.2",
        )
    total = sum(labelled.values())
    lacks = {name: share * total for name, share in zip(SPLITS, SHARES, strict=True)}
    splits: dict[str, tuple[str, ...]] = dict.fromkeys(SPLITS, ())
    ranked = sorted(labelled, key=lambda contig: (-labelled[contig], contig))
    for rank, contig in enumerate(ranked):
        empty = [name for name in SPLITS if not splits[name]]
        open_to = empty if len(ranked) - rank == len(empty) else SPLITS
        name = max(open_to, key=lambda name: lacks[name])
        splits[name] += (contig,)
        lacks[name] -= labelled[contig]
    return ContigSplit(splits)
