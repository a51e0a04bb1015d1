"""Regions called on the probabilities of a genome, and the files that people read.

Probabilities pass by piece after piece: one piece and one region are in memory. Results are the
track `probabilities.bw`, the regions as `regions.bed` and `regions.csv`, and `PredictionResult`.
"""

from __future__ import annotations

import csv
import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.genome.bigwig import create_bigwig
from hyena_ray.genome.intervals import true_runs
from hyena_ray.prediction.pieces import PredictionPlan, read_piece, wait_for_piece
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

TRACK, BED, TABLE = "probabilities.bw", "regions.bed", "regions.csv"
"""Names of the files."""
TRACK_PRECISION = 2.0**-13
"""Values of the track are rounded to multiples of this, about 0.0001, so that most of a genome is
one run of 0."""
COLUMNS = ("contig", "start", "end", "name", "length", "mean", "max", "summit")
"""Columns of `regions.csv`."""


class Stretch(NamedTuple):
    """Probabilities of consecutive bases."""

    contig: str
    """Name of the contig."""
    start: int
    """First base, 0-based."""
    values: NDArray[np.float32]
    """Probabilities, multiples of `hyena_ray.model.predictor.PRECISION`, shape (n,); NaN for N."""


class Region(NamedTuple):
    """Called bases of one contig, with the gaps between them that were joined."""

    contig: str
    """Name of the contig."""
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""
    mean: float
    """Mean probability of the bases that are not N."""
    max: float
    """Highest probability."""
    summit: int
    """First base with the highest probability, 0-based."""


def call_regions(stretches: Iterable[Stretch], settings: RegionSettings) -> Iterator[Region]:
    """Join called bases to regions, while a genome passes by.

    How a contig is cut into stretches changes nothing.

    Args:
        stretches: Probabilities, a contig at a time, ascending within it. Where a stretch does not
            start at the end of the last one, every base between them is N.
        settings: Threshold, shortest region and largest gap.

    Yields:
        Regions in the same order.

    Example:
        >>> values = np.array([0, 0.75, 0.75, 0, 0.75, 0, 0, 0.5], np.float32)
        >>> settings = RegionSettings(threshold=0.5, min_length=2, merge_gap=1)
        >>> for region in call_regions([Stretch("chr1", 100, values)], settings):
        ...     print(region.start, region.end, region.mean)
        101 105 0.5625
    """
    caller = _RegionCaller(settings)
    for stretch in stretches:
        yield from caller.add(stretch)
    yield from caller.finish()


class _RegionCaller:
    """State of `call_regions` between stretches."""

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._open: _OpenRegion | None = None

    def add(self, stretch: Stretch) -> Iterator[Region]:
        """Yield the regions that end before the last bases of this stretch."""
        settings = self._settings
        if self._open is not None and self._open.contig != stretch.contig:
            yield from self.finish()
        called = stretch.values >= settings.threshold
        if self._open is None and not called.any():
            return
        runs = true_runs(called)
        known = np.isfinite(stretch.values)
        values = np.where(known, stretch.values, 0).astype(np.float64)
        # Exact, since probabilities are multiples of a power of two.
        sums, counts = np.zeros(len(values) + 1), np.zeros(len(values) + 1, np.int64)
        np.cumsum(values, out=sums[1:])
        np.cumsum(known, out=counts[1:])
        done = 0
        for start, end in zip(runs.start.tolist(), runs.end.tolist(), strict=True):
            position = stretch.start + start
            if self._open is not None and position - self._open.end > settings.merge_gap:
                yield from self.finish()
            summit = start + int(np.argmax(values[start:end]))
            if self._open is None:
                self._open = _OpenRegion(stretch.contig, position)
            else:
                self._open.pass_gap(sums[start] - sums[done], counts[start] - counts[done])
            self._open.extend(
                stretch.start + end,
                sums[end] - sums[start],
                counts[end] - counts[start],
                float(values[summit]),
                stretch.start + summit,
            )
            done = end
        if self._open is not None:
            self._open.pass_gap(sums[-1] - sums[done], counts[-1] - counts[done])

    def finish(self) -> Iterator[Region]:
        """Yield the open region, if there is one: no more called bases follow."""
        last, self._open = self._open, None
        if last is not None and last.end - last.start >= self._settings.min_length:
            yield Region(
                last.contig, last.start, last.end, last.sum / last.count, last.max, last.summit
            )


class _OpenRegion:
    """A region that may still be extended."""

    def __init__(self, contig: str, start: int) -> None:
        self.contig, self.start, self.end, self.summit = contig, start, start, start
        self.sum, self.count, self.max = 0.0, 0, -1.0
        self._gap_sum, self._gap_count = 0.0, 0

    def pass_gap(self, total: float, count: int) -> None:
        """Remember uncalled bases after the end, which belong to it only if it is extended."""
        self._gap_sum += total
        self._gap_count += int(count)

    def extend(self, end: int, total: float, count: int, highest: float, summit: int) -> None:
        """Add a run of called bases, and the gap before it."""
        self.end = end
        self.sum += total + self._gap_sum
        self.count += int(count) + self._gap_count
        self._gap_sum, self._gap_count = 0.0, 0
        if highest > self.max:
            self.max, self.summit = highest, summit


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
    digest: str
    """sha256 of the probabilities, whatever the regions."""
    batch: int
    """Windows of one forward pass; the smallest number of all pieces."""

    @property
    def share(self) -> float:
        """Fraction of the scored bases that are called."""
        return self.called / self.scored


def write_results(
    plan: PredictionPlan,
    settings: RegionSettings,
    folder: AnyPath,
    stopped: threading.Event | None = None,
) -> PredictionResult:
    """Write track and regions of a prediction, while its pieces are being scored or afterwards.

    Args:
        plan: Plan of the prediction.
        settings: Settings of the regions.
        folder: Folder of the prediction.
        stopped: Set once no more pieces will be scored; until then, incomplete pieces are waited
            for. If None, all pieces must be complete.

    Returns:
        Figures of the prediction.

    Raises:
        InputError: A piece is damaged, or is missing and `stopped` is None.
        JobError: A piece is missing, and no more pieces will be scored.
    """
    sizes = plan.lengths
    digest = hashlib.sha256()
    scored = called = 0
    contigs: set[str] = set()
    batches: set[int] = set()
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

        def recorded_stretches() -> Iterator[Stretch]:
            nonlocal scored, called
            for index, piece in enumerate(plan.pieces):
                if stopped is not None:
                    wait_for_piece(plan, index, folder, stopped)
                values, batch = read_piece(plan, index, folder)
                batches.add(batch)
                scored += int(np.isfinite(values).sum())
                called += int((values >= settings.threshold).sum())
                rounded = np.round(values.astype(np.float64) / TRACK_PRECISION) * TRACK_PRECISION
                end = 0
                for span in piece.spans:
                    own = slice(end, end := end + span.bases)
                    digest.update(f"{span.contig} {span.start} {span.bases} ".encode())
                    digest.update(values[own].tobytes())
                    contigs.add(span.contig)
                    track.add_runs(span.contig, span.start, rounded[own])
                    yield Stretch(span.contig, span.start, values[own])

        for region in call_regions(recorded_stretches(), settings):
            regions.add(region)
    return PredictionResult(
        contigs=len(contigs),
        bases=sum(sizes[name] for name in contigs),
        scored=scored,
        called=called,
        regions=regions.count,
        in_regions=regions.bases,
        digest=digest.hexdigest(),
        batch=min(batches),
    )


class _RegionFiles:
    """Writer of regions as BED, which genome browsers read, and as a table with more digits."""

    def __init__(self, bed: TextIO, table: TextIO) -> None:
        self._bed = bed
        self._table = csv.writer(table, lineterminator="\n")
        self._table.writerow(COLUMNS)
        self.count = self.bases = 0

    def add(self, region: Region) -> None:
        self.count += 1
        length = region.end - region.start
        self.bases += length
        span = (region.contig, region.start, region.end, f"region{self.count}")
        # The thick part is the summit; browsers expect colours and exons after it, not figures.
        thick = (region.summit, region.summit + 1)
        # BED knows no quotes, so that a name is written as it is.
        fields = (*span, round(1000 * region.mean), ".", *thick)
        self._bed.write("\t".join(map(str, fields)) + "\n")
        figures = (f"{region.mean:.6f}", f"{region.max:.6f}", region.summit)
        self._table.writerow((*span, length, *figures))
