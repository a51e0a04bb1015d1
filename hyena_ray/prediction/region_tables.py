"""The tables that people read: regions.bed and regions.csv, and figures of every contig.

A region is ranked among all others and shows its bases, so that the tables are written after the
last one was called, with one more pass over the genome.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.genome.called_regions import Region
from hyena_ray.genome.contigs import open_genome, with_progress
from hyena_ray.prediction.pieces import PredictionPlan
from hyena_ray.storage import AnyPath

BED, TABLE, CONTIGS = "regions.bed", "regions.csv", "contigs.csv"
"""Names of the files."""
COLUMNS = (
    *("contig", "start", "end", "name", "length", "mean", "max", "summit", "rank"),
    *("soft_masked", "sequence"),
)
"""Columns of `regions.csv`."""
CONTIG_COLUMNS = (
    *("contig", "length", "scored", "called", "regions", "in_regions", "regions_per_mb"),
    "repeats",
)
"""Columns of `contigs.csv`."""
REPEAT = 0.5
"""Fraction of a region's bases that must be soft-masked for it to count as a repeat."""
_LETTERS = np.frombuffer(b"ACGTNacgtn", np.uint8)


class ContigFigures(NamedTuple):
    """What was scored and called on a contig."""

    scored: int
    """Scored bases, which are those that are not N."""
    called: int
    """Bases whose probability reaches the threshold."""


class CalledRegions:
    """All regions of a genome in the order of the plan, 40 bytes each."""

    def __init__(self) -> None:
        self.rows_of: dict[str, range] = {}
        """Numbers of the regions of every contig that has any."""
        self._positions, self._scores = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._scores) // 2

    def __iter__(self) -> Iterator[Region]:
        """Yield the regions."""
        for contig, rows in self.rows_of.items():
            for row in rows:
                start, end, summit = self._positions[3 * row : 3 * row + 3]
                mean, highest = self._scores[2 * row : 2 * row + 2]
                yield Region(contig, start, end, mean, highest, summit)

    def add(self, region: Region) -> None:
        """Add a region behind those that are there.

        Args:
            region: A region; those of one contig come one after the other.
        """
        number = len(self)
        first = self.rows_of.get(region.contig, range(number, number)).start
        self.rows_of[region.contig] = range(first, number + 1)
        self._positions.extend((region.start, region.end, region.summit))
        self._scores.extend((region.mean, region.max))

    @property
    def start(self) -> NDArray[np.int64]:
        """First base of each region, shape (n,)."""
        return np.array(self._positions, np.int64)[::3]

    @property
    def end(self) -> NDArray[np.int64]:
        """One past the last base of each region, shape (n,)."""
        return np.array(self._positions, np.int64)[1::3]

    def ranks(self) -> NDArray[np.int64]:
        """Return the rank of each region, from 1, shape (n,).

        The first has the highest mean probability; of equal ones that with the highest single
        probability, then the longest, then the first on the genome.
        """
        mean, highest = np.array(self._scores).reshape(-1, 2).T
        order = np.lexsort((self.start - self.end, -highest, -mean))
        ranks = np.empty(len(self), np.int64)
        ranks[order] = np.arange(1, len(self) + 1)
        return ranks


class Bases(NamedTuple):
    """Bases of all regions."""

    sequences: list[str]
    """Bases of each region, soft-masked ones in lower case."""
    soft_masked: NDArray[np.float64] | None
    """Fraction of each region that is soft-masked, shape (n,); None where no base of the genome's
    contigs with regions is."""

    @property
    def repeats(self) -> NDArray[np.bool_] | None:
        """Whether each region counts as a repeat, shape (n,)."""
        return None if self.soft_masked is None else self.soft_masked >= REPEAT


def read_bases(plan: PredictionPlan, regions: CalledRegions, genome: AnyPath) -> Bases:
    """Read the bases of all regions, and which of them are soft-masked.

    Args:
        plan: Plan of the prediction.
        regions: Its regions.
        genome: File of the genome, or the name of an assembly.

    Raises:
        InputError: The genome is no longer that of the plan.
    """
    sequences, fractions = [""] * len(regions), np.zeros(len(regions))
    if not len(regions):
        return Bases(sequences, None)
    start, end = regions.start.tolist(), regions.end.tolist()
    source, any_masked = open_genome(genome, masks=True), False
    for contig in with_progress(source):
        assert contig.soft_masked is not None
        for row in regions.rows_of.get(contig.name, ()):
            own = slice(start[row], end[row])
            masked = contig.soft_masked[own]
            sequences[row] = _LETTERS[contig.codes[own] + 5 * masked].tobytes().decode("ascii")
            fractions[row] = masked.mean()
        any_masked = any_masked or bool(contig.soft_masked.any())
    if source.sha256 != plan.genome:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")
    return Bases(sequences, fractions if any_masked else None)


def write_tables(
    plan: PredictionPlan,
    contigs: dict[str, ContigFigures],
    regions: CalledRegions,
    bases: Bases,
    folder: AnyPath,
) -> None:
    """Write regions.bed, which browsers read, regions.csv with more digits, and contigs.csv.

    Args:
        plan: Plan of the prediction.
        contigs: Figures of every contig with a scored base, in the order of the plan.
        regions: All regions.
        bases: Their bases.
        folder: Folder of the prediction.
    """
    ranks, masked = regions.ranks().tolist(), bases.soft_masked
    with (
        atomic_file(folder / BED) as bed_path,
        atomic_file(folder / TABLE) as table_path,
        bed_path.open("w", encoding="utf-8") as bed,
        table_path.open("w", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(COLUMNS)
        for row, (region, rank) in enumerate(zip(regions, ranks, strict=True)):
            span = (region.contig, region.start, region.end, f"region{row + 1}")
            # The thick part is the summit; browsers expect colours and exons after it, not figures.
            thick = (region.summit, region.summit + 1)
            # BED knows no quotes, so that a name is written as it is.
            fields = (*span, round(1000 * region.mean), ".", *thick)
            bed.write("\t".join(map(str, fields)) + "\n")
            figures = (f"{region.mean:.6f}", f"{region.max:.6f}", region.summit, rank)
            fraction = "" if masked is None else f"{masked[row]:.2f}"
            length = region.end - region.start
            table.writerow((*span, length, *figures, fraction, bases.sequences[row]))
    lengths, repeats = regions.end - regions.start, bases.repeats
    with (
        atomic_file(folder / CONTIGS) as path,
        path.open("w", encoding="utf-8") as stream,
    ):
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(CONTIG_COLUMNS)
        for name, figures_of in contigs.items():
            rows = regions.rows_of.get(name, range(0))
            own = slice(rows.start, rows.stop)
            per_mb = f"{1e6 * len(rows) / figures_of.scored:.2f}"
            inside = int(lengths[own].sum())
            count = "" if repeats is None else int(repeats[own].sum())
            size = plan.lengths[name]
            table.writerow((name, size, *figures_of, len(rows), inside, per_mb, count))
