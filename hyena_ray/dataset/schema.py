"""Prepared windows: as arrays, as a Parquet table, and written to Parquet files of bounded size."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import PREPARE_AGAIN, DataFile
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.runs.stored_files import StoredFile
from hyena_ray.summaries import summary

PART_BYTES, PART_ROWS = 1 << 25, 1 << 15
"""Upper bounds of one Parquet file, in bytes of arrays and in rows."""
GROUP_BYTES, GROUP_ROWS = 1 << 20, 1 << 10
"""Upper bounds of one row group, which is the least that is read of a file."""

_VALUE_TYPES = {
    "window_id": "int64",
    "contig": "string",
    "start": "int64",
    "tokens": "uint8",
    "labels": "int8",
    "kind": "uint8",
}


class Windows(NamedTuple):
    """Windows in ascending order of their ids.

    Example:
        >>> from hyena_ray.dataset.tokens import encode
        >>> from hyena_ray.genome.negatives import KINDS
        >>> windows = Windows(
        ...     window_id=np.arange(2),
        ...     contig=np.array(["chr1", "chr1"]),
        ...     start=np.array([0, 4]),
        ...     tokens=encode("ACGTTGCA").reshape(2, 4),
        ...     labels=np.zeros((2, 4), np.int8),
        ...     kind=np.full(2, KINDS["random"], np.uint8),
        ... )
        >>> windows.rows(slice(1, 2)).start.tolist()
        [4]
    """

    window_id: NDArray[np.int64]
    """(n,) bases of the genome before the window, or number of the sequence over all files."""
    contig: NDArray[np.str_]
    """(n,) name of the contig; of a sequence, its split."""
    start: NDArray[np.int64]
    """(n,) first base of the window (not of its flank), 0-based; of a sequence, its row."""
    tokens: NDArray[np.uint8]
    """(n, length + 2 * flank) token ids, N beyond a contig's ends; where the data have tracks,
    (n, length + 2 * flank, 1 + tracks), with the level of each track behind the id."""
    labels: NDArray[np.int8]
    """(n, length) labels of bases: 0, 1, or -100 where ignored; (n, 1) labels of sequences."""
    kind: NDArray[np.uint8]
    """(n,) what the window was taken as: a number of `genome.negatives.KINDS`; of a window that is
    cut from a stretch, that of the stretch."""

    def __repr__(self) -> str:
        return summary(self)

    def rows(self, selected: slice | NDArray[np.integer]) -> Windows:
        """Return some of the windows.

        Args:
            selected: Slice or indices of rows.

        Returns:
            The selected rows of every array.
        """
        return Windows._make(column[selected] for column in self)


def window_schema(tokens: int, labels: int, tracks: int = 0) -> pa.Schema:
    """Return the Parquet schema of windows, in which no value may be null.

    Args:
        tokens: Tokens of a window, flanks included.
        labels: Labels of a window.
        tracks: Signal tracks, each with a level behind every token.

    Returns:
        Schema with one column for each array of `Windows`.
    """
    shape = [tokens, 1 + tracks] if tracks else [tokens]
    return pa.schema(
        [
            pa.field("window_id", pa.int64(), nullable=False),
            pa.field("contig", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("start", pa.int64(), nullable=False),
            # Tensors, because Ray Data passes plain lists on as arrays of objects.
            pa.field("tokens", pa.fixed_shape_tensor(pa.uint8(), shape), nullable=False),
            pa.field("labels", pa.fixed_shape_tensor(pa.int8(), [labels]), nullable=False),
            pa.field("kind", pa.uint8(), nullable=False),
        ]
    )


def table_from_windows(windows: Windows) -> pa.Table:
    """Turn windows into a table.

    Args:
        windows: Windows to convert.

    Returns:
        Table of `window_schema`.
    """
    return pa.table(
        [
            pa.array(windows.window_id),
            pa.array(windows.contig.tolist(), pa.string()).dictionary_encode(),
            pa.array(windows.start),
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(windows.tokens)),
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(windows.labels)),
            pa.array(windows.kind),
        ],
        schema=window_schema(
            windows.tokens.shape[1],
            windows.labels.shape[1],
            0 if windows.tokens.ndim == 2 else windows.tokens.shape[2] - 1,
        ),
    )


def windows_from_table(table: pa.Table, place: str | PurePath = "windows") -> Windows:
    """Turn a table into windows, sorted by window id.

    Args:
        table: Table with the columns of `window_schema`.
        place: File or folder that the table is from, for the error.

    Returns:
        Arrays of the table.

    Raises:
        InputError: A column is missing, has another type or holds nulls; names `place`.
    """
    for name, expected in _VALUE_TYPES.items():
        if name not in table.column_names:
            raise InputError(place, name, "the column is missing", PREPARE_AGAIN)
        actual = table.schema.field(name).type
        if _value_type(actual) != expected or (name in ("tokens", "labels")) != _is_tensor(actual):
            problem = f"not a column of {expected}"
            raise InputError(place, f"{name} is {actual}", problem, PREPARE_AGAIN)
        if table.column(name).null_count:
            raise InputError(place, name, "the column holds nulls", PREPARE_AGAIN)
    windows = Windows(
        window_id=np.array(table.column("window_id")),
        contig=np.array(table.column("contig").to_pylist(), np.str_),
        start=np.array(table.column("start")),
        tokens=tensor_values(table.column("tokens"), place),
        labels=tensor_values(table.column("labels"), place),
        kind=np.array(table.column("kind")),
    )
    if (np.diff(windows.window_id) < 0).any():
        return windows.rows(np.argsort(windows.window_id, kind="stable"))
    return windows


def _value_type(column_type: pa.DataType) -> str:
    inner = getattr(column_type, "value_type", column_type)
    return "string" if pa.types.is_large_string(inner) else str(inner)


def _is_tensor(column_type: pa.DataType) -> bool:
    return isinstance(column_type, pa.FixedShapeTensorType)


def tensor_values(column: pa.ChunkedArray, place: str | PurePath) -> NDArray[Any]:
    """Return a column of tensors as one array, its first axis that of the rows.

    Args:
        column: Column of a fixed-shape tensor type.
        place: What the column is from, for the error.

    Raises:
        InputError: A value is null.
    """
    if not column.num_chunks or not len(column):
        return np.empty((0, *column.type.shape), column.type.value_type.to_pandas_dtype())
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if any(chunk.storage.flatten().null_count for chunk in chunks):
        raise InputError(place, None, "a window holds nulls", PREPARE_AGAIN)
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in chunks])


def row_bytes(tokens: int, labels: int, tracks: int = 0) -> int:
    """Return the size of the tokens and labels of a window, in bytes.

    Args:
        tokens: Tokens of a window, flanks included.
        labels: Labels of a window.
        tracks: Signal tracks, each with a level behind every token.
    """
    return (1 + tracks) * tokens + labels


def rows_per_part(length: int, flank: int, tracks: int = 0) -> int:
    """Return the largest number of windows in a Parquet file.

    Args:
        length: Bases of a window.
        flank: Bases on each side of it.
        tracks: Signal tracks.
    """
    return max(1, min(PART_ROWS, PART_BYTES // row_bytes(length + 2 * flank, length, tracks)))


class PartWriter:
    """Collect the windows, or stretches, of one split and write full Parquet files as they come.

    Files are cut by size and number of rows alone, so equal windows give equal bytes.

    Args:
        folder: The prepared folder; None writes nothing.
        group: Folder in it, such as `length=100`, that holds a folder for each split.
        split: Name of the split.
        length: Bases of a window.
        flank: Bases on each side of a window.
        tracks: Signal tracks.
    """

    def __init__(
        self,
        folder: Path | None,
        group: str,
        split: str,
        length: int,
        flank: int = 0,
        tracks: int = 0,
    ) -> None:
        self._folder = folder
        self._group, self._length, self._split = group, length, split
        width = row_bytes(length + 2 * flank, length, tracks)
        self._part_rows = rows_per_part(length, flank, tracks)
        self._group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // width))
        self._pending: list[Windows] = []
        self._rows = 0
        self.files: list[DataFile] = []
        """Files that have been written."""
        self.contents: list[StoredFile] = []
        """Their sizes and checksums."""

    def add(self, windows: Windows) -> None:
        """Add windows, and write the files that are full.

        Args:
            windows: Windows whose ids are above those of all earlier ones.
        """
        if self._folder is None:
            return
        self._pending.append(windows)
        self._rows += len(windows.window_id)
        if self._rows < self._part_rows:
            return
        together = self._take_pending()
        for first in range(0, len(together.window_id), self._part_rows):
            part = together.rows(slice(first, first + self._part_rows))
            if len(part.window_id) == self._part_rows:
                self._write(self._folder, part)
            else:
                # Copied, so that the rows before it are not kept in memory.
                self._pending = [Windows._make(column.copy() for column in part)]
                self._rows = len(part.window_id)

    def close(self) -> None:
        """Write what is pending."""
        if self._folder is not None and self._rows:
            self._write(self._folder, self._take_pending())

    def _take_pending(self) -> Windows:
        columns = zip(*self._pending, strict=True)
        self._pending, self._rows = [], 0
        return Windows._make(np.concatenate(column) for column in columns)

    def _write(self, folder: Path, windows: Windows) -> None:
        name = f"{self._group}/split={self._split}/part-{len(self.files):05d}.parquet"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            pq.write_table(
                table_from_windows(windows),
                temporary,
                row_group_size=self._group_rows,
                compression="zstd",
                write_page_checksum=True,
            )
        self.files.append(
            DataFile(
                path=name,
                length=self._length,
                split=self._split,
                rows=len(windows.window_id),
            )
        )
        self.contents.append(StoredFile.of(folder, name))
