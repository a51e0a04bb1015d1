"""Results of a prediction: the track, the regions, and what they come to.

Probabilities pass by piece after piece: one piece is in memory, and all regions.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import numpy as np

from hyena_ray.genome.bigwig import create_bigwig
from hyena_ray.genome.called_regions import RegionSettings, Stretch, call_regions
from hyena_ray.prediction.pieces import PredictionPlan, read_piece, wait_for_piece
from hyena_ray.prediction.region_tables import (
    CalledRegions,
    ContigFigures,
    read_bases,
    write_tables,
)
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

TRACK = "probabilities.bw"
"""Name of the file."""
TRACK_PRECISION = 2.0**-13
"""Values of the track are rounded to multiples of this, about 0.0001, so that most of a genome is
one run of 0."""


class PredictionResult(Settings):
    """Figures of a complete prediction."""

    contigs: int
    """Number of contigs with a scored base."""
    bases: int
    """Bases of these contigs."""
    scored: int
    """Scored bases, which are those that are not N."""
    called: int
    """Bases whose probability reaches the threshold."""
    regions: int
    """Number of regions."""
    in_regions: int
    """Bases of the regions."""
    repeats: int | None
    """Regions of which at least half is soft-masked; None where the genome is not."""
    digest: str
    """sha256 of the probabilities, whatever the regions."""
    batch: int
    """Windows of one forward pass; the smallest number of all pieces."""

    @property
    def share(self) -> float:
        """Fraction of the scored bases that are called."""
        return self.called / self.scored

    @property
    def per_mb(self) -> float:
        """Regions in a million scored bases."""
        return 1e6 * self.regions / self.scored


def write_results(
    plan: PredictionPlan,
    settings: RegionSettings,
    genome: AnyPath,
    folder: AnyPath,
    stopped: threading.Event | None = None,
) -> PredictionResult:
    """Write track and regions of a prediction, while its pieces are being scored or afterwards.

    Args:
        plan: Plan of the prediction.
        settings: Settings of the regions.
        genome: File of the genome, or the name of an assembly: regions are listed with their bases.
        folder: Folder of the prediction.
        stopped: Set once no more pieces will be scored; until then, incomplete pieces are waited
            for. If None, all pieces must be complete.

    Returns:
        Figures of the prediction.

    Raises:
        InputError: A piece is damaged, or is missing and `stopped` is None; or the genome changed.
        JobError: A piece is missing, and no more pieces will be scored.
    """
    sizes = plan.lengths
    digest = hashlib.sha256()
    contigs: dict[str, ContigFigures] = {}
    batches: set[int] = set()
    regions = CalledRegions()
    with create_bigwig(folder / TRACK, list(sizes.items())) as track:

        def recorded_stretches() -> Iterator[Stretch]:
            for index, piece in enumerate(plan.pieces):
                if stopped is not None:
                    wait_for_piece(plan, index, folder, stopped)
                values, batch = read_piece(plan, index, folder)
                batches.add(batch)
                rounded = np.round(values.astype(np.float64) / TRACK_PRECISION) * TRACK_PRECISION
                spans = [(span.contig, span.start, span.bases) for span in piece.spans]
                track.add_spans(spans, rounded)
                ends = np.cumsum([size for _, _, size in spans])
                # Of all spans at once: a genome may have very many short contigs.
                scored, called = (
                    np.add.reduceat(chosen.astype(np.int64), ends - np.diff(ends, prepend=0))
                    for chosen in (np.isfinite(values), values >= settings.threshold)
                )
                for (contig, start, size), end, own_scored, own_called in zip(
                    spans, ends.tolist(), scored.tolist(), called.tolist(), strict=True
                ):
                    own = values[end - size : end]
                    digest.update(f"{contig} {start} {size} ".encode())
                    digest.update(own.tobytes())
                    before = contigs.get(contig, ContigFigures(0, 0))
                    contigs[contig] = ContigFigures(
                        before.scored + own_scored, before.called + own_called
                    )
                    yield Stretch(contig, start, own)

        for region in call_regions(recorded_stretches(), settings):
            regions.add(region)
    bases = read_bases(plan, regions, genome)
    write_tables(plan, contigs, regions, bases, folder)
    return PredictionResult(
        contigs=len(contigs),
        bases=sum(sizes[name] for name in contigs),
        scored=sum(contig.scored for contig in contigs.values()),
        called=sum(contig.called for contig in contigs.values()),
        regions=len(regions),
        in_regions=int((regions.end - regions.start).sum()),
        repeats=None if bases.repeats is None else int(bases.repeats.sum()),
        digest=digest.hexdigest(),
        batch=min(batches),
    )
