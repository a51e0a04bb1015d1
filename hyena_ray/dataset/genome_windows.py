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
    KindCount,
    Manifest,
    StoredTrack,
    Stretches,
)
from hyena_ray.dataset.schema import PartWriter, Windows
from hyena_ray.dataset.tokens import IGNORED, TOKEN_IDS, codes_to_tokens, with_levels
from hyena_ray.errors import InputError
from hyena_ray.genome.contig_batch import ContigBatch, Grid, batched
from hyena_ray.genome.contigs import N_CODE, Contig, open_genome, with_progress
from hyena_ray.genome.intervals import (
    Intervals,
    count_covered_bases,
    gather_windows,
    true_runs,
)
from hyena_ray.genome.label_counter import LabelCounter
from hyena_ray.genome.label_coverage import LabelCoverage
from hyena_ray.genome.negatives import (
    CLEARANCE,
    DRAWING_ORDER,
    GC,
    GC_BINS,
    HELD_OUT,
    KINDS,
    LABELLED,
    OTHER,
    RANDOM,
    TRACT,
    NegativeSampler,
    Shares,
    check_kinds,
    check_strata,
    gc_bins,
    read_shares,
    shares_text,
)
from hyena_ray.genome.region_edges import FARTHEST, ShapeCounter
from hyena_ray.genome.region_files import Regions, read_regions
from hyena_ray.genome.signal_scale import NO_VALUE
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.splits import VALIDATION, ContigSplit, Split, parse_split, split_by_contig
from hyena_ray.genome.tiling import (
    NO_SPLIT,
    Tiles,
    cut_tiles,
    split_tiles,
)
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.genome.untrained import CONTEXT, UNTRAINED_PREDICTORS, called_bases
from hyena_ray.progress import Progress, State, shortened_list
from hyena_ray.runs.stored_files import StoredFile
from hyena_ray.settings import READ, Location, Option, Settings
from hyena_ray.storage import AnyPath, recorded_name

log = logging.getLogger(__name__)

_NOT_DRAWN = 255
"""Kind of a tile that is not stored."""


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
    track: Annotated[tuple[str, ...], Option("NAME=FILE", READ, repeated=True)] = ()
    """Signal of an experiment that models may read beside the letters, such as dnase=signal.bw: a
    name of your own and a bigWig file of the genome's assembly; may be given again."""
    lengths: tuple[int, ...] = Field(default=(100,), min_length=1)
    """Window lengths in bases, at most the stretch; training windows of each length are cut
    separately."""
    flank: int = Field(default=64, ge=0, le=LONGEST)
    """Real bases stored on each side of a window."""
    negatives: Annotated[Shares, Option("KIND:N,...")] = "random:3"
    """Training windows without a labelled base for each one with a labelled base, by kind: random
    (any), gc (matched in GC content to those with a label), or tract (with a tract that the
    untrained predictor of the task calls, and no label within 100 bases). A single number is of
    random ones."""
    train_stride: Annotated[
        int | None, Option("N", default="the window length, without overlap"), Field(ge=1)
    ] = None
    """Bases from one training window to the next, a divisor of every length; windows overlap where
    it is less than the length."""
    stretch: int = Field(default=1024, ge=1, le=LONGEST)
    """Bases of a stretch. The genome is split in stretches, and validation and test are whole
    stretches, which models of every window length read with windows of their own."""
    held_out_negatives: Annotated[
        Shares | None,
        Option(
            "KIND:N,...",
            default=f"{HELD_OUT[True]}, or {HELD_OUT[False]} where nothing calls tracts",
        ),
    ] = None
    """Stretches of validation and test without a label that are drawn for each one with a label,
    and weighted up to their number in the genome: tract (with a tract that the untrained predictor
    of the task calls) and other, or random."""
    scan: bool = False
    """Score every stretch of the test contigs, as a genome scan does, and not a sample of those
    without a label. For data in folds, every stretch of every fold is scored."""
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

    @model_validator(mode="after")
    def _negatives_exist(self) -> Self:
        has_predictor = self.task in UNTRAINED_PREDICTORS
        check_kinds(read_shares(self.negatives), "--negatives", has_predictor=has_predictor)
        check_strata(self.strata, "--held-out-negatives", has_predictor=has_predictor)
        return self

    @property
    def strata(self) -> dict[str, float]:
        """Stretches without a label per labelled one, by stratum, where not all are scored."""
        return read_shares(self.held_out_negatives or HELD_OUT[self.task in UNTRAINED_PREDICTORS])

    @property
    def track_files(self) -> dict[str, AnyPath]:
        """Files of the tracks by name.

        Raises:
            InputError: A text is not NAME=FILE, or a file is missing or no bigWig.
        """
        return parse_tracks(self.track)

    @property
    def inputs(self) -> tuple[AnyPath, ...]:
        """Files that are read."""
        given = (self.genome, self.regions, self.blacklist, *self.track_files.values())
        return tuple(path for path in given if path)

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
        tracks = _measure_tracks(self.track_files, split)
        with SignalReader(tracks) as signals:
            return _write(self, folder, regions, blacklist, split, tracks, signals)


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


def _measure_tracks(files: Mapping[str, AnyPath], split: Split) -> list[SignalTrack]:
    """Measure the scale of each track on the training contigs: where contigs are split in
    stretches, on all."""
    tracks = []
    for number, (name, path) in enumerate(files.items()):
        with SignalFile(name, path) as file:
            training: Iterable[str] = file.lengths
            if isinstance(split, ContigSplit):
                training = [c for name in split.training for c in split.contigs[name]]
                for contigs in split.contigs.values():
                    for contig in contigs:
                        file.check_contig(contig)
            log.info("measuring the scale of %s", name)
            tracks.append(SignalTrack(path, file.sha256, file.measure(training, number)))
    return tracks


def _write(
    settings: PrepareSettings,
    folder: Path | None,
    regions: Regions,
    blacklist: Regions | None,
    split: Split,
    tracks: Sequence[SignalTrack],
    signals: SignalReader,
) -> Manifest:
    stretches = _Cutter(
        settings,
        split,
        length=settings.stretch,
        stride=settings.stretch,
        ratios={
            name: {RANDOM: None} if settings.scan and name != VALIDATION else settings.strata
            for name in split.held_out
        },
        trains=False,
        folder=folder,
        group=STRETCHES,
    )
    windows = [
        _Cutter(
            settings,
            split,
            length=length,
            stride=settings.train_stride or length,
            ratios=dict.fromkeys(split.training, read_shares(settings.negatives)),
            trains=True,
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
    padding = max(settings.flank, FARTHEST, CLEARANCE, CONTEXT)
    cutters = (stretches, *windows)
    with_tracts = sorted(
        {split.names.index(name) for c in cutters for name in c.splits_with_tracts}
    )
    for batch in label_batches(
        with_progress(genome), regions, blacklist, padding=padding, signals=signals
    ):
        simulated |= batch.simulated
        shape.add(batch.codes, batch.labels)
        assigned = _assign_stretches(batch, split, settings)
        wanted = batch.spans(settings.stretch, np.isin(assigned, with_tracts))
        called = _call_tracts(batch, wanted, settings.task)
        for cutter in cutters:
            cutter.cut(batch, assigned, called)
        contigs += batch.entries
        del batch
    check_contigs([contig.name for contig in contigs], regions, blacklist, split)
    for cutter in cutters:
        cutter.close()
    for cutter in windows:
        cutter.warn_of_shortfalls()
    inputs = [
        InputFile(role="genome", name=recorded_name(genome.path), sha256=genome.sha256),
        InputFile(
            role="regions",
            name=recorded_name(settings.regions),
            sha256=regions.sha256,
            moved=(settings.move_start, settings.move_end),
        ),
    ]
    if blacklist:
        name = recorded_name(blacklist.path)
        inputs.append(InputFile(role="blacklist", name=name, sha256=blacklist.sha256))
    if isinstance(split, ContigSplit) and split.table is not None:
        name = recorded_name(split.table)
        inputs.append(InputFile(role="split", name=name, sha256=split.sha256))
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
        kinds=KINDS,
        inputs=tuple(inputs),
        contigs=tuple(contigs),
        counts=tuple(count for cutter in windows for count in cutter.counts),
        dropped=tuple(cutter.dropped for cutter in windows),
        sequences=(),
        files=tuple(file for cutter in windows for file in cutter.files),
        stretch=settings.stretch,
        held_out=shares_text(settings.strata),
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
        tracks=tuple(
            StoredTrack(
                file=recorded_name(track.path),
                sha256=track.sha256,
                scale=track.scale,
                known=_known_shares(cutters, split.names, track.scale.number),
            )
            for track in tracks
        ),
    )
    for warning in manifest.label_warnings():
        log.warning("%s", warning)
    return manifest


def _known_shares(
    cutters: Sequence[_Cutter], splits: Sequence[str], number: int
) -> dict[str, float]:
    """Return the fraction of the bases of each split that have a value in a track."""
    shares = {}
    for split in splits:
        known = sum(int(cutter.known[split][number]) for cutter in cutters if split in cutter.known)
        bases = sum(cutter.bases[split] for cutter in cutters if split in cutter.bases)
        shares[split] = round(known / bases, 6) if bases else 0.0
    return shares


class LabelledBatch(ContigBatch):
    """Contigs that are cut together, with what the manifest says of them."""

    entries: list[ContigEntry]
    """Name and length of each contig."""
    simulated: bool
    """Whether one of them is simulated."""


def label_batches(
    contigs: Iterable[Contig],
    regions: Regions,
    blacklist: Regions | None,
    *,
    padding: int,
    signals: SignalReader | None = None,
) -> Iterator[LabelledBatch]:
    """Put contigs together, and label them.

    Args:
        contigs: Contigs of a genome.
        regions: Regions that label bases.
        blacklist: Regions that no tile may touch.
        padding: N between two contigs.
        signals: Signal tracks, open; None where there is none.

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
        batch = LabelledBatch(some, labels, banned, first=first, padding=padding, signals=signals)
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
    contigs: ContigBatch,
    grid: Grid,
    chosen: NDArray[np.int64],
    kinds: NDArray[np.uint8],
    *,
    length: int,
    flank: int,
) -> Windows:
    """Return tiles of a batch of contigs as windows with their flanks.

    Args:
        contigs: The contigs.
        grid: Where the tiles begin.
        chosen: Numbers of the tiles to return, shape (n,).
        kinds: Their kinds, values of `KINDS`, shape (n,).
        length: Bases of a tile.
        flank: Bases on each side, at most as many as are between the contigs of the batch.
    """
    contig, start = grid.contig[chosen], grid.start[chosen]
    position = contigs.offset[contig] + start
    around = position - flank, length + 2 * flank
    tokens = codes_to_tokens(gather_windows(contigs.codes, *around, N_CODE))
    levels = gather_windows(contigs.levels(contig), *around, NO_VALUE)
    return Windows(
        window_id=contigs.first[contig] + start,
        contig=np.array(contigs.names)[contig],
        start=start,
        tokens=with_levels(tokens, levels),
        labels=gather_windows(contigs.base_labels, position, length, IGNORED),
        kind=kinds,
    )


def _call_tracts(contigs: ContigBatch, wanted: Intervals, task: str) -> Intervals:
    """Return the tracts that the untrained predictor of a task calls where they are wanted."""
    total = int((wanted.end - wanted.start).sum())
    if not total:
        return Intervals.empty()
    predictor, done = UNTRAINED_PREDICTORS[task], 0
    with Progress(f"tracts of {predictor.title}", 100, "%", brief=True) as progress:

        def show(bases: int) -> None:
            nonlocal done
            done += bases
            progress.update(State(done=100 * done // total, at_work=tuple(contigs.names)))

        return true_runs(called_bases(contigs.codes, wanted, predictor, show))


class _Draws:
    """Sources of the draws of a batch, each made when something is drawn for its contig.

    Args:
        names: Names of the contigs.
        seed: Numbers that the sources share.
    """

    def __init__(self, names: Sequence[str], seed: Sequence[int]) -> None:
        self._names, self._seed = names, seed
        self._made: dict[tuple[int, str], np.random.Generator] = {}

    def of(self, contig: int, kind: str) -> np.random.Generator:
        """Return the source of a contig for one kind of negatives.

        Args:
            contig: Index of the contig.
            kind: Name of the kind.
        """
        if (contig, kind) not in self._made:
            # Seeded by name: neither the other contigs nor their order change what is drawn, nor do
            # other kinds.
            own = [] if kind == RANDOM else [KINDS[kind]]
            seed = [*self._seed, *self._names[contig].encode(), *own]
            self._made[contig, kind] = np.random.default_rng(seed)
        return self._made[contig, kind]


class _Cutter:
    """Cut tiles of one length from contig after contig, and write those that are chosen.

    All tiles with a labelled base are chosen, and a sample of those without.

    Args:
        recipe: Settings of the preparation.
        split: Rule of the split.
        length: Bases of a tile.
        stride: Bases from one tile to the next.
        ratios: For each split that has such tiles, the chosen tiles without a label for each one
            with a label, by kind; None takes all.
        trains: Whether models train on the tiles: what is near a label is then no tract negative,
            and a kind that the genome lacks is an error.
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
        ratios: Mapping[str, Mapping[str, float | None]],
        trains: bool,
        folder: Path | None,
        group: str,
    ) -> None:
        self._recipe, self._split = recipe, split
        self._length, self._stride = length, stride
        self._trains = trains
        self._samplers = {
            name: {
                kind: NegativeSampler(of_split[kind], GC_BINS if kind == GC else 1)
                for kind in DRAWING_ORDER
                if kind in of_split
            }
            for name, of_split in ratios.items()
        }
        self._writers = {
            name: PartWriter(
                folder, group, name, length, flank=recipe.flank, tracks=len(recipe.track)
            )
            for name in ratios
        }
        self.known: dict[str, NDArray[np.int64]] = {
            name: np.zeros(len(recipe.track), np.int64) for name in ratios
        }
        """Bases with a value in each track, of the windows of each split."""
        self.bases = dict.fromkeys(ratios, 0)
        """Bases of the windows of each split."""
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

    @property
    def splits_with_tracts(self) -> list[str]:
        """Names of the splits whose tiles have to be known by their tracts."""
        return [name for name, kinds in self._samplers.items() if TRACT in kinds]

    def cut(
        self, contigs: ContigBatch, stretch_splits: NDArray[np.int8], called: Intervals
    ) -> None:
        """Cut the tiles of a batch of contigs.

        Args:
            contigs: The contigs.
            stretch_splits: Index of the split of each of their stretches.
            called: Tracts in the splits whose tiles have to be known by them, in positions.
        """
        length, stretch = self._length, self._recipe.stretch
        tiles = cut_tiles(contigs, length, self._stride)
        stretches = contigs.stretches(stretch)
        split = split_tiles(stretch_splits, stretches, stretch, tiles.grid, length)[tiles.kept]
        self._labels.add(contigs, tiles, split != NO_SPLIT, stretch_splits)
        draws = _Draws(contigs.names, [self._recipe.seed, length])
        counts: dict[int, list[Count]] = {}
        for name, samplers in self._samplers.items():
            of_split = tiles.kept[split == self._split.names.index(name)]
            positive = tiles.labelled[of_split] > 0
            eligible = self._candidates(contigs, tiles.grid, of_split, positive, called, samplers)
            contig = tiles.grid.contig[of_split]
            present = np.unique(contig)
            edges = [*np.searchsorted(contig, present).tolist(), len(contig)]
            kinds = np.where(positive, KINDS[LABELLED], _NOT_DRAWN).astype(np.uint8)
            for index, first, last in zip(present.tolist(), edges, edges[1:], strict=False):
                here = slice(first, last)
                drawn: dict[str, KindCount] = {}
                for kind, sampler in samplers.items():
                    mask, bins = eligible[kind]
                    free = first + np.flatnonzero(mask[here] & (kinds[here] == _NOT_DRAWN))
                    negatives = sampler.draw(
                        np.bincount(bins[here][positive[here]], minlength=sampler.bins),
                        free,
                        bins[free],
                        partial(draws.of, index, kind),
                    )
                    kinds[negatives] = KINDS[kind]
                    drawn[kind] = KindCount(drawn=len(negatives), candidates=int(mask[here].sum()))
                positives = int(positive[here].sum())
                counts.setdefault(index, []).append(
                    Count(
                        length=length,
                        split=name,
                        contig=contigs.names[index],
                        positive=positives,
                        negative=sum(number.drawn for number in drawn.values()),
                        candidates=last - first - positives,
                        labelled=int(tiles.labelled[of_split[here]].sum()),
                        kinds=drawn,
                    )
                )
            chosen = kinds != _NOT_DRAWN
            if chosen.any():
                windows = windows_of(
                    contigs,
                    tiles.grid,
                    of_split[chosen],
                    kinds[chosen],
                    length=length,
                    flank=self._recipe.flank,
                )
                self._writers[name].add(windows)
                self._count_known(name, windows)
        self.counts += [count for index in sorted(counts) for count in counts[index]]
        self._count_dropped(tiles if self._stride == length else cut_tiles(contigs, length, length))

    def _candidates(
        self,
        contigs: ContigBatch,
        grid: Grid,
        tiles: NDArray[np.int64],
        positive: NDArray[np.bool_],
        called: Intervals,
        kinds: Iterable[str],
    ) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.int64]]]:
        """Return for each kind which tiles may be drawn as such, and the bins of all tiles."""
        start = contigs.offset[grid.contig[tiles]] + grid.start[tiles]
        end = start + self._length
        found = {}
        for kind in kinds:
            mask, bins = ~positive, np.zeros(len(tiles), np.int64)
            if kind == GC:
                bins = gc_bins(contigs.codes, start, self._length)
            elif kind in (TRACT, OTHER):
                mask &= (count_covered_bases(called, start, end) > 0) == (kind == TRACT)
            if kind == TRACT and self._trains:
                # Contigs of a batch are farther from each other than that.
                near = start - CLEARANCE, end + CLEARANCE
                mask &= count_covered_bases(contigs.labels, *near) == 0
            found[kind] = mask, bins
        return found

    def _count_known(self, split: str, windows: Windows) -> None:
        self.bases[split] += windows.labels.size
        if windows.tokens.ndim > 2:
            flank = self._recipe.flank
            levels = windows.tokens[:, flank : flank + self._length, 1:]
            self.known[split] += (levels != NO_VALUE).sum((0, 1))

    def warn_of_shortfalls(self) -> None:
        """Log splits and contigs for which the genome has fewer negatives than asked for."""
        for name, samplers in self._samplers.items():
            for kind, sampler in samplers.items():
                if not sampler.asked:
                    continue
                place = f"{name}, length {self._length}"
                lacking = [
                    count.contig
                    for count in self.counts
                    if count.split == name and count.positive and not count.kinds[kind].candidates
                ]
                if lacking:
                    log.warning("%s: no %s negative on %s", place, kind, shortened_list(lacking))
                if sampler.shortfall > 0:
                    log.warning(
                        "%s: the genome has %d %s negatives fewer than asked for",
                        place,
                        sampler.shortfall,
                        kind,
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
            InputError: A split has no tile with a label, or none but labelled bases, or no negative
                of a kind that was asked for.
        """
        for name, samplers in self._samplers.items():
            positives = next(iter(samplers.values())).positives
            drawn = sum(sampler.drawn for sampler in samplers.values())
            if not positives:
                raise InputError(
                    "--split",
                    self._split.text,
                    f"{name} has no {self._length} bases with a labelled one among them",
                    "give it contigs that the regions name, or lower --lengths and --stretch",
                )
            bases = sum(count.labelled for count in self.counts if count.split == name)
            if bases == self._length * (positives + drawn):
                raise InputError(
                    "--regions",
                    f"{name}, {self._length} bases",
                    "every base is labelled, so that there is one class only",
                    "give regions, not whole contigs, or --negatives above 0",
                )
            if self._trains:
                self._check_kinds(name, samplers)
            self._writers[name].close()

    def _check_kinds(self, split: str, samplers: Mapping[str, NegativeSampler]) -> None:
        """Refuse training windows without any negative of a kind that was asked for."""
        for kind, sampler in samplers.items():
            if sampler.shortfall and not sampler.drawn:
                raise InputError(
                    "--negatives",
                    self._recipe.negatives,
                    f"{split} has no {kind} negative of {self._length} bases",
                    "leave that kind out, or give the split other contigs",
                )
