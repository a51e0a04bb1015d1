"""Simulate what a task is prepared from, for runs that are given no data."""

from __future__ import annotations

from pathlib import Path

from hyena_ray.dataset.preparation import PrepareSettings, Recipe, SequenceSettings
from hyena_ray.genome.simulation import MOTIFS, simulate_genome, simulate_promoters
from hyena_ray.tasks import Task

SEQUENCES = {"promoter": simulate_promoters}
"""Functions that simulate sequences, by task; genomes hold one of `MOTIFS`."""


def simulate(
    task: Task, folder: Path, seed: int, *, lengths: tuple[int, ...], flank: int
) -> Recipe:
    """Write simulated inputs into an existing folder, and return how they are prepared.

    Args:
        task: Task whose regions or labels are planted.
        folder: Folder that is written to.
        seed: Seed, which fixes every byte.
        lengths: Lengths of the windows in bases; sequences have 70.
        flank: Bases stored on each side of a window; sequences have none.

    Returns:
        Settings for `prepare`, whose manifest says that the data are simulated.
    """
    if task.kind == "sequence":
        files = SEQUENCES[task.name](folder, seed)
        return SequenceSettings(task=task.name, train=files.train, val=files.val, test=files.test)
    made = simulate_genome(
        folder, seed, motif=MOTIFS[task.name], contig_length=160_000, tracts=600, decoys=600
    )
    return PrepareSettings(
        task=task.name, genome=made.genome, regions=made.regions, lengths=lengths, flank=flank
    )
