"""Make a small genome in which we know what there is to find.

A second-order Markov background with human trinucleotide habits (CpG is rare), planted tracts
that form Z-DNA (alternating pyrimidine and purine, without TA steps), labelled, and decoys that
do not (AT repeats, purine runs, short alternations), unlabelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.fasta import N_CODE

SIMULATED = "simulated by hyena_ray"
"""Stands in the header of every contig, so that nothing made from it passes for real."""

_BASES = np.frombuffer(b"ACGTN", np.uint8)
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
_A, _C, _G, _T = range(4)
_TRACT_UNITS = (((_C, _G),), ((_C, _A),), ((_T, _G),), ((_C, _G), (_C, _A), (_T, _G)))
_TRACT_SHARES = (0.4, 0.15, 0.15, 0.3)
_DECOY_UNITS = (((_A, _T),), ((_G, _A),), ((_C, _T),), ((_A, _A),))


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
    contigs: int = 4,
    contig_length: int = 400_000,
    tracts: int = 1_500,
    decoys: int = 1_500,
    tract_length: tuple[int, int] = (12, 30),
) -> Simulation:
    """Write genome.fa and regions.bed into an existing folder.

    Args:
        folder: where to write.
        seed: fixes every byte.
        contigs: sequences, named sim1, sim2, ...
        contig_length: bases of each; the first 500 are N, and a tenth is in lower case.
        tracts: labelled tracts over all contigs.
        decoys: unlabelled repeats over all contigs.
        tract_length: shortest and longest tract in bases, both included.
    """
    if contig_length < _TELOMERE + 3 * tract_length[1] * -(-(tracts + decoys) // contigs):
        raise ValueError("the tracts and decoys do not fit: fewer of them, or longer contigs")
    rng = np.random.default_rng(seed)
    genome, regions = folder / "genome.fa", folder / "regions.bed"
    planted: list[str] = []
    with genome.open("wb") as fasta, regions.open("w", encoding="ascii") as bed:
        for number in range(contigs):
            name = f"sim{number + 1}"
            share = (number + 1) / contigs, number / contigs
            count, lures = (int(n * share[0]) - int(n * share[1]) for n in (tracts, decoys))
            codes, spans = _contig(rng, contig_length, count, lures, tract_length)
            letters = _BASES[codes]
            planted += [letters[a:b].tobytes().decode("ascii") for a, b in spans]
            bed.writelines(f"{name}\t{a}\t{b}\n" for a, b in spans)
            fasta.write(f">{name} {SIMULATED} seed={seed}\n".encode())
            fasta.write(_wrapped(_soft_masked(rng, letters)))
    return Simulation(genome, regions, tuple(planted))


def _contig(
    rng: np.random.Generator, length: int, tracts: int, decoys: int, sizes: tuple[int, int]
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    codes = _background(rng, length)
    # One slot per repeat keeps them apart by at least half of the longest tract.
    slot = (length - _TELOMERE) // (tracts + decoys)
    is_tract = rng.permutation(np.arange(tracts + decoys) < tracts)
    spans = []
    for index, tract in enumerate(is_tract):
        if tract:
            size = int(rng.integers(sizes[0], sizes[1] + 1))
            unit = rng.choice(len(_TRACT_UNITS), p=_TRACT_SHARES)
            repeat = _repeat(rng, _TRACT_UNITS[unit], size)
        else:
            size = int(rng.integers(sizes[0] // 2, sizes[1] + 1))
            # Alternations too short to count are decoys as well.
            units = _TRACT_UNITS[0] if size < sizes[0] - 3 else None
            repeat = _repeat(rng, units or _DECOY_UNITS[rng.integers(len(_DECOY_UNITS))], size)
        first = _TELOMERE + index * slot + int(rng.integers(1, slot - size - sizes[1] // 2))
        codes[first : first + size] = repeat
        if tract:
            spans.append((first, first + size))
            # The neighbours break the alternation, so that the label's edges can be known.
            codes[first - 1] = rng.choice(_same_kind(repeat[0]))
            codes[first + size] = rng.choice(_same_kind(repeat[-1]))
    codes[:_TELOMERE] = N_CODE
    return codes, spans


def _repeat(
    rng: np.random.Generator, units: tuple[tuple[int, int], ...], size: int
) -> NDArray[np.uint8]:
    pairs = np.array(units, np.uint8)[rng.integers(len(units), size=size // 2 + 1)]
    phase = int(rng.integers(2))
    return pairs.reshape(-1)[phase : phase + size]


def _same_kind(code: int) -> tuple[int, int]:
    return (_A, _G) if code in (_A, _G) else (_C, _T)


def _background(rng: np.random.Generator, length: int) -> NDArray[np.uint8]:
    """Many chains side by side, one step of all at a time, laid end to end."""
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
