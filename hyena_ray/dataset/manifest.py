"""The manifest of prepared data: where it comes from, how it was cut, and which files it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import to_jsonable_python

from hyena_ray.errors import InputError
from hyena_ray.genome.label_coverage import LabelCoverage, unassigned_regions
from hyena_ray.genome.negatives import LABELLED, Shares
from hyena_ray.genome.region_shape import RegionShape
from hyena_ray.genome.signal_scale import MOST_TRACKS, SignalScale
from hyena_ray.genome.splits import SPLITS, fold_name, held_out_splits
from hyena_ray.progress import count_noun
from hyena_ray.runs.plan import fingerprint
from hyena_ray.runs.record import Record
from hyena_ray.runs.run import installed_versions
from hyena_ray.runs.stored_files import MANIFEST
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named

DECISIVE = (
    "task",
    "inputs",
    "lengths",
    "flank",
    "negatives",
    "train_stride",
    "stretch",
    "held_out",
    "scan",
    "seed",
    "split",
)
"""Fields that decide all others: the plan of a preparation."""
VERSIONS = ("hyena-ray", "numpy", "pyarrow")
"""Packages whose versions decide the bytes of prepared data."""
LONGEST = 1 << 24
"""Most bases of a window, a stretch, or a flank."""
STRETCHES = "stretches"
"""Folder of the stretches of a genome in a prepared folder."""
PREPARE_AGAIN = "prepare the data again"
"""Remedy for prepared data that are damaged."""


def _is_empty(values: tuple[object, ...]) -> bool:
    """Tell whether a field is left out of the manifest, as it was before there were tracks."""
    return not values


class InputFile(Settings):
    """A file that the data were made from."""

    role: str
    """Option that gave the file: genome, regions, blacklist or split; of sequences, their split."""
    name: str
    """Name of the file, without its folder."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    moved: tuple[int, int] = (0, 0)
    """Bases by which start and end of its regions were moved."""

    def __str__(self) -> str:
        """Return the name with what tells it from other files of that name."""
        start, end = self.moved
        moved = f", starts moved by {start:+d} and ends by {end:+d}" if start or end else ""
        return f"{self.name} (sha256 {self.sha256[:8]}{moved})"


class ContigEntry(Settings):
    """A contig of the genome."""

    name: str
    """Name of the contig."""
    length: int = Field(gt=0)
    """Bases of the contig."""


class StoredTrack(Settings):
    """A signal track, whose levels are stored with the bases."""

    file: str
    """Name of the bigWig file, without its folder."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    scale: SignalScale
    """Scale of its levels, measured on the training contigs."""
    known: dict[str, float] = Field(default_factory=dict)
    """Fraction of the bases of windows and stretches that have a value, by split."""

    def text(self) -> str:
        """Return a line about the track."""
        shares = ", ".join(f"{split} {share:.1%}" for split, share in self.known.items())
        return f"track {self.scale.name} ({self.file}): bases with a value: {shares}"


class KindCount(Settings):
    """Negatives of one kind."""

    drawn: int = Field(ge=0)
    """Negatives that were drawn as such."""
    candidates: int = Field(ge=0)
    """Negatives that could have been."""


class Count(Settings):
    """Windows or stretches of one length, split and contig, or sequences of one split."""

    length: int
    """Bases of a window or a stretch."""
    split: str
    """Name of the split."""
    contig: str
    """Name of the contig; for sequences, the split."""
    positive: int = Field(ge=0)
    """Windows with a labelled base, or sequences with label 1."""
    negative: int = Field(ge=0)
    """Windows without a labelled base that were drawn, or sequences with label 0."""
    candidates: int = Field(ge=0)
    """Negatives that could have been drawn. With all of them, the split would have the prevalence
    of the genome."""
    labelled: int = Field(ge=0)
    """Labels that are 1, of bases or of sequences."""
    kinds: dict[str, KindCount] = Field(default_factory=dict)
    """The negatives by kind, a name of `genome.negatives.KINDS`. Candidates of one kind may be
    those of another one as well."""

    def plus(self, other: Count) -> Count:
        """Add another count.

        Args:
            other: Count to add.

        Returns:
            The sums, under the length, split and contig of this count.
        """
        numbers = ("positive", "negative", "candidates", "labelled")
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        none = KindCount(drawn=0, candidates=0)
        kinds = {}
        for kind in self.kinds | other.kinds:
            pair = self.kinds.get(kind, none), other.kinds.get(kind, none)
            kinds[kind] = KindCount(
                drawn=sum(one.drawn for one in pair),
                candidates=sum(one.candidates for one in pair),
            )
        return self.model_copy(update={**sums, "kinds": kinds})


class Dropped(Settings):
    """Tiles of the genome at multiples of one length, and how many were dropped."""

    length: int
    """Window length in bases."""
    tiles: int = Field(ge=0)
    """Tiles of all contigs."""
    too_many_n: int = Field(ge=0)
    """Tiles dropped because more than half of their bases are N."""
    blacklisted: int = Field(ge=0)
    """Tiles dropped because they touch the blacklist, and are at most half N."""


class SequenceRows(Settings):
    """Rows of the file of one split."""

    split: str
    """Name of the split."""
    rows: int = Field(gt=0)
    """Rows of the file."""
    dropped: int = Field(ge=0)
    """Rows dropped because their sequence is in the file of a later split as well."""
    repeated: int = Field(ge=0)
    """Kept rows whose sequence is in an earlier row of the same file."""
    conflicting: int = Field(ge=0)
    """Kept rows whose sequence has both labels in the same file."""


class DataFile(Settings):
    """A Parquet file with windows or stretches of one split, in order of their ids."""

    path: str = Field(
        pattern=rf"^(length=[0-9]+|{STRETCHES})/split=[a-z0-9]+/part-[0-9]+\.parquet$"
    )
    """Path relative to the prepared folder."""
    length: int = Field(ge=1, le=LONGEST)
    """Bases of a window or a stretch."""
    split: str
    """Name of the split."""
    rows: int = Field(gt=0)
    """Windows or stretches in the file."""


class Stretches(Settings):
    """The stretches of a genome that models are scored on, whatever the length of their windows."""

    counts: tuple[Count, ...]
    """Stretches by split and contig."""
    dropped: Dropped
    """Dropped stretches of the genome."""
    files: tuple[DataFile, ...]
    """Parquet files."""
    labels: tuple[LabelCoverage, ...] = ()
    """Labelled regions that the stretches of each split hold, and those that were lost."""


class Manifest(Record):
    """The contents of a prepared folder; equal inputs and settings give equal bytes."""

    KIND: ClassVar[str] = "prepare"

    task: str
    """Name of the task."""
    lengths: tuple[int, ...]
    """Lengths of the training windows in bases."""
    flank: int = Field(ge=0, le=LONGEST)
    """Bases stored on each side of a window or a stretch."""
    negatives: Shares | None
    """Negatives per positive, by kind, that were asked for in training; None for sequences, which
    are taken as given."""
    train_stride: int | None = Field(ge=1)
    """Bases from one training window to the next; None for their length."""
    stretch: int | None = Field(ge=1)
    """Bases of the stretches by which the genome is split; None for sequences."""
    held_out: Shares | None
    """Unlabelled stretches per labelled one, by stratum, that were asked for in validation and
    test; None for sequences."""
    scan: bool | None
    """Whether every stretch of the test contigs is scored; None for sequences."""
    seed: int
    """Seed of the negatives and of a random split."""
    split: str
    """Rule of the split as the command line gives it; `files` for sequences."""
    splits: tuple[str, ...]
    """Names of the splits."""
    tokens: dict[str, int]
    """Token ids by name."""
    kinds: dict[str, int]
    """Numbers of the kinds of windows by name."""
    inputs: tuple[InputFile, ...]
    """Files that the data were made from; those of tracks are in `tracks`."""
    contigs: tuple[ContigEntry, ...]
    """Contigs of the genome; none for sequences."""
    counts: tuple[Count, ...]
    """Training windows by length, split and contig; all sequences by split."""
    dropped: tuple[Dropped, ...]
    """Dropped tiles by length; none for sequences."""
    sequences: tuple[SequenceRows, ...]
    """Rows of the files of sequences; none for a genome."""
    files: tuple[DataFile, ...]
    """Parquet files of training windows, or of all sequences."""
    stretches: Stretches | None
    """Stretches that are scored; None for sequences."""
    regions: RegionShape | None = None
    """Shape of the labelled regions, as they were moved; None for sequences."""
    labels: tuple[LabelCoverage, ...] = ()
    """Labelled regions that the training windows of each length and split hold, and those that were
    lost; none for sequences."""
    tracks: tuple[StoredTrack, ...] = Field(
        default=(), max_length=MOST_TRACKS, exclude_if=_is_empty
    )
    """Signal tracks, in the order in which their levels are stored behind a base."""

    @model_validator(mode="after")
    def _tracks_are_numbered(self) -> Self:
        scales = self.scales
        names = {scale.name for scale in scales}
        if len(names) < len(scales) or any(s.number != at for at, s in enumerate(scales)):
            raise ValueError("tracks have names of their own, and numbers from 0 on in their order")
        return self

    @property
    def scales(self) -> tuple[SignalScale, ...]:
        """Scales of the tracks."""
        return tuple(track.scale for track in self.tracks)

    @property
    def files_read(self) -> tuple[InputFile, ...]:
        """Files that the data were made from, those of the tracks among them."""
        tracks = (
            InputFile(role=f"track {track.scale.name}", name=track.file, sha256=track.sha256)
            for track in self.tracks
        )
        return (*self.inputs, *tracks)

    @classmethod
    def describe(cls, *, simulated: bool, **values: Any) -> Self:
        """Make the manifest of prepared data.

        Args:
            simulated: Whether the data are from simulated DNA.
            values: All fields that a manifest has and a record of another run has not.

        Returns:
            The manifest, with its fingerprint and outputs.
        """
        plain = {name: to_jsonable_python(values[name]) for name in DECISIVE}
        if tracks := values.get("tracks"):
            plain["tracks"] = to_jsonable_python(tracks)
        cut = dict.fromkeys(count.length for count in values["counts"])
        outputs = {f"windows of {size} bases": f"length={size}" for size in cut}
        if values["stretches"] is not None:
            outputs["stretches that are scored"] = STRETCHES
        # Others do not decide the bytes of the data, and another one would be other data.
        versions = {name: installed_versions()[name] for name in VERSIONS}
        return cls.make(
            fingerprint=fingerprint(plain),
            simulated=simulated,
            outputs=outputs,
            versions=versions,
            **values,
        )

    @classmethod
    def read(cls, folder: AnyPath, place: str | None = None) -> Self:
        """Read and check the manifest of prepared data.

        Args:
            folder: Folder of the data.
            place: Option that named the folder, for the message.

        Returns:
            Its manifest.

        Raises:
            InputError: The folder is not prepared data, or its manifest is damaged or of another
                version, or names an unknown task.
        """
        manifest = super().read(folder, place)
        task_named(manifest.task, f"{folder / MANIFEST}: task")
        manifest.check_rows(folder / MANIFEST)
        return manifest

    def check_rows(self, path: AnyPath) -> None:
        """Hold the counts of windows and stretches against the rows of the files.

        Args:
            path: The manifest, for the message.

        Raises:
            InputError: They differ, or a file has no checksum.
        """
        listed = {file.path for file in self.contents}
        groups = {"counts": (self.counts, self.files)}
        if self.stretches is not None:
            groups["stretches.counts"] = (self.stretches.counts, self.stretches.files)
        for name, (counts, files) in groups.items():
            counted: Counter[tuple[int, str]] = Counter()
            for count in counts:
                counted[count.length, count.split] += count.positive + count.negative
            stored: Counter[tuple[int, str]] = Counter()
            for file in files:
                stored[file.length, file.split] += file.rows
                if file.path not in listed:
                    raise InputError(path, file.path, "the file has no sha256", PREPARE_AGAIN)
            for length, split in sorted(counted | stored):
                numbers = counted[length, split], stored[length, split]
                if numbers[0] != numbers[1]:
                    raise InputError(
                        f"{path}: {name}",
                        f"{numbers[0]} of {length} bases in {split}",
                        f"its files have {numbers[1]}",
                        PREPARE_AGAIN,
                    )

    @property
    def label_source(self) -> str:
        """Files that the labels come from: name, start of the sha256, and how regions were moved.

        Figures on other labels cannot be compared.
        """
        others = ("genome", "blacklist", "split")
        given = [file for file in self.inputs if file.role not in others]
        return ", ".join(map(str, given))

    def labels_per_window(self, length: int) -> int:
        """Return how many labels a window or a stretch has.

        Args:
            length: Bases of the window or the stretch.

        Returns:
            One for each base, or 1 where the task labels whole sequences.
        """
        return 1 if task_named(self.task).kind == "sequence" else length

    @property
    def folds(self) -> int:
        """Folds of a K-fold split; 0 for every other split."""
        return sum(name not in SPLITS for name in self.splits)

    def for_fold(self, fold: int, place: str | PurePath) -> Manifest:
        """Return the manifest of a view in which one fold is the test split.

        The next fold (after the last one, the first) is the validation split, and all others train.

        Args:
            fold: Number of the test fold, from 0.
            place: Option or setting that gave the fold, for the error.

        Returns:
            A manifest with the splits train, val and test.

        Raises:
            InputError: The data have no folds, or no such one; names `place`.
        """
        if not self.folds:
            raise InputError(
                place,
                fold,
                f"the data were split by {self.split}, not into folds",
                "leave the fold out, or prepare with --split kfold:5",
            )
        if not 0 <= fold < self.folds:
            raise InputError(
                place, fold, "there is no such fold", f"give one from 0 to {self.folds - 1}"
            )
        roles = dict.fromkeys(self.splits, "train")
        roles[fold_name((fold + 1) % self.folds)] = "val"
        roles[fold_name(fold)] = "test"
        stretches = self.stretches
        if stretches is not None:
            stretches = stretches.model_copy(
                update={
                    "counts": _renamed_counts(stretches.counts, roles),
                    "files": _renamed_files(stretches.files, roles),
                }
            )
        return self.model_copy(
            update={
                "splits": SPLITS,
                "counts": _renamed_counts(self.counts, roles),
                "files": _renamed_files(self.files, roles),
                "stretches": stretches,
            }
        )

    def without_files(self) -> Manifest:
        """Return the manifest without its lists of files, which may be long."""
        stretches = self.stretches
        if stretches is not None:
            stretches = stretches.model_copy(update={"files": ()})
        return self.model_copy(update={"files": (), "stretches": stretches, "contents": ()})

    def scored_in_stretches(self, split: str) -> bool:
        """Tell whether a split is held as stretches, from which windows of any length are cut.

        Args:
            split: Name of the split; in data in folds, that of a view.
        """
        return self.stretches is not None and split in held_out_splits(self.splits)

    def counts_of(self, length: int, split: str) -> tuple[Count, ...]:
        """Return the counts of a split by contig: of its stretches, or of windows if it has none.

        Args:
            length: Window length in bases.
            split: Name of the split; in data in folds, that of a view.
        """
        if self.stretches is not None and self.scored_in_stretches(split):
            return tuple(count for count in self.stretches.counts if count.split == split)
        return tuple(c for c in self.counts if (c.length, c.split) == (length, split))

    def stored_kinds(self, length: int, split: str) -> dict[str, int]:
        """Return how many windows of each kind are stored, with those that are labelled first.

        Args:
            length: Window length in bases.
            split: Name of the split, which is not held as stretches.
        """
        counts = self.counts_of(length, split)
        stored = {LABELLED: sum(count.positive for count in counts)}
        for count in counts:
            for kind, number in count.kinds.items():
                stored[kind] = stored.get(kind, 0) + number.drawn
        return {kind: number for kind, number in stored.items() if number}

    def table(self) -> str:
        """Return the number of windows and stretches by length and split as a text table.

        Returns:
            Aligned lines, with notes on dropped sequences and on simulated data below them.
        """
        rows = [("", "bases", "split", "positive", "negative", "by kind", "positive labels")]
        for name, counts in (("windows", self.counts), ("stretches", self._stretch_counts)):
            for length, split in dict.fromkeys((c.length, c.split) for c in counts):
                these = [c for c in counts if (c.length, c.split) == (length, split)]
                rows.append(
                    (
                        name,
                        str(length),
                        split,
                        f"{sum(c.positive for c in these):,}",
                        f"{sum(c.negative for c in these):,}",
                        kinds_text(these),
                        f"{sum(c.labelled for c in these):,}",
                    )
                )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        if self.stretches is not None:
            lines.append("models of every window length are scored on the same stretches")
        lines += [entry.text() for entry in self.label_coverage]
        lines += [track.text() for track in self.tracks]
        if unassigned := self._unassigned_regions:
            lines.append(f"{count_noun(unassigned, 'region')} on contigs that are in no split")
        lines += [
            f"{file.split}: dropped {file.dropped:,} of {file.rows:,} sequences that a later split "
            f"has as well; kept {file.repeated:,} that repeat an earlier one and "
            f"{file.conflicting:,} that have both labels"
            for file in self.sequences
        ]
        if self.simulated:
            lines.append("simulated: no figure from it says anything about real DNA")
        return "\n".join(lines)

    @property
    def label_coverage(self) -> tuple[LabelCoverage, ...]:
        """Labelled regions that windows and stretches hold, and those that were lost."""
        return self.labels + (() if self.stretches is None else self.stretches.labels)

    @property
    def _unassigned_regions(self) -> int:
        if self.regions is None or not self.label_coverage:
            return 0
        return unassigned_regions(self.label_coverage, self.regions.regions)

    def label_warnings(self) -> list[str]:
        """Say what is wrong with the labels, and what to do; empty where nothing is known."""
        return [*self._shift_warnings(), *(e.warning() for e in self.label_coverage if e.warning())]

    def _shift_warnings(self) -> list[str]:
        if self.regions is None or self.regions.shifts == (0, 0):
            return []
        (regions,) = (file for file in self.inputs if file.role == "regions")
        start, end = (sum(pair) for pair in zip(regions.moved, self.regions.shifts, strict=True))
        options = {"--move-start": start, "--move-end": end}
        given = " ".join(f"{name} {bases}" for name, bases in options.items() if bases)
        return [
            f"{regions.name} looks shifted: {self.regions.shift_text()}. Correct the file, or "
            f"prepare {f'with {given}' if given else 'without --move-start and --move-end'}"
        ]

    @property
    def _stretch_counts(self) -> tuple[Count, ...]:
        return () if self.stretches is None else self.stretches.counts


def kinds_text(counts: Iterable[Count]) -> str:
    """Return the drawn negatives by kind, such as `20 random, 10 tract`.

    Args:
        counts: Counts that are added up.
    """
    drawn: Counter[str] = Counter()
    for count in counts:
        drawn.update({kind: number.drawn for kind, number in count.kinds.items()})
    return ", ".join(f"{number:,} {kind}" for kind, number in drawn.items())


def _renamed_counts(counts: Sequence[Count], roles: Mapping[str, str]) -> tuple[Count, ...]:
    """Add up the counts of splits that have the same role, contig by contig."""
    sums: dict[tuple[int, str, str], Count] = {}
    for count in counts:
        renamed = count.model_copy(update={"split": roles[count.split]})
        key = (renamed.length, renamed.split, renamed.contig)
        sums[key] = sums[key].plus(renamed) if key in sums else renamed
    return tuple(sums.values())


def _renamed_files(files: Sequence[DataFile], roles: Mapping[str, str]) -> tuple[DataFile, ...]:
    return tuple(file.model_copy(update={"split": roles[file.split]}) for file in files)
