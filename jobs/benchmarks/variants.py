"""Scores of variants: ours, a plain loop, and the matrix products of their windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison import Comparison
from benchmarks.model import new_model, peak_products
from benchmarks.operations import FORWARD, flop_per_position
from hyena_ray.dataset.tokens import codes_to_tokens
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.variant_alleles import Allele, cut_windows
from hyena_ray.model.predictor import CPU_BATCH, probabilities
from hyena_ray.model.window import WindowModel
from hyena_ray.prediction.variant_scores import Places, VariantScorer

POSITIONS = 64
"""Bases of a random contig that are changed."""
APART = 40
"""Bases from one to the next."""


def benchmark_variants(folder: Path) -> list[Comparison]:
    """Compare the scores of every single-base change of some positions, on one strand.

    Each position has three alternative alleles, so that a third of the reference windows are not
    alike; the limit does the products of all windows that are not.
    """
    model = new_model().eval()
    window, flank = model.readout.window, model.readout.required_flank
    codes = np.random.default_rng(0).integers(0, 4, POSITIONS * APART, np.uint8)
    alleles = [
        Allele(place, "ACGT"[codes[place]], alt)
        for place in range(APART // 2, len(codes), APART)
        for alt in "ACGT"
        if alt != "ACGT"[codes[place]]
    ]
    windows = codes_to_tokens(
        np.stack([cut_windows(codes, allele, window, flank) for allele in alleles])
    )
    before = [allele.start - allele.window_start(window) for allele in alleles]
    one = np.ones(len(alleles), np.int64)
    places = Places(np.array(before), one, one)

    def ours() -> None:
        with VariantScorer(model, CPU_BATCH) as scorer:
            scorer.score(windows, places)

    positions = (POSITIONS + len(alleles)) * (window + 2 * flank)
    return [
        Comparison(
            f"variants: {len(alleles)} changes of a base, windows of {window} bases",
            "variants/s",
            len(alleles),
            {
                "ours": ours,
                "peer: a plain loop": lambda: plain_loop(model, windows),
                "limit: matrix products": peak_products(
                    positions * FORWARD * flop_per_position(model)
                ),
            },
        )
    ]


def plain_loop(model: WindowModel, windows: NDArray[np.uint8]) -> list[float]:
    """Score the two windows of every variant, one variant after the other.

    Args:
        model: The model.
        windows: Tokens of both windows of every variant, shape (n, 2, length).
    """
    changes = []
    for pair in windows:
        ref, alt = probabilities(model, torch.from_numpy(pair)).amax(1).tolist()
        changes.append(alt - ref)
    return changes


def write_deletions(genome: Path, path: Path, count: int) -> Path:
    """Write a table with deletions of a base along the first contig of a genome.

    Args:
        genome: FASTA file.
        path: Table to write.
        count: Number of deletions.

    Returns:
        The table.
    """
    contig = next(iter(open_genome(genome)))
    with path.open("w") as stream:
        for place in np.linspace(1000, len(contig.codes) - 1000, count).astype(int).tolist():
            pair = "".join("ACGTN"[code] for code in contig.codes[place : place + 2])
            stream.write(f"{contig.name}\t{place + 1}\t{pair}\t{pair[0]}\n")
    return path
