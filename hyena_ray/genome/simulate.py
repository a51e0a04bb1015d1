"""Make a small genome in which we know what there is to find.

A second-order Markov background with human trinucleotide habits (CpG is rare), planted tracts of
a motif, labelled, and decoys that only look like them, unlabelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.genome.fasta import N_CODE
from hyena_ray.genome.motifs import MOTIFS, Motif

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
