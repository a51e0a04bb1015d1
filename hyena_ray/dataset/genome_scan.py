"""Whole contigs of a genome as stretches that are scored, without a prepared folder.

The stretches are those that `prepare --scan` writes, cut by the same code, some at a time. The
genome is read twice: to learn which contigs and stretches there are, and to score them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.genome_windows import check_contigs, label_batches, windows_of
from hyena_ray.dataset.manifest import ContigEntry
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError, raise_together, unknown_name
from hyena_ray.genome.contigs import Contig, Genome, open_genome, with_progress
from hyena_ray.genome.negatives import KINDS, LABELLED, RANDOM
from hyena_ray.genome.region_files import Regions
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.tiling import cut_tiles
from hyena_ray.storage import AnyPath

log = logging.getLogger(__name__)

STRETCH = 1024
"""Bases of a stretch, as `prepare` cuts them by default."""
READ = 1 << 20
"""Bases of the stretches that are read at once."""


class ScannedContig(NamedTuple):
    """Stretches of one contig."""

    starts: NDArray[np.int64]
    """(m,) first base of each stretch that is scored, 0-based and ascending."""
    labelled: int
    """Labelled bases in them."""


class GenomeScan(NamedTuple):
    """Contigs of a genome that are scored against some regions."""

    genome: AnyPath
    """File of the genome, or the name of an assembly."""
    sha256: str
    """sha256 of its file."""
    simulated: bool
    """Whether it is simulated DNA."""
    regions: Regions
    """Regions that label bases."""
    blacklist: Regions | None
    """Regions that no stretch may touch."""
    stretch: int
    """Bases of a stretch."""
    lengths: Mapping[str, int]
    """Bases of every contig of the genome."""
    contigs: Mapping[str, ScannedContig]
    """Contigs that have a stretch to score, in the order of the genome."""
    tracks: tuple[SignalTrack, ...] = ()
    """Tracks that models read beside the letters."""

    @classmethod
    def survey(
        cls,
        genome: AnyPath,
        regions: Regions,
        blacklist: Regions | None = None,
        *,
        stretch: int = STRETCH,
        tracks: Sequence[SignalTrack] = (),
    ) -> GenomeScan:
        """Read a genome once, and find what can be scored on all of its contigs.

        Args:
            genome: File of the genome, or the name of an assembly.
            regions: Regions that label bases.
            blacklist: Regions that no stretch may touch.
            stretch: Bases of a stretch.
            tracks: Tracks that models read beside the letters.

        Raises:
            InputError: The genome cannot be read, or regions or blacklist are of another assembly.
        """
        source = open_genome(genome)
        if source.lengths is not None:
            check_contigs(source.lengths, regions, blacklist)
        entries: list[ContigEntry] = []
        contigs: dict[str, ScannedContig] = {}
        simulated = False
        for batch in label_batches(with_progress(source), regions, blacklist, padding=1):
            entries += batch.entries
            simulated |= batch.simulated
            tiles = cut_tiles(batch, stretch, stretch)
            contig, start = tiles.grid.contig[tiles.kept], tiles.grid.start[tiles.kept]
            edges = np.searchsorted(contig, np.arange(len(batch.names) + 1)).tolist()
            for name, first, last in zip(batch.names, edges, edges[1:], strict=False):
                if first < last:
                    labelled = int(tiles.labelled[tiles.kept[first:last]].sum())
                    contigs[name] = ScannedContig(start[first:last], labelled)
            del batch
        lengths = {entry.name: entry.length for entry in entries}
        check_contigs(lengths, regions, blacklist)
        return cls(
            *(genome, source.sha256, simulated, regions, blacklist, stretch, lengths, contigs),
            tuple(tracks),
        )

    def only(self, names: Collection[str], place: str = "--contigs") -> GenomeScan:
        """Return the scan of some contigs.

        Args:
            names: Names of the contigs.
            place: Option that names them, for the message.

        Raises:
            InputError: The genome or a track lacks one, or a track has it with another length, or
                there is no base to score, or none or all of those are in a region.
        """
        raise_together(
            [
                unknown_name(place, name, "contig of the genome", self.lengths)
                for name in names
                if name not in self.lengths
            ]
        )
        kept = {name: contig for name, contig in self.contigs.items() if name in frozenset(names)}
        asked = ",".join(names)
        if not kept:
            raise InputError(
                place,
                asked,
                f"has no stretch of {self.stretch} bases, at least half of them known and none "
                "blacklisted",
                "give longer contigs",
            )
        labelled = sum(contig.labelled for contig in kept.values())
        if labelled in (0, self.stretch * sum(len(contig.starts) for contig in kept.values())):
            held = "no base" if not labelled else "every base"
            raise InputError(
                "--regions",
                self.regions.path,
                f"{held} of the contigs that are scored is in a region ({asked})",
                "give other contigs with --contigs, or other regions",
            )
        for track in self.tracks:
            with SignalFile(track.scale.name, track.path) as file:
                for name in kept:
                    file.check_contig(name, self.lengths[name])
        return self._replace(contigs=kept)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(m,) first base of every stretch that is scored, in the order of the genome."""
        return np.concatenate([contig.starts for contig in self.contigs.values()])

    @property
    def names(self) -> NDArray[np.str_]:
        """(m,) contig of every stretch that is scored."""
        counts = [len(contig.starts) for contig in self.contigs.values()]
        return np.repeat(np.array(list(self.contigs)), counts)

    def read(self, flank: int) -> Iterator[Windows]:
        """Read the stretches, some at a time.

        Args:
            flank: Bases on each side of a stretch.

        Yields:
            Stretches in the order of the genome.

        Raises:
            InputError: The genome is no longer the one that was surveyed.
        """
        with SignalReader(self.tracks) as signals:
            yield from self._read(flank, signals)

    def _read(self, flank: int, signals: SignalReader) -> Iterator[Windows]:
        source = open_genome(self.genome)
        at_once = max(1, READ // self.stretch)
        for batch in label_batches(
            self._wanted(source), self.regions, self.blacklist, padding=flank, signals=signals
        ):
            tiles = cut_tiles(batch, self.stretch, self.stretch)
            for first in range(0, len(tiles.kept), at_once):
                chosen = tiles.kept[first : first + at_once]
                kinds = np.where(tiles.labelled[chosen] > 0, KINDS[LABELLED], KINDS[RANDOM])
                yield windows_of(
                    batch,
                    tiles.grid,
                    chosen,
                    kinds.astype(np.uint8),
                    length=self.stretch,
                    flank=flank,
                )
            del batch
        if source.sha256 != self.sha256:
            raise InputError(self.genome, None, "changed while it was read", "start anew")

    def _wanted(self, source: Genome) -> Iterator[Contig]:
        for contig in with_progress(source):
            if contig.name in self.contigs:
                yield contig
            del contig  # memory is for one at a time
