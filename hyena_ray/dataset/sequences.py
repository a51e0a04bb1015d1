"""Read labelled sequences as they are, from one CSV file per split.

A file has columns `sequence` and `label`, and fits into memory. Sequences are written as
`DIR/length=L/split=S/part-*.parquet`, and counted in a manifest.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import Count, InputFile, KindCount, Manifest, SequenceRows
from hyena_ray.dataset.schema import PartWriter, Windows
from hyena_ray.dataset.tokens import TOKEN_IDS, encode, validate_letters
from hyena_ray.errors import InputError
from hyena_ray.genome.negatives import KINDS, LABELLED, OTHER
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.genome.source import Source
from hyena_ray.genome.splits import SPLITS
from hyena_ray.settings import Location, Settings
from hyena_ray.storage import AnyPath, recorded_name

COLUMNS = ("sequence", "label")
"""Columns that a file must have."""
ORIGIN = "origin"
"""Column that marks simulated sequences; all other columns are ignored."""
CSV_EXAMPLE = "write a first line sequence,label and then lines such as ACGTTGCA,1"


class SequenceSettings(Settings):
    """Files of labelled sequences, one for each split."""

    task: str
    """Name of the task, such as promoter."""
    train: Location
    """CSV file of training sequences, plain or gzip, with columns sequence and label (0 or 1). The
    sequences of all files have one length; lower-case bases are sequence. Sequences that are in
    --val or --test as well are dropped."""
    val: Location
    """CSV file of validation sequences, in the same format. Sequences that are in --test as well
    are dropped."""
    test: Location
    """CSV file of test sequences, in the same format. None is dropped."""

    @property
    def inputs(self) -> tuple[AnyPath, ...]:
        """Files that are read."""
        return self.train, self.val, self.test

    def write(self, folder: Path | None) -> Manifest:
        """Read the sequences and write the Parquet files.

        Args:
            folder: An existing folder to write to; None reads all inputs and writes nothing.

        Returns:
            What the files hold, or would hold.

        Raises:
            InputError: A file cannot be used, or a split would lack a class.
        """
        files = [
            read_sequences(path, f"give --{split} a CSV file")
            for split, path in zip(SPLITS, self.inputs, strict=True)
        ]
        return _write(self, folder, files)


class LabelledSequences(NamedTuple):
    """A file of labelled sequences of one length."""

    path: AnyPath
    """File that was read."""
    sha256: str
    """Hex SHA-256 of the file as stored."""
    tokens: NDArray[np.uint8]
    """(n, length) token ids."""
    labels: NDArray[np.int8]
    """(n,) labels, 0 or 1."""
    simulated: bool
    """Whether any sequence is simulated."""

    def keys(self) -> list[bytes]:
        """Return a key for each sequence that equal sequences share."""
        return [row.tobytes() for row in self.tokens]


def read_sequences(path: AnyPath, remedy: str) -> LabelledSequences:
    """Read a CSV file of labelled sequences of one length.

    Args:
        path: The file, plain or gzip.
        remedy: What to do when it cannot be used.

    Returns:
        Its sequences, in file order.

    Raises:
        InputError: The file is missing, damaged, not UTF-8 or without rows; a column is missing or
            repeated; a row has a line break inside quotes, a label other than 0 and 1, letters
            other than A C G T N, or another length. Names file and line.
    """
    source = Source(path, remedy)
    sequences: list[str] = []
    labels: list[int] = []
    simulated = False
    rows = _read_rows(path, source.read_text("a CSV text file"), remedy)
    for line, (sequence, label, origin) in rows:
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
            shown = label if label == label.strip() != "" else repr(label)
            raise InputError(place, shown, "the label is neither 0 nor 1", CSV_EXAMPLE)
        sequences.append(sequence)
        labels.append(int(label))
        simulated |= origin.startswith(SIMULATED)
    if not sequences:
        raise InputError(path, None, "there is no sequence in the file", remedy)
    tokens = encode("".join(sequences)).reshape(len(sequences), -1)
    return LabelledSequences(path, source.sha256, tokens, np.array(labels, np.int8), simulated)


def _read_rows(path: AnyPath, text: str, remedy: str) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Yield the line, and sequence, label and origin, of every row below the header."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    indices: list[int] = []
    columns = line = 0
    try:
        for row in reader:
            line += 1
            place = f"{path}:{line}"
            if reader.line_num != line:
                raise InputError(place, None, "a line break is inside quotes", "remove the quotes")
            if not row:
                continue
            if not columns:
                columns, indices = len(row), _column_indices(place, row)
            elif len(row) != columns:
                raise InputError(
                    place, f"{len(row)} columns", f"the first line has {columns}", CSV_EXAMPLE
                )
            else:
                sequence, label, *origin = (row[index] for index in indices)
                yield line, (sequence, label, "".join(origin))
    except csv.Error as error:
        raise InputError(f"{path}:{line + 1}", None, f"not CSV ({error})", CSV_EXAMPLE) from None
    if not columns:
        raise InputError(path, None, "the file is empty", remedy)


def _column_indices(place: str, header: list[str]) -> list[int]:
    """Return the columns of sequence, label and, where there is one, origin."""
    for name in COLUMNS:
        if header.count(name) != 1:
            problem = "is repeated" if name in header else "is missing"
            raise InputError(place, ",".join(header), f"the column {name} {problem}", CSV_EXAMPLE)
    return [header.index(name) for name in (*COLUMNS, ORIGIN) if name in header]


def _write(
    settings: SequenceSettings, folder: Path | None, files: list[LabelledSequences]
) -> Manifest:
    length = files[0].tokens.shape[1]
    counts, row_counts, written, contents = [], [], [], []
    first_id = 0
    for split, file, kept in zip(SPLITS, files, rows_in_no_later_file(files), strict=True):
        if file.tokens.shape[1] != length:
            raise InputError(
                file.path,
                f"{file.tokens.shape[1]} bases",
                f"the sequences of {files[0].path} have {length}",
                "give sequences of one length",
            )
        labels = file.labels[kept]
        windows = Windows(
            window_id=first_id + kept,
            contig=np.full(len(kept), split),
            start=kept,
            tokens=file.tokens[kept],
            labels=labels[:, None],
            kind=np.where(labels == 1, KINDS[LABELLED], KINDS[OTHER]).astype(np.uint8),
        )
        first_id += len(file.labels)
        _check_classes(split, file, labels)
        writer = PartWriter(folder, f"length={length}", split, length)
        writer.add(windows)
        writer.close()
        written += writer.files
        contents += writer.contents
        counts.append(_count_labels(length, split, labels))
        row_counts.append(_count_rows(split, file, kept))
    return Manifest.describe(
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
        kinds=KINDS,
        inputs=tuple(
            InputFile(role=split, name=recorded_name(file.path), sha256=file.sha256)
            for split, file in zip(SPLITS, files, strict=True)
        ),
        contigs=(),
        counts=tuple(counts),
        dropped=(),
        sequences=tuple(row_counts),
        files=tuple(written),
        contents=tuple(contents),
        stretch=None,
        held_out=None,
        scan=None,
        stretches=None,
    )


def rows_in_no_later_file(files: Sequence[LabelledSequences]) -> list[NDArray[np.int64]]:
    """Find the rows of each file whose sequence no later file has.

    The last file is the test, which so stays what it was, and its figures can be compared.

    Args:
        files: Files in the order train, validation, test.

    Returns:
        For each file, (n,) indices of rows, ascending.
    """
    later: set[bytes] = set()
    kept = []
    for file in reversed(files):
        keys = file.keys()
        kept.append(np.flatnonzero([key not in later for key in keys]))
        later.update(keys)
    return kept[::-1]


def _check_classes(split: str, file: LabelledSequences, labels: NDArray[np.int8]) -> None:
    if not len(labels):
        problem = "every sequence is in the file of a later split as well"
    elif labels.min() == labels.max():
        problem = f"all sequences have label {labels[0]}, so that there is one class only"
    else:
        return
    raise InputError(file.path, split, problem, "give sequences of its own, of both labels")


def _count_labels(length: int, split: str, labels: NDArray[np.int8]) -> Count:
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
        kinds={OTHER: KindCount(drawn=negative, candidates=negative)},
    )


def _count_rows(split: str, file: LabelledSequences, kept: NDArray[np.int64]) -> SequenceRows:
    keys = file.keys()
    labels_by_key: dict[bytes, set[int]] = {}
    for row in kept:
        labels_by_key.setdefault(keys[row], set()).add(int(file.labels[row]))
    return SequenceRows(
        split=split,
        rows=len(keys),
        dropped=len(keys) - len(kept),
        repeated=len(kept) - len(labels_by_key),
        conflicting=sum(len(labels_by_key[keys[row]]) > 1 for row in kept),
    )
