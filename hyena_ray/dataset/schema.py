"""Schema."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import DataFile
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, sha256_file

REMEDY = "prepare the data again"


class Windows(NamedTuple):
    """Windows in ascending order of their ids."""

    window_id: NDArray[np.int64]
    """(n,) the tile's number in the genome; a sequence's number over all files."""
    contig: NDArray[np.str_]
    """(n,) names; of a sequence, its split."""
    start: NDArray[np.int64]
    """(n,) first base of the window (not of its flank), 0-based; of a sequence, its row."""
    tokens: NDArray[np.uint8]
    """(n, length + 2 * flank) token ids; N beyond a contig's ends."""
    labels: NDArray[np.int8]
    """(n, length) 0 or 1 per base, -100 ignored; (n, 1) of sequences."""

    def rows(self, selected: slice | NDArray[np.integer]) -> Windows:
        """Some of the windows."""
        return Windows._make(column[selected] for column in self)


def window_schema(tokens: int, labels: int) -> pa.Schema:
    """Columns of windows of so many tokens and labels each; no value may be null."""
    return pa.schema(
        [
            pa.field("window_id", pa.int64(), nullable=False),
            pa.field("contig", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("start", pa.int64(), nullable=False),
            # Tensors, because Ray Data hands plain lists on as arrays of objects.
            pa.field("tokens", pa.fixed_shape_tensor(pa.uint8(), [tokens]), nullable=False),
            pa.field("labels", pa.fixed_shape_tensor(pa.int8(), [labels]), nullable=False),
        ]
    )


def table_from_windows(windows: Windows) -> pa.Table:
    """Windows as a table of `window_schema`."""
    return pa.table(
        [
            pa.array(windows.window_id),
            pa.array(windows.contig.tolist(), pa.string()).dictionary_encode(),
            pa.array(windows.start),
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(windows.tokens)),
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(windows.labels)),
        ],
        schema=window_schema(windows.tokens.shape[1], windows.labels.shape[1]),
    )


def windows_from_table(table: pa.Table, place: str | PurePath = "windows") -> Windows:
    """Arrays of a table, sorted by window id.

    Raises:
        InputError: a column is missing, has another type or holds nulls; names `place`.
    """
    kinds = {
        "window_id": "int64",
        "contig": "string",
        "start": "int64",
        "tokens": "uint8",
        "labels": "int8",
    }
    for name, kind in kinds.items():
        if name not in table.column_names:
            raise InputError(place, name, "the column is missing", REMEDY)
        found = table.schema.field(name).type
        if _value_type(found) != kind or (name in ("tokens", "labels")) != _is_tensor(found):
            raise InputError(place, f"{name} is {found}", f"not a column of {kind}", REMEDY)
        if table.column(name).null_count:
            raise InputError(place, name, "the column holds nulls", REMEDY)
    windows = Windows(
        window_id=np.array(table.column("window_id")),
        contig=np.array(table.column("contig").to_pylist(), np.str_),
        start=np.array(table.column("start")),
        tokens=_matrix(table.column("tokens"), place),
        labels=_matrix(table.column("labels"), place),
    )
    if (np.diff(windows.window_id) < 0).any():
        return windows.rows(np.argsort(windows.window_id, kind="stable"))
    return windows


def _value_type(found: pa.DataType) -> str:
    inner = getattr(found, "value_type", found)
    return "string" if pa.types.is_large_string(inner) else str(inner)


def _is_tensor(found: pa.DataType) -> bool:
    return isinstance(found, pa.FixedShapeTensorType)


def _matrix(column: pa.ChunkedArray, place: str | PurePath) -> NDArray[Any]:
    if not column.num_chunks or not len(column):
        return np.empty((0, *column.type.shape), column.type.value_type.to_pandas_dtype())
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if any(chunk.storage.flatten().null_count for chunk in chunks):
        raise InputError(place, None, "a window holds nulls", REMEDY)
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in chunks])


PART_BYTES, PART_ROWS = 1 << 25, 1 << 15
GROUP_BYTES, GROUP_ROWS = 1 << 20, 1 << 10
"""What `read_rows` reads at the least, to give one shard its windows."""


class PartWriter:
    """Collects the windows of one length and split, and writes full parts as they come.

    Parts are cut by size and number of rows alone, so equal windows give equal files.
    """

    def __init__(self, folder: Path | None, length: int, split: str, flank: int = 0) -> None:
        """
        Args:
            folder: the prepared folder; None writes nothing.
            length: of the windows, in bases.
            split: theirs.
            flank: bases on each side.
        """
        self._root = folder
        self._length, self._split = length, split
        width = 2 * (length + flank)
        self._part_rows = max(1, min(PART_ROWS, PART_BYTES // width))
        self._group_rows = max(1, min(GROUP_ROWS, GROUP_BYTES // width))
        self._pending: list[Windows] = []
        self._rows = 0
        self.files: list[DataFile] = []

    def add(self, windows: Windows) -> None:
        """Take windows whose ids are above all that came before."""
        if self._root is None:
            return
        self._pending.append(windows)
        self._rows += len(windows.window_id)
        if self._rows < self._part_rows:
            return
        together = self._take()
        for first in range(0, len(together.window_id), self._part_rows):
            part = together.rows(slice(first, first + self._part_rows))
            if len(part.window_id) == self._part_rows:
                self._write(part)
            else:
                # Copied, so that the rows before it are not kept in memory.
                self._pending = [Windows._make(column.copy() for column in part)]
                self._rows = len(part.window_id)

    def close(self) -> None:
        """Write what is pending."""
        if self._rows:
            self._write(self._take())

    def _take(self) -> Windows:
        columns = zip(*self._pending, strict=True)
        self._pending, self._rows = [], 0
        return Windows._make(np.concatenate(column) for column in columns)

    def _write(self, windows: Windows) -> None:
        name = f"length={self._length}/split={self._split}/part-{len(self.files):05d}.parquet"
        assert self._root is not None
        path = self._root / name
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
                sha256=sha256_file(path),
            )
        )
