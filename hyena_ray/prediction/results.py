"""Turn scored pieces into what people read: a track, regions, and what they add up to.

In: the complete pieces of a plan, in order.  Out: `probabilities.bw`, `regions.bed`, `regions.csv`
and `PredictionResult`.  One piece in memory.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TextIO

import numpy as np

from hyena_ray.files import atomic_file
from hyena_ray.genome.bigwig import create_bigwig
from hyena_ray.prediction.pieces import read_piece
from hyena_ray.prediction.plan import PredictionPlan
from hyena_ray.prediction.regions import Region, RegionCaller, RegionSettings, Stretch
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

TRACK, BED, TABLE = "probabilities.bw", "regions.bed", "regions.csv"
SHOWN = 2.0**-13
"""The track is rounded to multiples of this, about 0.0001: most of a genome is then runs of 0."""
COLUMNS = ("contig", "start", "end", "name", "length", "mean", "max", "summit")


class PredictionResult(Settings):
    """What was found; the manifest of a prediction, beside what it was made of."""

    contigs: int
    """With a scored base."""
    bases: int
    """Of these contigs."""
    scored: int
    """That are not N."""
    called: int
    """With a probability of at least the threshold."""
    regions: int
    in_regions: int
    """Bases of regions."""
    digest: str
    """sha256 of the probabilities, whatever the regions."""

    @property
    def share(self) -> float:
        """Of the scored bases, those that are called."""
        return self.called / self.scored


def write_results(
    plan: PredictionPlan, settings: RegionSettings, folder: AnyPath
) -> PredictionResult:
    """Write track and regions of a complete prediction.

    Args:
        plan: whose pieces are all there.
        settings: of the regions.
        folder: of the prediction.

    Raises:
        InputError: a piece is missing or damaged.
    """
    sizes = plan.lengths
    caller = RegionCaller(settings)
    digest = hashlib.sha256()
    scored = called = 0
    contigs: set[str] = set()
    with ExitStack() as files:
        track = files.enter_context(create_bigwig(folder / TRACK, list(sizes.items())))
        regions = _RegionFiles(
            files.enter_context(
                files.enter_context(atomic_file(folder / BED)).open("w", encoding="utf-8")
            ),
            files.enter_context(
                files.enter_context(atomic_file(folder / TABLE)).open("w", encoding="utf-8")
            ),
        )
        for stretch in stretches(plan, folder):
            values = stretch.values
            digest.update(f"{stretch.contig} {stretch.start} {len(values)} ".encode())
            digest.update(values.tobytes())
            contigs.add(stretch.contig)
            scored += int(np.isfinite(values).sum())
            called += int((values >= settings.threshold).sum())
            shown = np.round(values.astype(np.float64) / SHOWN) * SHOWN
            track.add_runs(stretch.contig, stretch.start, shown)
            for region in caller.add(stretch):
                regions.add(region)
        for region in caller.finish():
            regions.add(region)
    return PredictionResult(
        contigs=len(contigs),
        bases=sum(sizes[name] for name in contigs),
        scored=scored,
        called=called,
        regions=regions.count,
        in_regions=regions.bases,
        digest=digest.hexdigest(),
    )


def stretches(plan: PredictionPlan, folder: AnyPath) -> Iterator[Stretch]:
    """The scored pieces of a complete prediction, in order."""
    for index, piece in enumerate(plan.pieces):
        yield Stretch(piece.contig, piece.start, read_piece(plan, index, folder))


class _RegionFiles:
    """Regions as BED, which browsers show, and as a table with more digits."""

    def __init__(self, bed: TextIO, table: TextIO) -> None:
        self._bed = csv.writer(bed, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        self._table = csv.writer(table, lineterminator="\n")
        self._table.writerow(COLUMNS)
        self.count = self.bases = 0

    def add(self, region: Region) -> None:
        self.count += 1
        length = region.end - region.start
        self.bases += length
        place = (region.contig, region.start, region.end, f"region{self.count}")
        # Thick is the summit; behind it a browser looks for colours and exons, not for figures.
        thick = (region.summit, region.summit + 1)
        self._bed.writerow((*place, round(1000 * region.mean), ".", *thick))
        figures = (f"{region.mean:.6f}", f"{region.max:.6f}", region.summit)
        self._table.writerow((*place, length, *figures))
