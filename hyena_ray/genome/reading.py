"""Which reader takes which kind of file: genomes, and regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Protocol, TypeVar

from hyena_ray.errors import InputError
from hyena_ray.genome.assemblies import located
from hyena_ray.genome.bigbed import read_bigbed
from hyena_ray.genome.fasta import GIVE, Contig, Fasta
from hyena_ray.genome.formats import kind_of
from hyena_ray.genome.intervals import Regions, read_bed
from hyena_ray.genome.peaks import BROAD, NARROW
from hyena_ray.genome.twobit import TwoBit
from hyena_ray.progress import Progress, State
from hyena_ray.storage import AnyPath

Reader = TypeVar("Reader")


class Genome(Protocol):
    """A genome to iterate over; one contig is in memory at a time."""

    path: AnyPath
    """The file that is read."""

    @property
    def lengths(self) -> Mapping[str, int] | None:
        """Bases of each contig, in file order; None where only reading tells."""

    @property
    def done(self) -> float:
        """Share of the file that has been read, 0 to 1; 0 where that is not known."""

    @property
    def sha256(self) -> str:
        """Hex sha256 of the file as stored, known after the last contig."""

    def __iter__(self) -> Iterator[Contig]:
        """Yield the contigs in file order.

        Raises:
            InputError: a missing or damaged file.
        """


GENOMES: dict[str, Callable[[AnyPath], Genome]] = {"FASTA": Fasta, "2bit": TwoBit}
"""By kind; text of no kind is for the first."""

REGIONS: dict[str, Callable[[AnyPath, str], Regions]] = {
    "BED": read_bed,
    "narrowPeak": partial(read_bed, peaks=NARROW),
    "broadPeak": partial(read_bed, peaks=BROAD),
    "bigBed": read_bigbed,
}
"""As `GENOMES`."""


def open_genome(path: AnyPath) -> Genome:
    """A genome from FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly.

    An assembly that is not there yet is downloaded first.

    Raises:
        InputError: it cannot be read, is of another kind, or neither a file nor a known name.
        JobError: the assembly cannot be downloaded.
    """
    path = located(path)
    return _reader(GENOMES, path, GIVE)(path)


def with_progress(genome: Genome) -> Iterator[Contig]:
    """The contigs, while it is told how far they are.

    Raises:
        InputError: as the genome does.
    """
    with Progress("genome", 100, "%", brief=True) as progress:
        for contig in genome:
            percent = int(100 * genome.done)
            progress.update(State(done=percent, at_work=(contig.name,)))
            yield contig
            del contig  # memory is for one at a time
        progress.update(State(done=100))


def read_regions(path: AnyPath, remedy: str = "give --regions a BED file") -> Regions:
    """Intervals from BED, narrowPeak, broadPeak (plain or gzip) or bigBed.

    Args:
        path: the file.
        remedy: what to do when it cannot be used.

    Raises:
        InputError: it cannot be read, is of another kind, or breaks the rules of its kind.
    """
    return _reader(REGIONS, path, remedy)(path, remedy)


def _reader(table: Mapping[str, Reader], path: AnyPath, remedy: str) -> Reader:
    kind = kind_of(path, remedy) or next(iter(table))
    if kind not in table:
        raise InputError(path, None, f"is {kind}; what is read is {', '.join(table)}", remedy)
    return table[kind]
