"""Cut a genome and its labelled regions into windows.

The genome is read once, with one contig in memory. Windows are written as
`DIR/length=L/split=S/part-*.parquet`, and counted in a manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from hyena_ray.dataset.manifest import (
    ContigEntry,
    Count,
    DataFile,
    Dropped,
    InputFile,
    Manifest,
)
from hyena_ray.dataset.schema import PartWriter, Windows
from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS, codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE, Contig, open_genome, with_progress
from hyena_ray.genome.intervals import Intervals, gather_windows, label_bases, true_runs
from hyena_ray.genome.region_files import Regions, read_regions
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.splits import TRAIN, Split, parse_split, split_by_contig
from hyena_ray.genome.tiling import (
    NO_SPLIT,
    NegativeSampler,
    Tiles,
    assign_overlapping_tiles,
    count_tiles,
    tile_contig,
)
from hyena_ray.settings import READ, Location, Option, Settings
from hyena_ray.storage import AnyPath

log = logging.getLogger(__name__)


class PrepareSettings(Settings):
    """Settings of windows that are cut from a genome."""

    task: str
    """Name of the task, such as zdna."""
    genome: Annotated[Location, Option("FILE|NAME", READ)]
    """Genome to cut into windows: a FASTA (plain, gzip or bgzip) or 2bit file, or one of hg38,
    hg19, mm39 and mm10, which is downloaded from UCSC once, checked, and kept in HYENA_RAY_CACHE.
    Lower-case bases are sequence. A file of that name overrides the assembly."""
    regions: Location
    """Regions to recognise: BED, narrowPeak or broadPeak (plain or gzip), or bigBed, of the same
    assembly as the genome."""
    blacklist: Annotated[Location | None, Option("FILE", READ)] = None
    """Regions that no window may touch, in one of the formats of --regions."""
    lengths: tuple[int, ...] = Field(default=(100,), min_length=1)
    """Window lengths in bases; windows of each length are cut separately."""
    flank: int = Field(default=64, ge=0)
    """Real bases stored on each side of a window."""
    negatives: float = Field(default=3.0, ge=0)
    """Windows without a labelled base for each window with one, in every split."""
    train_stride: Annotated[
        int | None, Option("N", default="the window length, without overlap"), Field(ge=1)
    ] = None
    """Bases from one training window to the next, a divisor of every length; windows overlap where
    it is less than the length. Windows of other splits never overlap."""
    split: Annotated[
        str | None,
        Option("RULE", default="contigs with about 60, 20 and 20 percent of the regions"),
    ] = None
    """Split of the windows: contig:train=A,B;val=C;test=D, stratified:0.6/0.2/0.2 or kfold:5."""
    seed: int = Field(default=0, ge=0)
    """Seed of the negatives and of a random split."""

    @field_validator("lengths")
    @classmethod
    def _validate_lengths(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if min(lengths) < 1 or len(set(lengths)) < len(lengths):
            raise ValueError("lengths are different whole numbers of at least 1")
        return lengths

    @property
    def inputs(self) -> tuple[AnyPath, ...]:
        """Files that are read."""
        return tuple(path for path in (self.genome, self.regions, self.blacklist) if path)

    def write(self, folder: Path | None) -> Manifest:
        """Cut the windows and write the Parquet files.

        Args:
            folder: An existing folder to write to; None reads all inputs and writes nothing.

        Returns:
            What the files hold, or would hold.

        Raises:
            InputError: An input cannot be used, or a split would hold no positive.
            JobError: The genome's assembly cannot be downloaded.
        """
        regions = read_regions(self.regions)
        remedy = "give --blacklist a BED file, or leave it out"
        blacklist = read_regions(self.blacklist, remedy) if self.blacklist else None
        split = (
            split_by_contig({contig: len(rows.start) for contig, rows in regions.rows.items()})
            if self.split is None
            else parse_split(self.split)
        )
        _check_stride(self, split)
        return _write(self, folder, regions, blacklist, split)


def _check_stride(settings: PrepareSettings, split: Split) -> None:
    stride = settings.train_stride
    if stride is None:
        return
    if TRAIN not in split.names:
        raise InputError(
            "--train-stride",
            stride,
            f"with {split.text} no window only trains: overlapping ones would test models that saw "
            "their bases",
            "leave it out, or give another --split",
        )
    for length in settings.lengths:
        if length % stride:
            raise InputError(
                "--train-stride", stride, f"does not divide the length {length}", "give a divisor"
            )


def _write(
    settings: PrepareSettings,
    folder: Path | None,
    regions: Regions,
    blacklist: Regions | None,
    split: Split,
) -> Manifest:
    cutters = [_WindowCutter(settings, folder, length, split) for length in settings.lengths]
    genome = open_genome(settings.genome)
    if genome.lengths is not None:
        _check_contigs(genome.lengths, regions, blacklist, split)
    contigs: list[ContigEntry] = []
    simulated = False
    for contig in with_progress(genome):
        size = len(contig.codes)
        labels = regions.merged(contig.name, size)
        banned = blacklist.merged(contig.name, size) if blacklist else Intervals.empty()
        unknown = true_runs(contig.codes == N_CODE)
        for cutter in cutters:
            cutter.cut(contig, labels, banned, unknown)
        contigs.append(ContigEntry(name=contig.name, length=size))
        simulated |= contig.description.startswith(SIMULATED)
    _check_contigs([contig.name for contig in contigs], regions, blacklist, split)
    for cutter in cutters:
        cutter.close()
    inputs = [
        InputFile(role="genome", name=genome.path.name, sha256=genome.sha256),
        InputFile(role="regions", name=settings.regions.name, sha256=regions.sha256),
    ]
    if blacklist:
        name = blacklist.path.name
        inputs.append(InputFile(role="blacklist", name=name, sha256=blacklist.sha256))
    return Manifest.describe(
        task=settings.task,
        simulated=simulated,
        lengths=settings.lengths,
        flank=settings.flank,
        negatives=settings.negatives,
        train_stride=settings.train_stride,
        seed=settings.seed,
        split=split.text,
        splits=split.names,
        tokens=TOKEN_IDS,
        inputs=tuple(inputs),
        contigs=tuple(contigs),
        counts=tuple(count for cutter in cutters for count in cutter.counts),
        dropped=tuple(cutter.dropped for cutter in cutters),
        sequences=(),
        files=tuple(file for cutter in cutters for file in cutter.files),
    )


def _check_contigs(
    names: Collection[str], regions: Regions, blacklist: Regions | None, split: Split
) -> None:
    for source in (regions, blacklist, split):
        if source is not None:
            source.check_contigs(names)


class _WindowCutter:
    """Cut contig after contig into windows of one length, and write those that are chosen."""

    def __init__(
        self, settings: PrepareSettings, folder: Path | None, length: int, split: Split
    ) -> None:
        self._length, self._flank, self._seed = length, settings.flank, settings.seed
        self._train_stride = settings.train_stride or length
        self._split = split
        self._samplers = [NegativeSampler(settings.negatives) for _ in split.names]
        self._writers = [PartWriter(folder, length, name, self._flank) for name in split.names]
        self._first_id = 0
        self.counts: list[Count] = []
        self.dropped = Dropped(length=length, tiles=0, too_many_n=0, blacklisted=0)

    @property
    def files(self) -> list[DataFile]:
        return [file for writer in self._writers for file in writer.files]

    def cut(
        self, contig: Contig, labels: Intervals, blacklist: Intervals, unknown: Intervals
    ) -> None:
        size, length = len(contig.codes), self._length
        grids = {
            stride: tile_contig(size, length, stride, labels, blacklist, unknown)
            for stride in (length, self._train_stride)
        }
        kept = grids[length].kept
        # Seeded by name: neither the other contigs nor their order change what is drawn.
        rng = np.random.default_rng([self._seed, length, *contig.name.encode()])
        assigned = np.full(len(grids[length].labelled), NO_SPLIT, np.int8)
        assigned[kept] = self._split.assign(contig.name, grids[length].labelled[kept] > 0, rng)
        base_labels = label_bases(labels, size)
        for index, name in enumerate(self._split.names):
            stride = self._train_stride if name == TRAIN else length
            tiles = grids[stride]
            split = assign_overlapping_tiles(assigned, len(tiles.labelled), length // stride)
            in_split = tiles.kept[split[tiles.kept] == index]
            positive = tiles.labelled[in_split] > 0
            positives, candidates = in_split[positive], in_split[~positive]
            negatives = self._samplers[index].draw(len(positives), candidates, rng)
            chosen = np.sort(np.concatenate((positives, negatives)))
            if len(chosen):
                self._writers[index].add(self._windows(contig, chosen * stride, base_labels))
            if len(in_split):
                self.counts.append(
                    Count(
                        length=length,
                        split=name,
                        contig=contig.name,
                        positive=len(positives),
                        negative=len(negatives),
                        candidates=len(candidates),
                        labelled=int(tiles.labelled[positives].sum()),
                    )
                )
        # A tile's number in the genome is its id, whatever is drawn, split or dropped.
        self._first_id += count_tiles(size, length, self._train_stride)
        self._count_dropped(grids[length])

    def _count_dropped(self, tiles: Tiles) -> None:
        n, banned = tiles.too_many_n, tiles.blacklisted & ~tiles.too_many_n
        self.dropped = Dropped(
            length=self._length,
            tiles=self.dropped.tiles + len(n),
            too_many_n=self.dropped.too_many_n + int(n.sum()),
            blacklisted=self.dropped.blacklisted + int(banned.sum()),
        )

    def _windows(
        self, contig: Contig, start: NDArray[np.int64], base_labels: NDArray[np.int8]
    ) -> Windows:
        width = self._length + 2 * self._flank
        codes = gather_windows(contig.codes, start - self._flank, width, N_CODE)
        return Windows(
            window_id=self._first_id + start // self._train_stride,
            contig=np.full(len(start), contig.name),
            start=start,
            tokens=codes_to_tokens(codes),
            labels=gather_windows(base_labels, start, self._length, IGNORED),
        )

    def close(self) -> None:
        """Write what is pending, and check that every split has both classes.

        Raises:
            InputError: A split has no positive window, or none but labelled bases.
        """
        for name, sampler, writer in zip(
            self._split.names, self._samplers, self._writers, strict=True
        ):
            if not sampler.positives:
                raise InputError(
                    "--split",
                    self._split.text,
                    f"{name} has no window of {self._length} bases with a labelled one",
                    "give it contigs that the regions name, or shorter windows",
                )
            bases = sum(count.labelled for count in self.counts if count.split == name)
            if bases == self._length * (sampler.positives + sampler.drawn):
                raise InputError(
                    "--regions",
                    f"{name}, {self._length} bases",
                    "every base is labelled, so that there is one class only",
                    "give regions, not whole contigs, or --negatives above 0",
                )
            if sampler.shortfall > 0:
                log.warning(
                    "%s, length %d: the genome has %d negatives fewer than asked for",
                    name,
                    self._length,
                    sampler.shortfall,
                )
            writer.close()
