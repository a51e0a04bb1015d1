"""Simulate DNA in which the regions to find are known: a genome, or sequences around promoters.

A genome is a second-order Markov background with human trinucleotide frequencies (CpG is rare),
planted tracts of a motif, labelled, and decoys that only look like them, unlabelled.

A promoter is 70 bases around the start of transcription, with two or three of a TATA box and an
initiator at their positions and GC boxes anywhere. A decoy has the same letters at the same
positions in another order, so that composition does not tell them apart.
"""

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

SIMULATED = "simulated by hyena_ray"
"""Mark in the header of every simulated contig, and in every row of simulated sequences, so that
nothing made from them passes for real."""

A, C, G, T = range(4)
LETTERS = np.frombuffer(b"ACGTN", np.uint8)
"""(5,) ASCII letters by base code."""
PROMOTER_LENGTH = 70
"""Bases of a simulated promoter."""
TRANSCRIPTION_START = 34
"""Index of the first transcribed base of a simulated promoter."""

_Units = tuple[tuple[int, int], ...]
_TRACT_UNITS: tuple[_Units, ...] = (
    ((C, G),),
    ((C, A),),
    ((T, G),),
    ((C, G), (C, A), (T, G)),
)
_TRACT_FRACTIONS = (0.4, 0.15, 0.15, 0.3)
_DECOY_UNITS: tuple[_Units, ...] = (((A, T),), ((G, A),), ((C, T),), ((A, A),))
_GA: _Units = ((G, A),)

_LINE = 60
_TELOMERE = 500
"""Bases N at the start of every simulated contig."""

# Rows AA, AC, ... TT; columns the next base.  Counted on 50 Mb of hg19, two digits.
_NEXT_BASE = np.array(
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

_IUPAC: dict[str, tuple[int, ...]] = {
    "A": (A,),
    "C": (C,),
    "G": (G,),
    "T": (T,),
    "R": (A, G),
    "Y": (C, T),
    "W": (A, T),
    "N": (A, C, G, T),
}


class Motif(Protocol):
    """A motif of a simulated genome, drawn as base codes."""

    @property
    def longest(self) -> int:
        """Bases of the longest tract or decoy."""

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw a tract to be found.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw a repeat that only looks like a tract.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """

    def ending_bases(self, base: int) -> tuple[int, ...]:
        """Return the bases that do not prolong a tract.

        Args:
            base: Code of the tract's first or last base.

        Returns:
            Codes of bases that may be next to it.
        """


@dataclass(frozen=True, slots=True)
class ZDnaMotif:
    """Z-DNA: alternating pyrimidine and purine without TA steps.

    Decoys are AT repeats, runs of purines or pyrimidines, and alternations that are too short.
    """

    shortest: int = 12
    """Bases of the shortest tract."""
    longest: int = 30
    """Bases of the longest tract or decoy."""

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw an alternation of pyrimidines and purines.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """
        size = int(rng.integers(self.shortest, self.longest + 1))
        unit = rng.choice(len(_TRACT_UNITS), p=_TRACT_FRACTIONS)
        return _repeat(rng, _TRACT_UNITS[unit], size)

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw a repeat without the alternation, or an alternation that is too short.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """
        size = int(rng.integers(self.shortest // 2, self.longest + 1))
        # Alternations too short to count are decoys as well.
        units = _TRACT_UNITS[0] if size < self.shortest - 3 else None
        return _repeat(rng, units or _DECOY_UNITS[rng.integers(len(_DECOY_UNITS))], size)

    def ending_bases(self, base: int) -> tuple[int, ...]:
        """Return the bases that do not continue the alternation: those of the same class.

        Args:
            base: Code of the tract's first or last base.

        Returns:
            Codes of bases that may be next to it.
        """
        return (A, G) if base in (A, G) else (C, T)


@dataclass(frozen=True, slots=True)
class QuadruplexMotif:
    """G-quadruplexes on either strand: runs of G with loops of other bases between.

    Decoys are quadruplexes with runs that are too short, or one run too few, and GA repeats.
    """

    runs: int = 4
    """Runs of G."""
    shortest_run: int = 3
    """Bases of the shortest run of G."""
    longest_run: int = 5
    """Bases of the longest run of G."""
    longest_loop: int = 7
    """Bases of the longest loop; the shortest has 1."""

    @property
    def longest(self) -> int:
        """Bases of the longest tract or decoy."""
        return self.runs * self.longest_run + (self.runs - 1) * self.longest_loop

    def tract(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw a quadruplex on a random strand.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """
        sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs)
        return _random_strand(rng, self._join_runs(rng, sizes))

    def decoy(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw G-rich sequence that does not fold, on a random strand.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """
        kind = rng.integers(3)
        if kind == 0:
            codes = self._join_runs(rng, np.full(self.runs, self.shortest_run - 1))
        elif kind == 1:
            sizes = rng.integers(self.shortest_run, self.longest_run + 1, size=self.runs - 1)
            codes = self._join_runs(rng, sizes)
        else:
            codes = _repeat(rng, _GA, int(rng.integers(self.longest // 3, self.longest + 1)))
        return _random_strand(rng, codes)

    def ending_bases(self, base: int) -> tuple[int, ...]:
        """Return the bases that do not prolong a run.

        Args:
            base: Code of the tract's first or last base.

        Returns:
            Codes of bases that may be next to it.
        """
        return tuple(other for other in (A, C, G, T) if other != base)

    def _join_runs(self, rng: np.random.Generator, sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Join runs of G of these sizes by loops without G, so that no run is longer."""
        pieces = [np.full(sizes[0], G)]
        for size in sizes[1:]:
            loop = rng.choice((A, C, T), size=rng.integers(1, self.longest_loop + 1))
            pieces += [loop, np.full(size, G)]
        return np.concatenate(pieces).astype(np.uint8)


MOTIFS: dict[str, Motif] = {"zdna": ZDnaMotif(), "g4": QuadruplexMotif()}
"""Motifs by name of the task that finds them."""


def _repeat(rng: np.random.Generator, units: _Units, size: int) -> NDArray[np.uint8]:
    pairs = np.array(units, np.uint8)[rng.integers(len(units), size=size // 2 + 1)]
    phase = int(rng.integers(2))
    return pairs.reshape(-1)[phase : phase + size]


def _random_strand(rng: np.random.Generator, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes if rng.integers(2) else (T - codes[::-1]).astype(np.uint8)


def simulate_background(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """Draw random sequence with human trinucleotide frequencies.

    Args:
        rng: Source of the draw.
        length: Bases to draw.

    Returns:
        (length,) base codes.
    """
    # Many chains are drawn a step of all at a time, and put end to end.
    chains = max(1, round(np.sqrt(length)))
    steps = -(-length // chains)
    limits = np.cumsum(_NEXT_BASE, axis=1)[:, :3]
    drawn = np.empty((steps, chains), np.uint8)
    state = rng.integers(16, size=chains)
    for step in range(steps):
        base = (rng.random(chains)[:, None] > limits[state]).sum(axis=1)
        state = (state * 4 + base) % 16
        drawn[step] = base
    return drawn.T.reshape(-1)[:length].copy()


class SimulatedGenome(NamedTuple):
    """A simulated genome on disk, and what was planted in it."""

    genome: Path
    """Path of genome.fa."""
    regions: Path
    """Path of regions.bed, with the planted tracts."""
    tracts: tuple[str, ...]
    """Sequences of the planted tracts, upper case, in file order."""

    def kmers(self, k: int) -> frozenset[str]:
        """Return every k-mer that is inside a planted tract.

        Args:
            k: Length of a k-mer in bases.

        Returns:
            Distinct k-mers, upper case.
        """
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
) -> SimulatedGenome:
    """Write genome.fa and regions.bed of a simulated genome.

    Args:
        folder: An existing folder to write to.
        seed: Seed that fixes every byte.
        motif: Motif to plant.
        contigs: Number of contigs, named sim1, sim2, ...
        contig_length: Bases of each contig; the first 500 are N, and a tenth is in lower case.
        tracts: Labelled tracts over all contigs.
        decoys: Unlabelled repeats over all contigs.

    Returns:
        The files, and the sequences of the tracts.

    Raises:
        ValueError: The tracts and decoys do not fit into the contigs.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     genome = simulate_genome(
        ...         Path(folder), seed=0, contigs=1, contig_length=2_000, tracts=3, decoys=1
        ...     )
        ...     genome.regions.read_text().split()[:3]
        ['sim1', '546', '562']
        >>> genome.tracts[0]
        'GCGCGCGCGCGCGCGC'
    """
    if contig_length < _TELOMERE + 3 * motif.longest * -(-(tracts + decoys) // contigs):
        raise ValueError("the tracts and decoys do not fit: give fewer of them, or longer contigs")
    rng = np.random.default_rng(seed)
    genome, regions = folder / "genome.fa", folder / "regions.bed"
    planted: list[str] = []
    with genome.open("wb") as fasta, regions.open("w", encoding="ascii") as bed:
        for number in range(contigs):
            name = f"sim{number + 1}"
            before, until = number / contigs, (number + 1) / contigs
            count, lures = (int(n * until) - int(n * before) for n in (tracts, decoys))
            codes, intervals = _simulate_contig(rng, contig_length, count, lures, motif)
            letters = LETTERS[codes]
            planted += [letters[a:b].tobytes().decode("ascii") for a, b in intervals]
            bed.writelines(f"{name}\t{a}\t{b}\n" for a, b in intervals)
            fasta.write(f">{name} {SIMULATED} seed={seed}\n".encode())
            fasta.write(_wrap_lines(_soft_mask(rng, letters)))
    return SimulatedGenome(genome, regions, tuple(planted))


def _simulate_contig(
    rng: np.random.Generator, length: int, tracts: int, decoys: int, motif: Motif
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    codes = simulate_background(rng, length)
    # One slot per repeat separates them by at least half of the longest tract.
    slot = (length - _TELOMERE) // (tracts + decoys)
    is_tract = rng.permutation(np.arange(tracts + decoys) < tracts)
    intervals = []
    for index, tract in enumerate(is_tract):
        planted = motif.tract(rng) if tract else motif.decoy(rng)
        size = len(planted)
        first = _TELOMERE + index * slot + int(rng.integers(1, slot - size - motif.longest // 2))
        codes[first : first + size] = planted
        if tract:
            intervals.append((first, first + size))
            # Its neighbours do not prolong it, so that the label's edges can be learnt.
            codes[first - 1] = rng.choice(motif.ending_bases(planted[0]))
            codes[first + size] = rng.choice(motif.ending_bases(planted[-1]))
    codes[:_TELOMERE] = N_CODE
    return codes, intervals


def _soft_mask(rng: np.random.Generator, letters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    masked = letters.copy()
    for start in rng.integers(len(letters), size=len(letters) // 3_000):
        masked[start : start + 300] |= 32
    return masked


def _wrap_lines(letters: NDArray[np.uint8]) -> bytes:
    whole = len(letters) // _LINE * _LINE
    lines = np.full((whole // _LINE, _LINE + 1), ord("\n"), np.uint8)
    lines[:, :_LINE] = letters[:whole].reshape(-1, _LINE)
    rest = letters[whole:].tobytes()
    return lines.tobytes() + (rest + b"\n" if rest else b"")


class PromoterElement(NamedTuple):
    """A short sequence element of promoters."""

    consensus: str
    """Consensus sequence in IUPAC letters."""
    first: int | None
    """Index of its first base in the promoter; None for anywhere, on either strand."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Draw a sequence that fits the consensus.

        Args:
            rng: Source of the draw.

        Returns:
            (size,) base codes.
        """
        allowed = [_IUPAC[letter] for letter in self.consensus]
        drawn = rng.random(len(allowed))
        picked = [
            codes[int(fraction * len(codes))]
            for codes, fraction in zip(allowed, drawn, strict=True)
        ]
        return np.array(picked, np.uint8)

    def matches(self, codes: NDArray[np.uint8]) -> bool:
        """Return whether a sequence fits the consensus, on the given strand.

        Args:
            codes: (size,) base codes.

        Returns:
            True where every base is one that the consensus allows.
        """
        return all(
            code in _IUPAC[letter] for code, letter in zip(codes, self.consensus, strict=True)
        )


TATA_BOX = PromoterElement("TATAWAWR", TRANSCRIPTION_START - 31)
INITIATOR = PromoterElement("YYANWYY", TRANSCRIPTION_START - 2)
GC_BOX = PromoterElement("GGGCGGR", None)
_ELEMENT_SETS = (
    (TATA_BOX, INITIATOR),
    (TATA_BOX, GC_BOX),
    (INITIATOR, GC_BOX, GC_BOX),
    (TATA_BOX, INITIATOR, GC_BOX),
)


class SimulatedSequences(NamedTuple):
    """Simulated sequences on disk."""

    train: Path
    """Path of train.csv, with columns sequence, label and origin."""
    val: Path
    """Path of val.csv, with the same columns."""
    test: Path
    """Path of test.csv, with the same columns."""


def simulate_promoters(
    folder: Path, seed: int = 0, *, rows: tuple[int, int, int] = (4_000, 1_000, 1_000)
) -> SimulatedSequences:
    """Write train.csv, val.csv and test.csv of simulated promoters and decoys.

    Args:
        folder: An existing folder to write to.
        seed: Seed that fixes every byte.
        rows: Sequences of each file, half of them promoters.

    Returns:
        The files.
    """
    rng = np.random.default_rng(seed)
    paths = []
    for split, count in zip(SPLITS, rows, strict=True):
        size = count * PROMOTER_LENGTH
        sequences = simulate_background(rng, size).reshape(count, PROMOTER_LENGTH)
        labels = rng.permutation(np.arange(count) % 2)
        for codes, label in zip(sequences, labels, strict=True):
            _plant_elements(rng, codes, intact=bool(label))
        paths.append(folder / f"{split}.csv")
        with paths[-1].open("w", encoding="ascii", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("sequence", "label", "origin"))
            for codes, label in zip(sequences, labels, strict=True):
                letters = LETTERS[codes].tobytes().decode("ascii")
                table.writerow((letters, label, f"{SIMULATED} seed={seed}"))
    return SimulatedSequences(*paths)


def _plant_elements(rng: np.random.Generator, codes: NDArray[np.uint8], *, intact: bool) -> None:
    """Put one set of elements into (70,) base codes, intact or with their letters shuffled."""
    free = np.ones(len(codes), bool)
    # Elements with a fixed position come first.
    for element in _ELEMENT_SETS[rng.integers(len(_ELEMENT_SETS))]:
        planted = element.draw(rng)
        while not intact and element.matches(planted):
            planted = rng.permutation(planted)
        size, first = len(planted), element.first
        if first is None:
            planted = _random_strand(rng, planted)
            candidates = sliding_window_view(free, size).all(axis=1)
            first = int(rng.choice(np.flatnonzero(candidates)))
        codes[first : first + size] = planted
        free[first : first + size] = False
