"""A genome of very many small contigs, beside one contig with as many bases."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.comparison import Comparison
from hyena_ray.dataset.preparation import PrepareSettings, prepare
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.model.build import build_model
from hyena_ray.model.settings import LoraSettings, ModelSettings, Readout
from hyena_ray.model.window import WindowModel
from hyena_ray.prediction.pieces import (
    make_scorer,
    missing_pieces,
    plan_prediction,
    run_piece,
    write_sequences,
)
from hyena_ray.prediction.results import write_results
from hyena_ray.tasks import TASKS

CONTIGS = 200_000
SIZE = 120
"""Bases of a small contig; every tenth has a region of 20."""


def benchmark_contigs(folder: Path) -> Iterator[Comparison]:
    """Compare preparation and prediction of many small contigs with those of large ones.

    Predictions are computed in this process, from the reading of the genome to track and regions,
    by the rule, which takes hardly any time, and by a small HyenaDNA.
    """
    many, one = write_genomes(folder, CONTIGS)
    megabases = CONTIGS * SIZE / 1e6
    names = f"{CONTIGS:,} contigs of {SIZE} bases", "3 contigs of as many bases"
    for split in ("kfold:3", "stratified:0.6/0.2/0.2"):
        runs = {
            name: partial(prepared, genome, split)
            for name, genome in zip(names, (many, one), strict=True)
        }
        yield Comparison(f"prepare, {split.partition(':')[0]}", "Mb/s", megabases, runs)
    small = ModelSettings(d_model=16, n_layer=1)
    models = {
        "rule": (ModelSettings(architecture="rule"), Readout(window=100)),
        "HyenaDNA of 16 channels": (small, Readout(window=100, flank=16, lookahead=16)),
    }
    for title, (settings, readout) in models.items():
        model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0).eval()
        runs = {
            name: partial(predicted, model, genome)
            for name, genome in zip(names, (many, one), strict=True)
        }
        yield Comparison(f"predict, {title}", "Mb/s", megabases, runs)


def write_genomes(folder: Path, contigs: int) -> tuple[Path, Path]:
    """Write the same random bases as many contigs and as three, each with its regions.

    Args:
        folder: Folder of the files.
        contigs: Number of small contigs, a multiple of 3.

    Returns:
        FASTA files; the regions of each have its name and end in .bed.
    """
    rng = np.random.default_rng(0)
    bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(4, size=(contigs, SIZE))]
    starts = rng.integers(0, SIZE - 60, size=contigs)
    sequences = [row.tobytes().decode() for row in bases]
    third = -(-contigs // 3)
    many, one = folder / "many.fa", folder / "one.fa"
    many.write_text("".join(f">c{number:07d}\n{row}\n" for number, row in enumerate(sequences)))
    one.write_text(
        "".join(
            "\n".join([f">chr{at // third}", *sequences[at : at + third], ""])
            for at in range(0, contigs, third)
        )
    )
    rows: tuple[list[str], list[str]] = ([], [])
    for number in range(0, contigs, 10):
        start = int(starts[number])
        rows[0].append(f"c{number:07d}\t{start}\t{start + 20}\n")
        start += number % third * SIZE
        rows[1].append(f"chr{number // third}\t{start}\t{start + 20}\n")
    for path, own in zip((many, one), rows, strict=True):
        path.with_suffix(".bed").write_text("".join(own))
    return many, one


def prepared(genome: Path, split: str) -> None:
    """Prepare windows of a genome, and drop them.

    Args:
        genome: FASTA file, with its regions next to it.
        split: Rule of the split.
    """
    with tempfile.TemporaryDirectory(dir=genome.parent) as out:
        settings = PrepareSettings(
            task="zdna",
            genome=genome,
            regions=genome.with_suffix(".bed"),
            lengths=(50,),
            stretch=100,
            flank=16,
            split=split,
        )
        prepare(settings, Path(out) / "prepared")


def predicted(model: WindowModel, genome: Path) -> None:
    """Score a genome in this process, write track and regions, and drop them.

    Args:
        model: Model of bases, in evaluation mode.
        genome: FASTA file.
    """
    with tempfile.TemporaryDirectory(dir=genome.parent) as name:
        folder = Path(name)
        plan = plan_prediction(model, genome, contigs=None, overlap=None)
        write_sequences(plan, genome, folder)
        scorer = make_scorer(model, plan)
        for index in missing_pieces(plan, folder):
            run_piece(scorer, plan, index, folder)
        write_results(plan, RegionSettings(threshold=0.9), genome, folder)
