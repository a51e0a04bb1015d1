"""Cut a genome and its labelled regions into training windows, and into stretches to score.

The genome is split in stretches, whatever the length of the windows. Training windows of every
length are cut where stretches train. Validation and test are whole stretches, drawn once: models of
every window length are scored on the same bases, each with windows of its own; see stretches.py.

The genome is read once, with one large contig or some small ones in memory. Windows are written as
`DIR/length=L/split=S/part-*.parquet`, stretches as `DIR/stretches/split=S/part-*.parquet`, and both
are counted in a manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from hyena_ray.dataset.manifest import (
    LONGEST,
    STRETCHES,
    ContigEntry,
    Count,
    DataFile,
    Dropped,
    InputFile,
    Manifest,
    Stretches,
)
from hyena_ray.dataset.schema import PartWriter, Windows
from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS, codes_to_tokens
from hyena_ray.errors import InputError
from hyena_ray.genome.contig_batch import ContigBatch, Grid, batched
from hyena_ray.genome.contigs import N_CODE, Contig, open_genome, with_progress
from hyena_ray.genome.intervals import Intervals, count_covered_bases, gather_windows
from hyena_ray.genome.label_counter import LabelCounter
from hyena_ray.genome.label_coverage import LabelCoverage
from hyena_ray.genome.region_edges import FARTHEST, ShapeCounter
from hyena_ray.genome.region_files import Regions, read_regions
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.splits import VALIDATION, ContigSplit, Split, parse_split, split_by_contig
from hyena_ray.genome.tiling import (
    NO_SPLIT,
    NegativeSampler,
    Tiles,
    cut_tiles,
    split_tiles,
)
from hyena_ray.runs.stored_files import StoredFile
from hyena_ray.settings import READ, Location, Option, Settings
from hyena_ray.storage import AnyPath

log = logging.getLogger(__name__)

HELD_OUT_NEGATIVES = 3.0
"""Unlabelled stretches that are drawn per labelled stretch, where not all of them are scored."""


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
    move_start: Annotated[int, Option("BASES")] = 0
    """Bases by which the start of every region is moved first of all, to the left if negative: for
    files whose coordinates are shifted."""
    move_end: Annotated[int, Option("BASES")] = 0
    """Bases by which the end of every region is moved first of all, to the left if negative."""
    blacklist: Annotated[Location | None, Option("FILE", READ)] = None
    """Regions that no window may touch, in one of the formats of --regions."""
    lengths: tuple[int, ...] = Field(default=(100,), min_length=1)
    """Window lengths in bases, at most the stretch; training windows of each length are cut
    separately."""
    flank: int = Field(default=64, ge=0, le=LONGEST)
    """Real bases stored on each side of a window."""
    negatives: float = Field(default=3.0, ge=0)
    """Training windows without a labelled base for each one with a labelled base."""
    train_stride: Annotated[
        int | None, Option("N", default="the window length, without overlap"), Field(ge=1)
    ] = None
    """Bases from one training window to the next, a divisor of every length; windows overlap where
    it is less than the length."""
    stretch: int = Field(default=1024, ge=1, le=LONGEST)
    """Bases of a stretch. The genome is split in stretches, and validation and test are whole
    stretches, which models of every window length read with windows of their own."""
    scan: bool = False
    """Score every stretch of the test contigs, as a genome scan does. By default, as in validation,
    three unlabelled stretches per labelled one are drawn at random and weighted up to their number
    in the genome. For data in folds, every stretch of every fold is scored."""
    split: Annotated[
        str | None,
        Option("RULE", default="contigs with about 60, 20 and 20 percent of the regions"),
    ] = None
    """Split of the genome: contig:train=A,B;val=C;test=D, stratified:0.6/0.2/0.2, kfold:5, or
    file:TABLE, a text file whose lines are a contig, a tab, and train, val or test."""
    seed: int = Field(default=0, ge=0)
    """Seed of the negatives and of a random split."""

    @field_validator("lengths")
    @classmethod
    def _validate_lengths(cls, lengths: tuple[int, ...]) -> tuple[int, ...]:
        if min(lengths) < 1 or len(set(lengths)) < len(lengths):
            raise ValueError("lengths are different whole numbers of at least 1")
        return lengths

    @model_validator(mode="after")
    def _stretches_hold_windows(self) -> Self:
        if max(self.lengths) > self.stretch:
            raise InputError(
                "--lengths",
                max(self.lengths),
                f"no stretch of {self.stretch} bases holds such a window",
                "give shorter windows, or a longer --stretch",
            )
        return self

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
        regions = read_regions(self.regions).moved(self.move_start, self.move_end)
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
    if not split.training:
        raise InputError(
            "--train-stride", stride, f"with {split.text} no window trains", "leave it out"
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
    stretches = _Cutter(
        settings,
        split,
        length=settings.stretch,
        stride=settings.stretch,
        ratios={
            name: None if settings.scan and name != VALIDATION else HELD_OUT_NEGATIVES
            for name in split.held_out
        },
        folder=folder,
        group=STRETCHES,
    )
    windows = [
        _Cutter(
            settings,
            split,
            length=length,
            stride=settings.train_stride or length,
            ratios=dict.fromkeys(split.training, settings.negatives),
            folder=folder,
            group=f"length={length}",
        )
        for length in settings.lengths
    ]
    genome = open_genome(settings.genome)
    if genome.lengths is not None:
        check_contigs(genome.lengths, regions, blacklist, split)
    contigs: list[ContigEntry] = []
    given = sum(len(rows.start) for rows in regions.rows.values())
    shape = ShapeCounter(settings.task, given)
    simulated = False
    padding = max(settings.flank, FARTHEST)
    for batch in label_batches(with_progress(genome), regions, blacklist, padding=padding):
        simulated |= batch.simulated
        shape.add(batch.codes, batch.labels)
        assigned = _assign_stretches(batch, split, settings)
        for cutter in (stretches, *windows):
            cutter.cut(batch, assigned)
        contigs += batch.entries
        del batch
    check_contigs([contig.name for contig in contigs], regions, blacklist, split)
    for cutter in (stretches, *windows):
        cutter.close()
    for cutter in windows:
        cutter.warn_of_shortfalls()
    inputs = [
        InputFile(role="genome", name=genome.path.name, sha256=genome.sha256),
        InputFile(
            role="regions",
            name=settings.regions.name,
            sha256=regions.sha256,
            moved=(settings.move_start, settings.move_end),
        ),
    ]
    if blacklist:
        name = blacklist.path.name
        inputs.append(InputFile(role="blacklist", name=name, sha256=blacklist.sha256))
    if isinstance(split, ContigSplit) and split.table is not None:
        inputs.append(InputFile(role="split", name=split.table.name, sha256=split.sha256))
    manifest = Manifest.describe(
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
        counts=tuple(count for cutter in windows for count in cutter.counts),
        dropped=tuple(cutter.dropped for cutter in windows),
        sequences=(),
        files=tuple(file for cutter in windows for file in cutter.files),
        stretch=settings.stretch,
        scan=settings.scan,
        stretches=Stretches(
            counts=tuple(stretches.counts),
            dropped=stretches.dropped,
            files=tuple(stretches.files),
            labels=stretches.labels,
        ),
        regions=shape.shape(),
        contents=tuple(file for cutter in (*windows, stretches) for file in cutter.contents),
        labels=tuple(entry for cutter in windows for entry in cutter.labels),
    )
    for warning in manifest.label_warnings():
        log.warning("%s", warning)
    return manifest


class LabelledBatch(ContigBatch):
    """Contigs that are cut together, with what the manifest says of them."""

    entries: list[ContigEntry]
    """Name and length of each contig."""
    simulated: bool
    """Whether one of them is simulated."""


def label_batches(
    contigs: Iterable[Contig], regions: Regions, blacklist: Regions | None, *, padding: int
) -> Iterator[LabelledBatch]:
    """Put contigs together, and label them.

    Args:
        contigs: Contigs of a genome.
        regions: Regions that label bases.
        blacklist: Regions that no tile may touch.
        padding: N between two contigs.

    Yields:
        Contigs in their order, which nothing else holds in memory.

    Raises:
        InputError: A region ends past its contig.
    """
    first = 0
    for some in batched(contigs):
        sizes = {contig.name: len(contig.codes) for contig in some}
        labels = [regions.merged(*contig) for contig in sizes.items()]
        banned = [
            blacklist.merged(*contig) if blacklist else Intervals.empty()
            for contig in sizes.items()
        ]
        batch = LabelledBatch(some, labels, banned, first=first, padding=padding)
        batch.entries = [ContigEntry(name=name, length=size) for name, size in sizes.items()]
        batch.simulated = any(contig.description.startswith(SIMULATED) for contig in some)
        del some  # memory is for one batch at a time
        first += sum(sizes.values())
        yield batch
        del batch


def check_contigs(names: Collection[str], *named: Regions | Split | None) -> None:
    """Check that a genome has the contigs that its regions, blacklist and split name.

    Args:
        names: Contigs of the genome.
        named: What names contigs; None names none.

    Raises:
        InputError: A contig is missing; names the one that was probably meant.
    """
    for source in named:
        if source is not None:
            source.check_contigs(names)


def _assign_stretches(
    contigs: ContigBatch, split: Split, settings: PrepareSettings
) -> NDArray[np.int8]:
    """Return the index of the split of every stretch, the incomplete last ones included."""
    stretch = settings.stretch
    grid = contigs.stretches(stretch)
    start = contigs.offset[grid.contig] + grid.start
    end = np.minimum(start + stretch, (contigs.offset + contigs.size)[grid.contig])
    positive = count_covered_bases(contigs.labels, start, end) > 0
    edges = [0, *np.cumsum(grid.number).tolist()]
    # Seeded by name: neither the other contigs nor their order change what is drawn.
    return np.concatenate(
        [
            split.assign(name, positive[first:last], [settings.seed, stretch, *name.encode()])
            for name, first, last in zip(contigs.names, edges, edges[1:], strict=False)
        ]
    )


def windows_of(
    contigs: ContigBatch, grid: Grid, chosen: NDArray[np.int64], length: int, flank: int
) -> Windows:
    """Return tiles of a batch of contigs as windows with their flanks.

    Args:
        contigs: The contigs.
        grid: Where the tiles begin.
        chosen: Numbers of the tiles to return, shape (n,).
        length: Bases of a tile.
        flank: Bases on each side, at most as many as are between the contigs of the batch.
    """
    contig, start = grid.contig[chosen], grid.start[chosen]
    position = contigs.offset[contig] + start
    codes = gather_windows(contigs.codes, position - flank, length + 2 * flank, N_CODE)
    return Windows(
        window_id=contigs.first[contig] + start,
        contig=np.array(contigs.names)[contig],
        start=start,
        tokens=codes_to_tokens(codes),
        labels=gather_windows(contigs.base_labels, position, length, IGNORED),
    )


class _Draws:
    """Sources of the draws of a batch, each made when something is drawn for its contig.

    Args:
        names: Names of the contigs.
        seed: Numbers that the sources share.
    """

    def __init__(self, names: Sequence[str], seed: Sequence[int]) -> None:
        self._names, self._seed = names, seed
        self._made: dict[int, np.random.Generator] = {}

    def of(self, contig: int) -> np.random.Generator:
        """Return the source of a contig.

        Args:
            contig: Index of the contig.
        """
        if contig not in self._made:
            # Seeded by name: neither the other contigs nor their order change what is drawn.
            seed = [*self._seed, *self._names[contig].encode()]
            self._made[contig] = np.random.default_rng(seed)
        return self._made[contig]


class _Cutter:
    """Cut tiles of one length from contig after contig, and write those that are chosen.

    All tiles with a labelled base are chosen, and a sample of those without.

    Args:
        recipe: Settings of the preparation.
        split: Rule of the split.
        length: Bases of a tile.
        stride: Bases from one tile to the next.
        ratios: For each split that has such tiles, the chosen tiles without a label for each one
            with a label; None takes all.
        folder: Folder that is written to; None writes nothing.
        group: Folder of the tiles in it.
    """

    def __init__(
        self,
        recipe: PrepareSettings,
        split: Split,
        *,
        length: int,
        stride: int,
        ratios: Mapping[str, float | None],
        folder: Path | None,
        group: str,
    ) -> None:
        self._recipe, self._split = recipe, split
        self._length, self._stride = length, stride
        self._samplers = {name: NegativeSampler(ratio) for name, ratio in ratios.items()}
        self._writers = {
            name: PartWriter(folder, group, name, length, recipe.flank) for name in ratios
        }
        self._labels = LabelCounter(
            length=length, stride=stride, stretch=recipe.stretch, splits=split.names
        )
        self.counts: list[Count] = []
        self.dropped = Dropped(length=length, tiles=0, too_many_n=0, blacklisted=0)

    @property
    def files(self) -> list[DataFile]:
        """Files that have been written."""
        return [file for writer in self._writers.values() for file in writer.files]

    @property
    def contents(self) -> list[StoredFile]:
        """Their sizes and checksums."""
        return [file for writer in self._writers.values() for file in writer.contents]

    @property
    def labels(self) -> tuple[LabelCoverage, ...]:
        """Labelled regions that the tiles of each split hold, and those that were lost."""
        return tuple(map(self._labels.coverage, self._samplers))

    def cut(self, contigs: ContigBatch, stretch_splits: NDArray[np.int8]) -> None:
        """Cut the tiles of a batch of contigs.

        Args:
            contigs: The contigs.
            stretch_splits: Index of the split of each of their stretches.
        """
        length, stretch = self._length, self._recipe.stretch
        tiles = cut_tiles(contigs, length, self._stride)
        stretches = contigs.stretches(stretch)
        split = split_tiles(stretch_splits, stretches, stretch, tiles.grid, length)[tiles.kept]
        self._labels.add(contigs, tiles, split != NO_SPLIT, stretch_splits)
        draws = _Draws(contigs.names, [self._recipe.seed, length])
        counts: dict[int, list[Count]] = {}
        for name, sampler in self._samplers.items():
            of_split = tiles.kept[split == self._split.names.index(name)]
            positive = tiles.labelled[of_split] > 0
            contig = tiles.grid.contig[of_split]
            present = np.unique(contig)
            edges = [*np.searchsorted(contig, present).tolist(), len(contig)]
            chosen = positive.copy()
            for index, first, last in zip(present.tolist(), edges, edges[1:], strict=False):
                candidates = first + np.flatnonzero(~positive[first:last])
                positives = last - first - len(candidates)
                negatives = sampler.draw(positives, candidates, partial(draws.of, index))
                chosen[negatives] = True
                counts.setdefault(index, []).append(
                    Count(
                        length=length,
                        split=name,
                        contig=contigs.names[index],
                        positive=positives,
                        negative=len(negatives),
                        candidates=len(candidates),
                        labelled=int(tiles.labelled[of_split[first:last]].sum()),
                    )
                )
            if chosen.any():
                windows = windows_of(
                    contigs, tiles.grid, of_split[chosen], length, self._recipe.flank
                )
                self._writers[name].add(windows)
        self.counts += [count for index in sorted(counts) for count in counts[index]]
        self._count_dropped(tiles if self._stride == length else cut_tiles(contigs, length, length))

    def warn_of_shortfalls(self) -> None:
        """Log splits for which the genome has fewer negatives than asked for."""
        for name, sampler in self._samplers.items():
            if sampler.shortfall > 0:
                log.warning(
                    "%s, length %d: the genome has %d negatives fewer than asked for",
                    name,
                    self._length,
                    sampler.shortfall,
                )

    def _count_dropped(self, tiles: Tiles) -> None:
        n, banned = tiles.too_many_n, tiles.blacklisted & ~tiles.too_many_n
        self.dropped = Dropped(
            length=self._length,
            tiles=self.dropped.tiles + len(n),
            too_many_n=self.dropped.too_many_n + int(n.sum()),
            blacklisted=self.dropped.blacklisted + int(banned.sum()),
        )

    def close(self) -> None:
        """Write what is pending, and check that every split has both classes.

        Raises:
            InputError: A split has no tile with a label, or none but labelled bases.
        """
        for name, sampler in self._samplers.items():
            if not sampler.positives:
                raise InputError(
                    "--split",
                    self._split.text,
                    f"{name} has no {self._length} bases with a labelled one among them",
                    "give it contigs that the regions name, or lower --lengths and --stretch",
                )
            bases = sum(count.labelled for count in self.counts if count.split == name)
            if bases == self._length * (sampler.positives + sampler.drawn):
                raise InputError(
                    "--regions",
                    f"{name}, {self._length} bases",
                    "every base is labelled, so that there is one class only",
                    "give regions, not whole contigs, or --negatives above 0",
                )
            self._writers[name].close()
