"""What stands in a prepared folder, written last: its presence means complete."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from hyena_ray.errors import InputError
from hyena_ray.files import read_json
from hyena_ray.settings import Settings

NAME = "manifest.json"
SCHEMA_VERSION = 1


class InputFile(Settings):
    """A file that the data were made from."""

    role: Literal["genome", "regions", "blacklist"]
    name: str
    sha256: str


class ContigEntry(Settings):
    """A contig of the genome."""

    name: str
    length: int = Field(gt=0)


class Count(Settings):
    """Windows of one length, split and contig."""

    length: int
    split: str
    contig: str
    positive: int = Field(ge=0)
    negative: int = Field(ge=0)
    labelled_bases: int = Field(ge=0)


class Dropped(Settings):
    """Tiles of one length, over the genome."""

    length: int
    tiles: int = Field(ge=0)
    too_many_n: int = Field(ge=0)
    """More than half N."""
    blacklisted: int = Field(ge=0)
    """Touch the blacklist, and not more than half N."""


class DataFile(Settings):
    """One Parquet file, relative to the folder, in order of window ids within length and split."""

    path: str
    length: int
    split: str
    rows: int = Field(gt=0)
    sha256: str


class Manifest(Settings):
    """The contents of a prepared folder; equal inputs and settings give equal bytes."""

    schema_version: int
    task: str
    simulated: bool
    """Made from a simulated genome: no figure from it says anything about a real one."""
    lengths: tuple[int, ...]
    flank: int = Field(ge=0)
    negatives: float = Field(ge=0)
    seed: int
    split: str
    splits: tuple[str, ...]
    tokens: dict[str, int]
    inputs: tuple[InputFile, ...]
    contigs: tuple[ContigEntry, ...]
    counts: tuple[Count, ...]
    dropped: tuple[Dropped, ...]
    files: tuple[DataFile, ...]

    def table(self) -> str:
        """Windows by length and split, for people."""
        rows = [("length", "split", "positive", "negative", "labelled bases")]
        for length in self.lengths:
            for split in self.splits:
                of = [c for c in self.counts if (c.length, c.split) == (length, split)]
                rows.append(
                    (
                        str(length),
                        split,
                        f"{sum(c.positive for c in of):,}",
                        f"{sum(c.negative for c in of):,}",
                        f"{sum(c.labelled_bases for c in of):,}",
                    )
                )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in rows]
        if self.simulated:
            lines.append("simulated genome: no figure from it says anything about a real one")
        return "\n".join(lines)


def read_manifest(folder: Path) -> Manifest:
    """Read and check a prepared folder's manifest.

    Raises:
        InputError: no such folder, no manifest, not valid, or of another schema version.
    """
    path = folder / NAME
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
