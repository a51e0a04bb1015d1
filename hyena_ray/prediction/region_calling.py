"""Call regions on scored pieces, and write what people read."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from hyena_ray.files import atomic_file
from hyena_ray.genome.bigwig import create_bigwig
from hyena_ray.genome.intervals import true_runs
from hyena_ray.prediction.pieces import PredictionPlan, read_piece
from hyena_ray.prediction.settings import RegionSettings
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath


class Stretch(NamedTuple):
    """Probabilities of neighbouring bases."""

    contig: str
    start: int
    """First base, 0-based."""
    values: NDArray[np.float32]
    """(n,) multiples of `PRECISION`; NaN for N."""


class Region(NamedTuple):
    """Called bases of one contig, with the gaps that were joined."""

    contig: str
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""
    mean: float
    """Probability, over its bases that are not N."""
    max: float
    summit: int
    """First base that has it."""


class RegionCaller:
    """Takes stretch after stretch, a contig at a time and in order; gives regions as they end.

    The stretches of a contig ascend; where one does not begin at the other's end, every base
    between them is N. How a contig is cut into stretches changes nothing.
    """

    def __init__(self, settings: RegionSettings) -> None:
        self._settings = settings
        self._open: _Open | None = None

    def add(self, stretch: Stretch) -> Iterator[Region]:
        """Regions that end before the last ones of this stretch."""
        settings = self._settings
        if self._open is not None and self._open.contig != stretch.contig:
            yield from self.finish()
        runs = true_runs(stretch.values >= settings.threshold)
        known = np.isfinite(stretch.values)
        values = np.where(known, stretch.values, 0).astype(np.float64)
        # Exact, since probabilities are multiples of `PRECISION`.
        sums = np.append(0.0, np.cumsum(values))
        counts = np.append(0, np.cumsum(known))
        done = 0
        for start, end in zip(runs.start.tolist(), runs.end.tolist(), strict=True):
            place = stretch.start + start
            if self._open is not None and place - self._open.end > settings.merge_gap:
                yield from self.finish()
            summit = start + int(np.argmax(values[start:end]))
            if self._open is None:
                self._open = _Open(stretch.contig, place)
            else:
                self._open.pass_by(sums[start] - sums[done], counts[start] - counts[done])
            self._open.extend(
                stretch.start + end,
                sums[end] - sums[start],
                counts[end] - counts[start],
                float(values[summit]),
                stretch.start + summit,
            )
            done = end
        if self._open is not None:
            self._open.pass_by(sums[-1] - sums[done], counts[-1] - counts[done])

    def finish(self) -> Iterator[Region]:
        """The region that is open, if any: nothing more comes."""
        last, self._open = self._open, None
        if last is not None and last.end - last.start >= self._settings.min_length:
            yield Region(
                last.contig, last.start, last.end, last.sum / last.count, last.max, last.summit
            )


class _Open:
    """A region that may go on."""

    def __init__(self, contig: str, start: int) -> None:
        self.contig, self.start, self.end, self.summit = contig, start, start, start
        self.sum, self.count, self.max = 0.0, 0, -1.0
        self._gap_sum, self._gap_count = 0.0, 0

    def pass_by(self, total: float, count: int) -> None:
        """Bases behind its end that are not called: its own only if it goes on."""
        self._gap_sum += total
        self._gap_count += int(count)

    def extend(self, end: int, total: float, count: int, highest: float, summit: int) -> None:
        """A run of called bases belongs to it, and so does what was passed by."""
        self.end = end
        self.sum += total + self._gap_sum
        self.count += int(count) + self._gap_count
        self._gap_sum, self._gap_count = 0.0, 0
        if highest > self.max:
            self.max, self.summit = highest, summit


TRACK, BED, TABLE = "probabilities.bw", "regions.bed", "regions.csv"
TRACK_PRECISION = 2.0**-13
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
            shown = np.round(values.astype(np.float64) / TRACK_PRECISION) * TRACK_PRECISION
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
