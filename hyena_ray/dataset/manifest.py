"""What stands in a prepared folder, written last: its presence means complete."""

from __future__ import annotations

from pathlib import PurePath

from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.genome.splits import SPLITS, fold_name
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named

MANIFEST = "manifest.json"
SCHEMA_VERSION = 2


class InputFile(Settings):
    """A file that the data were made from."""

    role: str
    """The option that gave it: genome, regions, blacklist, or the split of its sequences."""
    name: str
    sha256: str


class ContigEntry(Settings):
    """A contig of the genome."""

    name: str
    length: int = Field(gt=0)


class Count(Settings):
    """Windows of one length, split and contig, or sequences of one split."""

    length: int
    split: str
    contig: str
    positive: int = Field(ge=0)
    negative: int = Field(ge=0)
    candidates: int = Field(ge=0)
    """Negatives that there are, of which `negative` were drawn; it may be that none were. With all
    of them the split would have the prevalence of the genome."""
    labelled: int = Field(ge=0)
    """Labels that are 1: of bases, or of sequences."""

    def plus(self, other: Count) -> Count:
        """Both together, under the names of this one."""
        numbers = ("positive", "negative", "candidates", "labelled")
        sums = {name: getattr(self, name) + getattr(other, name) for name in numbers}
        return self.model_copy(update=sums)


class Dropped(Settings):
    """Tiles of one length at multiples of it, over the genome."""

    length: int
    tiles: int = Field(ge=0)
    too_many_n: int = Field(ge=0)
    """More than half N."""
    blacklisted: int = Field(ge=0)
    """Touch the blacklist, and not more than half N."""


class SequenceRows(Settings):
    """Rows of the file of one split."""

    split: str
    rows: int = Field(gt=0)
    dropped: int = Field(ge=0)
    """Their sequence stands in the file of a later split as well."""
    repeated: int = Field(ge=0)
    """Kept, and their sequence stands in an earlier row of the same file."""
    conflicting: int = Field(ge=0)
    """Kept, and their sequence stands with both labels in the same file."""


class DataFile(Settings):
    """One Parquet file, relative to the folder, in order of window ids within length and split."""

    path: str = Field(pattern=r"^length=[0-9]+/split=[a-z0-9]+/part-[0-9]+\.parquet$")
    length: int
    split: str
    rows: int = Field(gt=0)
    sha256: str


class Manifest(Settings):
    """The contents of a prepared folder; equal inputs and settings give equal bytes."""

    schema_version: int
    task: str
    simulated: bool
    """Made from simulated DNA: no figure from it says anything about real DNA."""
    lengths: tuple[int, ...]
    flank: int = Field(ge=0)
    negatives: float | None = Field(ge=0)
    """Asked for by each positive; None takes sequences as they are."""
    train_stride: int | None = Field(ge=1)
    """Bases from one training tile to the next; None is their length."""
    seed: int
    split: str
    splits: tuple[str, ...]
    tokens: dict[str, int]
    inputs: tuple[InputFile, ...]
    contigs: tuple[ContigEntry, ...]
    """Of the genome; none for sequences."""
    counts: tuple[Count, ...]
    dropped: tuple[Dropped, ...]
    """Of a genome."""
    sequences: tuple[SequenceRows, ...]
    """Of files of sequences."""
    files: tuple[DataFile, ...]

    def labels_per_window(self, length: int) -> int:
        """One of each base, or one of the whole sequence."""
        return 1 if task_named(self.task).kind == "sequence" else length

    @property
    def folds(self) -> int:
        """Parts of a K-fold split; 0 when the data were split otherwise."""
        return sum(name not in SPLITS for name in self.splits)

    def for_fold(self, fold: int, place: str | PurePath) -> Manifest:
        """The same windows, where fold `fold` is the test split, the next one validates and all
        others train.

        Raises:
            InputError: there are no folds, or no such one; names `place`.
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
        counts: dict[tuple[int, str, str], Count] = {}
        for count in self.counts:
            renamed = count.model_copy(update={"split": roles[count.split]})
            key = (renamed.length, renamed.split, renamed.contig)
            counts[key] = counts[key].plus(renamed) if key in counts else renamed
        files = (file.model_copy(update={"split": roles[file.split]}) for file in self.files)
        return self.model_copy(
            update={"splits": SPLITS, "counts": tuple(counts.values()), "files": tuple(files)}
        )

    def table(self) -> str:
        """Windows by length and split, for people."""
        rows = [("length", "split", "positive", "negative", "labels of 1")]
        for length in self.lengths:
            for split in self.splits:
                of = [c for c in self.counts if (c.length, c.split) == (length, split)]
                rows.append(
                    (
                        str(length),
                        split,
                        f"{sum(c.positive for c in of):,}",
                        f"{sum(c.negative for c in of):,}",
                        f"{sum(c.labelled for c in of):,}",
                    )
                )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        lines += [
            f"{of.split}: dropped {of.dropped:,} of {of.rows:,} sequences that a later split has "
            f"as well; kept {of.repeated:,} that repeat an earlier one and {of.conflicting:,} that "
            "have both labels"
            for of in self.sequences
        ]
        if self.simulated:
            lines.append("simulated: no figure from it says anything about real DNA")
        return "\n".join(lines)


def read_manifest(folder: AnyPath) -> Manifest:
    """Read and check a prepared folder's manifest.

    Raises:
        InputError: no such folder, no manifest, not valid, or of another schema version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        problem = (
            "has no manifest.json: not a prepared folder, or an unfinished one"
            if folder.is_dir()
            else "there is no such folder"
        )
        raise InputError(folder, None, problem, "make it with jobs/prepare.py")
    values = read_json(path)
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema_version",
            version,
            f"this version reads {SCHEMA_VERSION}",
            "prepare the data again",
        )
    return Manifest.parse(values, path)
