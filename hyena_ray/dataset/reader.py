"""Reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import PurePath
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.dataset.manifest import DataFile, Manifest
from hyena_ray.dataset.schema import REMEDY, Windows, window_schema, windows_from_table
from hyena_ray.errors import InputError, unknown_name
from hyena_ray.files import sha256_file
from hyena_ray.storage import AnyPath, arrow_file

__all__ = ["PreparedData", "Windows", "windows_from_table"]

Result = TypeVar("Result")


class PreparedData:
    """A folder that `prepare` made, or a view of its folds (`for_fold`).

    Every file is checked against schema, row count and sha256 of the manifest when it is first
    read, and every page against its checksum. Files that the manifest does not list are not read.
    """

    def __init__(self, folder: AnyPath, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._checked: set[str] = set()

    @classmethod
    def open(cls, folder: AnyPath) -> PreparedData:
        """Open a prepared folder; reads its manifest only.

        Raises:
            InputError: not a prepared folder, one of its files is missing, or there is one more.
        """
        folder = folder.expanduser().absolute()
        manifest = Manifest.read(folder)
        listed = {folder / file.path for file in manifest.files}
        found: set[AnyPath] = set(folder.glob("length=*/split=*/part-*.parquet"))
        for path in sorted(listed - found):
            raise InputError(path, None, "the file is missing", REMEDY)
        for path in sorted(found - listed):
            raise InputError(path, None, "manifest.json does not list the file", "remove it")
        return cls(folder, manifest)

    def for_fold(self, fold: int) -> PreparedData:
        """A view of data in K folds: `test` is this fold, `val` the next one (after the last comes
        the first) and `train` all others.

        Raises:
            InputError: the data have no folds, or no such one.
        """
        view = PreparedData(self.folder, self.manifest.for_fold(fold, f"{self.folder}: fold"))
        view._checked = self._checked
        return view

    def files(self, length: int, split: str) -> list[AnyPath]:
        """Parquet files of a length and split, each in order of window ids.

        They are so one after the other too, but for several folds, whose windows lie mixed.

        Raises:
            InputError: the folder lacks the length or the split.
        """
        return [self.folder / file.path for file in self._files(length, split)]

    def count(self, length: int, split: str) -> int:
        """Number of windows."""
        return sum(file.rows for file in self._files(length, split))

    def read(self, length: int, split: str, limit: int | None = None) -> Windows:
        """Read all windows of a length and split, or `limit`, evenly over all; see `sample_evenly`.

        Raises:
            InputError: a file is damaged or is not what the manifest says.
        """
        windows = self.read_rows(length, split, 0, self.count(length, split))
        return (
            windows if limit is None else windows.rows(sample_evenly(len(windows.window_id), limit))
        )

    def read_rows(self, length: int, split: str, first: int, last: int) -> Windows:
        """Read rows [first, last) in order of window ids; reads few rows beyond them.

        Raises:
            InputError: a file is damaged or is not what the manifest says.
            IndexError: there are no such rows.
        """
        files = self._files(length, split)
        if not 0 <= first <= last <= sum(file.rows for file in files):
            raise IndexError(f"rows {first} to {last} of {self.count(length, split)}")
        tables = [self._schema(length).empty_table()]
        for file, (begin, end) in zip(files, self._ranges(files, first, last), strict=True):
            if begin < end:
                tables.append(self._read(file, partial(_rows, first=begin, last=end)))
        return windows_from_table(pa.concat_tables(tables), self.folder)

    def check_split(self, split: str, place: str = "split") -> None:
        """Refuse a split that was not prepared; reads no file.

        Args:
            split: Name of the split.
            place: Option or setting that names it, for the message.

        Raises:
            InputError: There is no such split.
        """
        if split not in self.manifest.splits:
            raise unknown_name(place, split, "split", self.manifest.splits)

    def check(self, lengths: Collection[int]) -> None:
        """Hold every file of these lengths to the manifest, before hours of work rely on it.

        Raises:
            InputError: a file is damaged or is not what the manifest says.
        """
        for file in self.manifest.files:
            if file.length in lengths:
                self._read(file, lambda parquet: None)

    def window_ids(self, length: int, split: str) -> NDArray[np.int64]:
        """(n,) ids in ascending order; nothing else is decoded."""
        return np.sort(np.concatenate(self._ids(self._files(length, split))))

    def _ids(self, files: Sequence[DataFile]) -> list[NDArray[np.int64]]:
        return [
            self._read(file, lambda parquet: parquet.read(["window_id"]))["window_id"].to_numpy()
            for file in files
        ]

    def _ranges(
        self, files: Sequence[DataFile], first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        """Of each file, the rows that stand in rows [first, last) of all, in order of ids."""
        if len({PurePath(file.path).parent for file in files}) == 1:
            starts = np.cumsum([0, *(file.rows for file in files)])[:-1].tolist()
            return [
                (max(first - start, 0), min(last - start, file.rows))
                for start, file in zip(starts, files, strict=True)
            ]
        ids = self._ids(files)
        # Ids are unique and ascend in each file, so any range of all is a range of each.
        together = np.sort(np.concatenate(ids))
        edges = np.append(together, together[-1] + 1)[[first, last]]
        return [tuple(np.searchsorted(of_file, edges).tolist()) for of_file in ids]

    def _schema(self, length: int) -> pa.Schema:
        tokens = length + 2 * self.manifest.flank
        return window_schema(tokens, self.manifest.labels_per_window(length))

    def _files(self, length: int, split: str) -> Sequence[DataFile]:
        for name, value, allowed in (
            ("length", length, self.manifest.lengths),
            ("split", split, self.manifest.splits),
        ):
            if value not in allowed:
                raise InputError(
                    f"{self.folder}: {name}",
                    value,
                    f"was not prepared; there is {', '.join(map(str, allowed))}",
                    f"choose one of these, or prepare that {name}",
                )
        return [f for f in self.manifest.files if (f.length, f.split) == (length, split)]

    def _read(self, file: DataFile, read: Callable[[pq.ParquetFile], Result]) -> Result:
        path = self.folder / file.path
        try:
            with (
                arrow_file(path) as stream,
                pq.ParquetFile(stream, page_checksum_verification=True) as parquet,
            ):
                if file.path not in self._checked:
                    self._check(path, file, parquet)
                    self._checked.add(file.path)
                return read(parquet)
        except (OSError, pa.ArrowException) as error:
            raise InputError(path, None, f"damaged Parquet file ({error})", REMEDY) from None

    def _check(self, path: AnyPath, file: DataFile, parquet: pq.ParquetFile) -> None:
        found, expected = parquet.schema_arrow, self._schema(file.length)
        for field in expected:
            if found.get_field_index(field.name) < 0:
                raise InputError(path, field.name, "the column is missing", REMEDY)
            if not found.field(field.name).equals(field):
                raise InputError(
                    path,
                    f"{field.name} is {_described(found.field(field.name))}",
                    f"the manifest's windows have {_described(field)}",
                    REMEDY,
                )
        rows = parquet.metadata.num_rows
        if rows != file.rows:
            raise InputError(path, f"{rows} rows", f"the manifest says {file.rows}", REMEDY)
        if sha256_file(path) != file.sha256:
            raise InputError(path, None, "sha256 differs from the manifest's", REMEDY)


def _described(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _rows(parquet: pq.ParquetFile, first: int, last: int) -> pa.Table:
    """Rows [first, last) of a file, from the row groups that hold them."""
    sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = range(
        int(np.searchsorted(ends, first, side="right")),
        int(np.searchsorted(ends, last, side="left")) + 1,
    )
    skipped = int(ends[groups[0]] - sizes[groups[0]])
    return parquet.read_row_groups(list(groups)).slice(first - skipped, last - first)


def sample_evenly(count: int, limit: int) -> NDArray[np.int64]:
    """(min(count, limit),) ascending rows of `count`, evenly over them.

    Windows lie in the order of the genome: the first ones would be those of one contig.
    """
    kept = min(count, limit)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)
