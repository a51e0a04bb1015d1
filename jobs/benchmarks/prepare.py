"""Preparation of windows, from FASTA and BED to Parquet."""

from __future__ import annotations

import gzip
import random
import tempfile
from bisect import bisect_right
from pathlib import Path

from benchmarks.comparison import Comparison
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.genome.simulation import simulate_genome


def benchmark_prepare(folder: Path) -> list[Comparison]:
    """Compare `prepare` with a loop over tiles, and with reading the bytes alone, the limit."""
    fasta, bed = folder / "genome.fa", folder / "regions.bed"
    simulate_genome(folder, contigs=4, contig_length=5_000_000, tracts=1_000)
    packed = folder / "genome.fa.gz"
    packed.write_bytes(gzip.compress(fasta.read_bytes(), compresslevel=6))
    megabases = 20.0

    def ours(genome: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            settings = PrepareSettings(
                task="zdna",
                genome=genome,
                regions=bed,
                negatives="random:3",
                held_out_negatives="random:3",
                flank=64,
            )
            prepare(settings, Path(out) / "prepared")

    return [
        Comparison(
            "prepare, plain FASTA",
            "Mb/s",
            megabases,
            {
                "ours": lambda: ours(fasta),
                "peer: loop over tiles, nothing written": lambda: tiles_by_loop(fasta, bed),
                "limit: read and translate": lambda: fasta.read_bytes().translate(bytes(256)),
            },
        ),
        Comparison(
            "prepare, gzip FASTA",
            "Mb/s",
            megabases,
            {
                "ours": lambda: ours(packed),
                "limit: gunzip": lambda: gzip.decompress(packed.read_bytes()),
            },
        ),
    ]


def tiles_by_loop(fasta: Path, bed: Path, length: int = 100) -> list[tuple[str, int, str]]:
    """Cut windows as most scripts do: slice tiles, count N, look up labels, sample negatives."""
    regions: dict[str, list[tuple[int, int]]] = {}
    for line in bed.read_text().splitlines():
        contig, start, end = line.split("\t")[:3]
        regions.setdefault(contig, []).append((int(start), int(end)))
    positive: list[tuple[str, int, str]] = []
    negative: list[tuple[str, int, str]] = []
    for record in fasta.read_text().split(">")[1:]:
        name, _, body = record.partition("\n")
        sequence = body.replace("\n", "").upper()
        spans = sorted(regions.get(name.split()[0], []))
        starts = [start for start, _ in spans]
        for first in range(0, len(sequence) - length + 1, length):
            tile = sequence[first : first + length]
            if 2 * tile.count("N") > length:
                continue
            index = bisect_right(starts, first + length - 1) - 1
            hit = index >= 0 and spans[index][1] > first
            (positive if hit else negative).append((name, first, tile))
    return positive + random.Random(0).sample(negative, min(len(negative), 3 * len(positive)))
