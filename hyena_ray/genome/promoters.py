"""Simulate promoters and what only looks like them, 70 bases around the start of transcription.

A promoter has two or three of a TATA box and an initiator at their places and GC boxes anywhere.
What looks like one has the same letters at the same places in another order, so that composition
does not tell them apart.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hyena_ray.genome.motifs import A, C, G, T, either_strand
from hyena_ray.genome.simulate import BASES, SIMULATED, background
from hyena_ray.genome.splits import NAMES

LENGTH = 70
START = 34
"""Index of the first transcribed base."""

_CODES: dict[str, tuple[int, ...]] = {
    "A": (A,),
    "C": (C,),
    "G": (G,),
    "T": (T,),
    "R": (A, G),
    "Y": (C, T),
    "W": (A, T),
    "N": (A, C, G, T),
}


class Element(NamedTuple):
    """A short motif of promoters."""

    consensus: str
    """In IUPAC letters."""
    first: int | None
    """Index of its first base; None stands anywhere, on either strand."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size,) base codes that fit the consensus."""
        allowed = [_CODES[letter] for letter in self.consensus]
        shares = rng.random(len(allowed))
        picked = [of[int(share * len(of))] for of, share in zip(allowed, shares, strict=True)]
        return np.array(picked, np.uint8)

    def matches(self, codes: NDArray[np.uint8]) -> bool:
        """Whether (size,) base codes fit the consensus, on the given strand."""
        return all(
            code in _CODES[letter] for code, letter in zip(codes, self.consensus, strict=True)
        )


TATA_BOX = Element("TATAWAWR", START - 31)
INITIATOR = Element("YYANWYY", START - 2)
GC_BOX = Element("GGGCGGR", None)
_SETS = (
    (TATA_BOX, INITIATOR),
    (TATA_BOX, GC_BOX),
    (INITIATOR, GC_BOX, GC_BOX),
    (TATA_BOX, INITIATOR, GC_BOX),
)


class SimulatedSequences(NamedTuple):
    """Simulated sequences on disk."""

    train: Path
    """train.csv, with columns sequence, label and origin."""
    val: Path
    test: Path


def simulate_promoters(
    folder: Path, seed: int = 0, *, rows: tuple[int, int, int] = (4_000, 1_000, 1_000)
) -> SimulatedSequences:
    """Write train.csv, val.csv and test.csv into an existing folder.

    Args:
        folder: where to write.
        seed: fixes every byte.
        rows: sequences of each file, about half of them promoters.
    """
    rng = np.random.default_rng(seed)
    paths = []
    for split, count in zip(NAMES, rows, strict=True):
        chains = background(rng, count * LENGTH).reshape(count, LENGTH)
        labels = rng.permutation(np.arange(count) % 2)
        for codes, label in zip(chains, labels, strict=True):
            _plant(rng, codes, intact=bool(label))
        paths.append(folder / f"{split}.csv")
        with paths[-1].open("w", encoding="ascii", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("sequence", "label", "origin"))
            for codes, label in zip(chains, labels, strict=True):
                letters = BASES[codes].tobytes().decode("ascii")
                table.writerow((letters, label, f"{SIMULATED} seed={seed}"))
    return SimulatedSequences(*paths)


def _plant(rng: np.random.Generator, codes: NDArray[np.uint8], *, intact: bool) -> None:
    """Put one set of elements into (70,) base codes, whole or in another order."""
    free = np.ones(len(codes), bool)
    # Those with a place of their own come first.
    for element in _SETS[rng.integers(len(_SETS))]:
        planted = element.draw(rng)
        while not intact and element.matches(planted):
            planted = rng.permutation(planted)
        size, first = len(planted), element.first
        if first is None:
            planted = either_strand(rng, planted)
            open_to = sliding_window_view(free, size).all(axis=1)
            first = int(rng.choice(np.flatnonzero(open_to)))
        codes[first : first + size] = planted
        free[first : first + size] = False
