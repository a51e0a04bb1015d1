"""Write windows to Parquet parts of bounded size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hyena_ray.dataset.manifest import DataFile
from hyena_ray.dataset.schema import Windows, table_from_windows
from hyena_ray.files import atomic_file, sha256_file

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
