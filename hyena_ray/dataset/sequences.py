"""Read labelled sequences as they stand, one CSV file per split.

In: CSV with columns `sequence,label`.  Out: `DIR/length=L/split=S/part-*.parquet`, and what the
manifest says.  The files fit into memory.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import SCHEMA_VERSION, Count, InputFile, Manifest, SequenceRows
from hyena_ray.dataset.schema import PartWriter, Windows
from hyena_ray.dataset.tokens import TOKEN_IDS, encode, validate_letters
from hyena_ray.errors import InputError
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.source import Source
from hyena_ray.genome.splits import SPLITS
from hyena_ray.settings import Location, Settings
from hyena_ray.storage import AnyPath

COLUMNS = ("sequence", "label")
ORIGIN = "origin"
"""A column that a file may have beside; other columns are ignored."""
EXAMPLE = "write a first line sequence,label and then lines such as ACGTTGCA,1"


class SequenceSettings(Settings):
    """Which files of sequences are read; each is one split."""

    task: str
    """Name of the task, such as promoter."""
    train: Location
    """CSV file with columns sequence and label (0 or 1), plain or gzip; all sequences of all files
    have one length, and lower case is sequence."""
    val: Location
    """The same for validation. What stands in --val or --test is dropped from --train."""
    test: Location
    """The same for the test. What stands in --test is dropped from --val."""

    @property
    def inputs(self) -> tuple[AnyPath, ...]:
        """Files that are read."""
        return self.train, self.val, self.test

    def write(self, folder: Path | None) -> Manifest:
        """Write the Parquet files into `folder`; None only says what they would hold.

        Raises:
            InputError: a file cannot be used, or a split would lack a class.
        """
        files = [
            read_sequences(path, f"give --{split} a CSV file")
            for split, path in zip(SPLITS, self.inputs, strict=True)
        ]
        return _write(self, folder, files)


class Sequences(NamedTuple):
    """A file of labelled sequences."""

    path: AnyPath
    sha256: str
    tokens: NDArray[np.uint8]
    """(n, length) token ids."""
    labels: NDArray[np.int8]
    """(n,) 0 or 1."""
    simulated: bool

    def keys(self) -> list[bytes]:
        """Of each sequence, something that equal ones share."""
        return [row.tobytes() for row in self.tokens]


def read_sequences(path: AnyPath, remedy: str) -> Sequences:
    """Read a CSV file of labelled sequences of one length.

    Raises:
        InputError: missing or damaged file, not UTF-8, a column that is missing or stands twice,
            no rows, a line break inside quotes, a label other than 0 and 1, letters other than
            A C G T N, or several lengths; names file and line.
    """
    source = Source(path, remedy)
    sequences: list[str] = []
    labels: list[int] = []
    simulated = False
    for line, row in _rows(path, source.read(), remedy):
        sequence, label, origin = row
        place = f"{path}:{line}"
        validate_letters(sequence, place)
        if not sequence:
            raise InputError(place, None, "the sequence is empty", "remove the line")
        if len(sequence) != len(sequences[0] if sequences else sequence):
            raise InputError(
                place,
                f"{len(sequence)} bases",
                f"the sequences before have {len(sequences[0])}",
                "give sequences of one length",
            )
        if label not in ("0", "1"):
            raise InputError(place, label or "''", "the label is neither 0 nor 1", EXAMPLE)
        sequences.append(sequence)
        labels.append(int(label))
        simulated |= origin.startswith(SIMULATED)
    if not sequences:
        raise InputError(path, None, "there is no sequence in the file", remedy)
    tokens = encode("".join(sequences)).reshape(len(sequences), -1)
    return Sequences(path, source.sha256, tokens, np.array(labels, np.int8), simulated)


def _rows(path: AnyPath, content: bytes, remedy: str) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Line, and sequence, label and origin, of each row under the header."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}", None, "not UTF-8", "give a CSV text file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    picked: list[int] = []
    columns = line = 0
    try:
        for row in reader:
            line += 1
            place = f"{path}:{line}"
            if reader.line_num != line:
                raise InputError(
                    place, None, "a line break stands inside quotes", "remove the quotes"
                )
            if not row:
                continue
            if not columns:
                columns, picked = len(row), _columns(place, row)
            elif len(row) != columns:
                raise InputError(
                    place, f"{len(row)} columns", f"the first line has {columns}", EXAMPLE
                )
            else:
                sequence, label, *origin = (row[index] for index in picked)
                yield line, (sequence, label, "".join(origin))
    except csv.Error as error:
        raise InputError(f"{path}:{line + 1}", None, f"not CSV ({error})", EXAMPLE) from None
    if not columns:
        raise InputError(path, None, "the file is empty", remedy)


def _columns(place: str, header: list[str]) -> list[int]:
    """Where sequence, label and, when there is one, origin stand."""
    for name in COLUMNS:
        if header.count(name) != 1:
            problem = "stands twice" if name in header else "is missing"
            raise InputError(place, ",".join(header), f"the column {name} {problem}", EXAMPLE)
    return [header.index(name) for name in (*COLUMNS, ORIGIN) if name in header]


def _write(settings: SequenceSettings, folder: Path | None, files: list[Sequences]) -> Manifest:
    length = files[0].tokens.shape[1]
    kept = rows_of_one_split(files)
    counts, rows, written = [], [], []
    first_id = 0
    for split, file, of_split in zip(SPLITS, files, kept, strict=True):
        if file.tokens.shape[1] != length:
            raise InputError(
                file.path,
                f"{file.tokens.shape[1]} bases",
                f"the sequences of {files[0].path} have {length}",
                "give sequences of one length",
            )
        labels = file.labels[of_split]
        windows = Windows(
            window_id=first_id + of_split,
            contig=np.full(len(of_split), split),
            start=of_split,
            tokens=file.tokens[of_split],
            labels=labels[:, None],
        )
        first_id += len(file.labels)
        _check_classes(split, file, labels)
        writer = PartWriter(folder, length, split)
        writer.add(windows)
        writer.close()
        written += writer.files
        counts.append(_count(length, split, labels))
        rows.append(_row_counts(split, file, of_split))
    return Manifest(
        schema_version=SCHEMA_VERSION,
        task=settings.task,
        simulated=any(file.simulated for file in files),
        lengths=(length,),
        flank=0,
        negatives=None,
        train_stride=None,
        seed=0,
        split="files",
        splits=SPLITS,
        tokens=TOKEN_IDS,
        inputs=tuple(
            InputFile(role=split, name=file.path.name, sha256=file.sha256)
            for split, file in zip(SPLITS, files, strict=True)
        ),
        contigs=(),
        counts=tuple(counts),
        dropped=(),
        sequences=tuple(rows),
        files=tuple(written),
    )


def rows_of_one_split(files: Sequence[Sequences]) -> list[NDArray[np.int64]]:
    """Of each file, the rows whose sequence no later file has.

    The last one is the test, which so stays what it was, and its figures can be compared.
    """
    later: set[bytes] = set()
    kept = []
    for file in reversed(files):
        keys = file.keys()
        kept.append(np.flatnonzero([key not in later for key in keys]))
        later.update(keys)
    return kept[::-1]


def _check_classes(split: str, file: Sequences, labels: NDArray[np.int8]) -> None:
    if not len(labels):
        problem = "every sequence stands in the file of a later split as well"
    elif labels.min() == labels.max():
        problem = f"all sequences have label {labels[0]}, so that there is one class only"
    else:
        return
    raise InputError(file.path, split, problem, "give sequences of its own, of both labels")


def _count(length: int, split: str, labels: NDArray[np.int8]) -> Count:
    positive = int(labels.sum())
    negative = len(labels) - positive
    return Count(
        length=length,
        split=split,
        contig=split,
        positive=positive,
        negative=negative,
        candidates=negative,
        labelled=positive,
    )


def _row_counts(split: str, file: Sequences, kept: NDArray[np.int64]) -> SequenceRows:
    keys = file.keys()
    labels_of: dict[bytes, set[int]] = {}
    for row in kept:
        labels_of.setdefault(keys[row], set()).add(int(file.labels[row]))
    return SequenceRows(
        split=split,
        rows=len(keys),
        dropped=len(keys) - len(kept),
        repeated=len(kept) - len(labels_of),
        conflicting=sum(len(labels_of[keys[row]]) > 1 for row in kept),
    )
