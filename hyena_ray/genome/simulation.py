"""Simulated DNA."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hyena_ray.genome.contigs import N_CODE
from hyena_ray.genome.splits import SPLITS

A, C, G, T = range(4)

_Units = tuple[tuple[int, int], ...]
_TRACT_UNITS: tuple[_Units, ...] = (
    ((C, G),),
    ((C, A),),
    ((T, G),),
    ((C, G), (C, A), (T, G)),
)
_TRACT_SHARES = (0.4, 0.15, 0.15, 0.3)
_DECOY_UNITS: tuple[_Units, ...] = (((A, T),), ((G, A),), ((C, T),), ((A, A),))
_GA: _Units = ((G, A),)


class Motif(Protocol):
    """Draws base codes to plant."""

    @property
    def longest(self) -> int:
        """Bases of the longest tract or decoy."""

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size,) what is to be found."""

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(size,) what is not."""

    def beside(self, base: int) -> tuple[int, ...]:
        """Bases that do not prolong a tract with this first or last base."""


@dataclass(frozen=True, slots=True)
class Alternation:
    """Z-DNA: alternating pyrimidine and purine without TA steps. Decoys are AT repeats, runs of
    purines or pyrimidines, and alternations that are too short."""

    shortest: int = 12
    longest: int = 30

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        size = int(rng.integers(self.shortest, self.longest + 1))
        unit = rng.choice(len(_TRACT_UNITS), p=_TRACT_SHARES)
        return _repeat(rng, _TRACT_UNITS[unit], size)

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        size = int(rng.integers(self.shortest // 2, self.longest + 1))
        # Alternations too short to count are decoys as well.
        units = _TRACT_UNITS[0] if size < self.shortest - 3 else None
        return _repeat(rng, units or _DECOY_UNITS[rng.integers(len(_DECOY_UNITS))], size)

    def beside(self, base: int) -> tuple[int, ...]:
        return (A, G) if base in (A, G) else (C, T)


@dataclass(frozen=True, slots=True)
class Quadruplex:
    """G-quadruplexes: four runs of 3 to 5 G with loops of 1 to 7 other bases between, on either
    strand. Decoys are runs of 2, a run too few, and GA repeats."""

    runs: int = 4
    shortest_run: int = 3
    longest_run: int = 5
    longest_loop: int = 7

    @property
    def longest(self) -> int:
        return self.runs * self.longest_run + (self.runs - 1) * self.longest_loop

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs)
        return either_strand(rng, self._joined(rng, sizes))

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        kind = rng.integers(3)
        if kind == 0:
            codes = self._joined(rng, np.full(self.runs, self.shortest_run - 1))
        elif kind == 1:
            sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs - 1)
            codes = self._joined(rng, sizes)
        else:
            codes = _repeat(rng, _GA, int(rng.integers(self.longest // 3, self.longest + 1)))
        return either_strand(rng, codes)

    def beside(self, base: int) -> tuple[int, ...]:
        return tuple(other for other in (A, C, G, T) if other != base)

    def _joined(self, rng: np.random.Generator, sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Runs of G of these sizes. Loops hold no G, so that no run is longer than it says."""
        pieces = [np.full(sizes[0], G)]
        for size in sizes[1:]:
            loop = rng.choice((A, C, T), size=rng.integers(1, self.longest_loop + 1))
            pieces += [loop, np.full(size, G)]
        return np.concatenate(pieces).astype(np.uint8)


MOTIFS: dict[str, Motif] = {"zdna": Alternation(), "g4": Quadruplex()}
"""By name of the task that finds them."""


def _repeat(rng: np.random.Generator, units: _Units, size: int) -> NDArray[np.uint8]:
    pairs = np.array(units, np.uint8)[rng.integers(len(units), size=size // 2 + 1)]
    phase = int(rng.integers(2))
    return pairs.reshape(-1)[phase : phase + size]


def either_strand(rng: np.random.Generator, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(size,) base codes, or those of the opposite strand."""
    return codes if rng.integers(2) else (T - codes[::-1]).astype(np.uint8)


SIMULATED = "simulated by hyena_ray"
"""Stands in the header of every contig, and in every row of simulated sequences, so that nothing
made from them passes for real."""

BASES = np.frombuffer(b"ACGTN", np.uint8)
_LINE = 60
_TELOMERE = 500

# Rows AA, AC, ... TT; columns the next base.  Counted on 50 Mb of hg19, two digits.
_NEXT = np.array(
    [
        *([0.38, 0.16, 0.22, 0.24], [0.39, 0.25, 0.07, 0.29]),
        *([0.29, 0.22, 0.28, 0.21], [0.24, 0.19, 0.26, 0.31]),
        *([0.23, 0.23, 0.31, 0.23], [0.33, 0.28, 0.07, 0.32]),
        *([0.20, 0.26, 0.29, 0.25], [0.15, 0.26, 0.33, 0.26]),
        *([0.31, 0.17, 0.31, 0.21], [0.32, 0.30, 0.08, 0.30]),
        *([0.27, 0.24, 0.29, 0.20], [0.19, 0.20, 0.35, 0.26]),
        *([0.31, 0.18, 0.21, 0.30], [0.31, 0.29, 0.05, 0.35]),
        *([0.25, 0.21, 0.27, 0.27], [0.20, 0.22, 0.20, 0.38]),
    ]
)


class Simulation(NamedTuple):
    """A simulated genome on disk and what was planted in it."""

    genome: Path
    """genome.fa"""
    regions: Path
    """regions.bed, the planted tracts."""
    tracts: tuple[str, ...]
    """Sequences of the planted tracts, upper case, in file order."""

    def kmers(self, k: int) -> frozenset[str]:
        """Every k-mer that lies inside a planted tract."""
        return frozenset(
            tract[i : i + k] for tract in self.tracts for i in range(len(tract) - k + 1)
        )


def simulate_genome(
    folder: Path,
    seed: int = 0,
    *,
    motif: Motif = MOTIFS["zdna"],
    contigs: int = 4,
    contig_length: int = 400_000,
    tracts: int = 1_500,
    decoys: int = 1_500,
) -> Simulation:
    """Write genome.fa and regions.bed into an existing folder.

    Args:
        folder: where to write.
        seed: fixes every byte.
        motif: what is planted.
        contigs: sequences, named sim1, sim2, ...
        contig_length: bases of each; the first 500 are N, and a tenth is in lower case.
        tracts: labelled tracts over all contigs.
        decoys: unlabelled repeats over all contigs.
    """
    if contig_length < _TELOMERE + 3 * motif.longest * -(-(tracts + decoys) // contigs):
        raise ValueError("the tracts and decoys do not fit: fewer of them, or longer contigs")
    rng = np.random.default_rng(seed)
    genome, regions = folder / "genome.fa", folder / "regions.bed"
    planted: list[str] = []
    with genome.open("wb") as fasta, regions.open("w", encoding="ascii") as bed:
        for number in range(contigs):
            name = f"sim{number + 1}"
            share = (number + 1) / contigs, number / contigs
            count, lures = (int(n * share[0]) - int(n * share[1]) for n in (tracts, decoys))
            codes, spans = _contig(rng, contig_length, count, lures, motif)
            letters = BASES[codes]
            planted += [letters[a:b].tobytes().decode("ascii") for a, b in spans]
            bed.writelines(f"{name}\t{a}\t{b}\n" for a, b in spans)
            fasta.write(f">{name} {SIMULATED} seed={seed}\n".encode())
            fasta.write(_wrapped(_soft_masked(rng, letters)))
    return Simulation(genome, regions, tuple(planted))


def _contig(
    rng: np.random.Generator, length: int, tracts: int, decoys: int, motif: Motif
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    codes = background(rng, length)
    # One slot per repeat keeps them apart by at least half of the longest tract.
    slot = (length - _TELOMERE) // (tracts + decoys)
    is_tract = rng.permutation(np.arange(tracts + decoys) < tracts)
    spans = []
    for index, tract in enumerate(is_tract):
        planted = motif.tract(rng) if tract else motif.decoy(rng)
        size = len(planted)
        first = _TELOMERE + index * slot + int(rng.integers(1, slot - size - motif.longest // 2))
        codes[first : first + size] = planted
        if tract:
            spans.append((first, first + size))
            # The neighbours do not go on with it, so that the label's edges can be known.
            codes[first - 1] = rng.choice(motif.beside(planted[0]))
            codes[first + size] = rng.choice(motif.beside(planted[-1]))
    codes[:_TELOMERE] = N_CODE
    return codes, spans


def background(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """(length,) base codes: many chains, one step of all at a time, laid end to end."""
    chains = max(1, round(np.sqrt(length)))
    steps = -(-length // chains)
    limits = np.cumsum(_NEXT, axis=1)[:, :3]
    drawn = np.empty((steps, chains), np.uint8)
    state = rng.integers(16, size=chains)
    for step in range(steps):
        base = (rng.random(chains)[:, None] > limits[state]).sum(axis=1)
        state = (state * 4 + base) % 16
        drawn[step] = base
    return drawn.T.reshape(-1)[:length].copy()


def _soft_masked(rng: np.random.Generator, letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    masked = letters.copy()
    for start in rng.integers(len(letters), size=len(letters) // 3_000):
        masked[start : start + 300] |= 32
    return masked


def _wrapped(letters: NDArray[np.uint8]) -> bytes:
    whole = len(letters) // _LINE * _LINE
    lines = np.full((whole // _LINE, _LINE + 1), ord("\n"), np.uint8)
    lines[:, :_LINE] = letters[:whole].reshape(-1, _LINE)
    rest = letters[whole:].tobytes()
    return lines.tobytes() + (rest + b"\n" if rest else b"")


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
    for split, count in zip(SPLITS, rows, strict=True):
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
