"""Read prepared windows, trusting nothing that the manifest does not confirm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from hyena_ray.dataset.manifest import PREPARE_AGAIN, STRETCHES, DataFile, Manifest
from hyena_ray.errors import InputError, require_type, unknown_name
from hyena_ray.files import sha256_file
from hyena_ray.genome.negatives import KINDS
from hyena_ray.runs.stored_files import MANIFEST
from hyena_ray.storage import AnyPath, arrow_file, location

# Imported where windows are read: a command line that only looks at the manifest does not wait for
# NumPy and Arrow.
if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from hyena_ray.dataset.schema import Windows

Result = TypeVar("Result")


def sample_evenly(count: int, limit: int) -> NDArray[np.int64]:
    """Sample rows evenly, without chance.

    Windows are in the order of the genome, so that the first ones would be those of one contig.

    Args:
        count: Rows that there are.
        limit: Largest number of rows to take.

    Returns:
        (min(count, limit),) row indices, ascending.

    Example:
        >>> sample_evenly(10, 4).tolist()
        [0, 2, 5, 7]
    """
    import numpy as np

    kept = min(count, limit)
    return np.arange(kept, dtype=np.int64) * count // max(kept, 1)


class FileGroups(NamedTuple):
    """The row groups of a Parquet file, which are the least that is read of it."""

    path: AnyPath
    """Path of the file."""
    sizes: list[int]
    """Number of windows of each row group."""
    window_ids: NDArray[np.int64]
    """Ids of the windows of the file, in its order."""
    kinds: NDArray[np.uint8]
    """Kinds of the same windows."""


class PreparedData:
    """A folder that `prepare` made, or a view of its folds (`for_fold`).

    Every file is checked against schema, row count and SHA-256 of the manifest when it is first
    read, and every page against its checksum. Files that the manifest does not list are not read.

    Args:
        folder: The folder.
        manifest: Its manifest, or that of a view.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hyena_ray.dataset.genome_windows import PrepareSettings
        >>> from hyena_ray.genome.simulation import simulate_genome
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     simulated = simulate_genome(folder, contig_length=9_000, tracts=60, decoys=20)
        ...     settings = PrepareSettings(
        ...         task="zdna", genome=simulated.genome, regions=simulated.regions, flank=8
        ...     )
        ...     manifest = settings.write(folder)
        ...     manifest.write(folder)
        ...     data = PreparedData.open(folder)
        ...     windows = data.read(length=100, split="test")
        >>> data.manifest.lengths, data.manifest.splits
        ((100,), ('train', 'val', 'test'))
        >>> windows.tokens.shape[1], windows.labels.shape[1]
        (116, 100)
    """

    def __init__(self, folder: AnyPath, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._checked: set[str] = set()
        self._sha256 = {file.path: file.sha256 for file in manifest.contents}

    @classmethod
    def open(cls, folder: str | PurePath) -> PreparedData:
        """Open a prepared folder; only its manifest is read.

        Args:
            folder: The folder.

        Returns:
            The data, to be read.

        Raises:
            InputError: The folder was not prepared, lacks one of its files, or has one more.
        """
        folder = location(folder).absolute()
        manifest = Manifest.read(folder)
        data = cls(folder, manifest)
        listed: set[AnyPath] = {folder / file.path for file in data.all_files}
        present: set[AnyPath] = {
            path
            for group in ("length=*", STRETCHES)
            for path in folder.glob(f"{group}/split=*/part-*.parquet")
        }
        for path in sorted(listed - present):
            raise InputError(path, None, "the file is missing", PREPARE_AGAIN)
        for path in sorted(present - listed):
            raise InputError(path, None, "manifest.json does not list the file", "remove it")
        return data

    def __repr__(self) -> str:
        manifest = self.manifest
        lengths = ", ".join(map(str, manifest.lengths))
        return (
            f"<{type(self).__name__} {self.folder}: {manifest.task}, windows of {lengths} bases, "
            f"splits {', '.join(manifest.splits)}>"
        )

    @property
    def all_files(self) -> tuple[DataFile, ...]:
        """All Parquet files, of windows and of stretches."""
        stretches = self.manifest.stretches
        return self.manifest.files + (() if stretches is None else stretches.files)

    def for_fold(self, fold: int, place: str = "data.fold") -> PreparedData:
        """Return a view of data in K folds, in which one fold is the test split.

        The next fold (after the last one, the first) is the validation split, and all others train.

        Args:
            fold: Number of the test fold, from 0.
            place: Option or setting that gave the fold, for the message.

        Returns:
            The same windows under the splits train, val and test.

        Raises:
            InputError: The data have no folds, or no such one.
        """
        view = PreparedData(self.folder, self.manifest.for_fold(fold, place))
        view._checked = self._checked
        return view

    def files(self, length: int, split: str) -> list[AnyPath]:
        """Return the Parquet files of the windows of a length and split.

        Args:
            length: Window length in bases.
            split: Name of the split, which is not held as stretches.

        Returns:
            Paths of files, each in order of window ids. The files follow each other in that order
            where they are of one split; those of several folds interleave.

        Raises:
            InputError: The folder lacks the length or the split.
        """
        return [self.folder / file.path for file in self._files(length, split)]

    def count(self, length: int, split: str) -> int:
        """Count the windows of a length and split.

        Args:
            length: Window length in bases.
            split: Name of the split.

        Returns:
            Number of windows, from the manifest; of a split that is held as stretches, the windows
            that are cut from them.

        Raises:
            InputError: The folder lacks the length or the split.
        """
        rows = sum(file.rows for file in self._files(length, split))
        return rows * self._windows_per_row(length, split)

    def read(self, length: int, split: str, limit: int | None = None) -> Windows:
        """Read the windows of a length and split.

        Args:
            length: Window length in bases.
            split: Name of the split; windows of one that is held as stretches are cut from them.
            limit: Largest number of windows, sampled evenly across the split; None reads all.

        Returns:
            Windows in ascending order of their ids.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
        """
        if limit is not None:
            require_type(limit, int, "limit", "is no number of windows", "give one, or None")
            if limit < 0:
                raise InputError("limit", limit, "below 0", "give 0 or more, or None for all")
        windows = self.read_rows(length, split, 0, self.count(length, split))
        if limit is None:
            return windows
        return windows.rows(sample_evenly(len(windows.window_id), limit))

    def read_rows(self, length: int, split: str, first: int, last: int) -> Windows:
        """Read a range of windows in order of their ids, and few rows of the files beyond it.

        Args:
            length: Window length in bases.
            split: Name of the split.
            first: First window, from 0.
            last: One past the last window.

        Returns:
            Windows in ascending order of their ids.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
            IndexError: There are no such windows.
        """
        if not 0 <= first <= last <= self.count(length, split):
            raise IndexError(f"windows {first} to {last} of {self.count(length, split)}")
        files, count = self._files(length, split), self._windows_per_row(length, split)
        if not self.manifest.scored_in_stretches(split):
            return self._read_rows(files, length, first, last)
        from hyena_ray.dataset.stretches import cut_windows

        assert self.manifest.stretch is not None
        begin = first // count
        stretches = self._read_rows(files, self.manifest.stretch, begin, -(-last // count))
        windows = cut_windows(stretches, length)
        return windows.rows(slice(first - begin * count, last - begin * count))

    def read_held_out(self, split: str) -> Windows:
        """Read what models are scored on: the stretches of a split, or its sequences.

        Args:
            split: Name of the split.

        Returns:
            Stretches or sequences in ascending order of their ids.

        Raises:
            InputError: The folder lacks the split, or a file is damaged or is not what the manifest
                says.
        """
        length = self.manifest.stretch or self.manifest.lengths[0]
        return self.read(length, split)

    def _read_rows(self, files: Sequence[DataFile], length: int, first: int, last: int) -> Windows:
        """Read rows [first, last) of files with rows of one length, in order of their ids."""
        import pyarrow as pa

        from hyena_ray.dataset.schema import windows_from_table

        tables = [self._schema(length).empty_table()]
        for file, (begin, end) in zip(files, self._row_ranges(files, first, last), strict=True):
            if begin < end:
                tables.append(self._read(file, partial(_read_range, first=begin, last=end)))
        return windows_from_table(pa.concat_tables(tables), self.folder)

    def read_file(self, file: DataFile) -> pa.Table:
        """Read one file, which is checked as all are.

        Args:
            file: The file, as the manifest lists it.

        Raises:
            InputError: The file is damaged or is not what the manifest says.
        """
        return self._read(file, lambda parquet: parquet.read())

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
        """Check the stretches, and every file of some lengths, before hours of work rely on them.

        Args:
            lengths: Window lengths in bases.

        Raises:
            InputError: A file is damaged or is not what the manifest says.
        """
        for file in self.all_files:
            if file.path.startswith(STRETCHES) or file.length in lengths:
                self._read(file, lambda parquet: None)

    def window_ids(self, length: int, split: str) -> NDArray[np.int64]:
        """Read the ids of the windows of a length and split; nothing else is decoded.

        Args:
            length: Window length in bases.
            split: Name of the split.

        Returns:
            (n,) ids in ascending order.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
        """
        import numpy as np

        ids = np.sort(np.concatenate(self._read_ids(self._files(length, split))))
        if not self.manifest.scored_in_stretches(split):
            return ids
        from hyena_ray.dataset.stretches import window_offsets

        assert self.manifest.stretch is not None
        return (ids[:, None] + window_offsets(self.manifest.stretch, length)).ravel()

    def row_groups(self, length: int, split: str) -> list[FileGroups]:
        """Read the sizes of the row groups of each file, and the ids of its windows.

        Args:
            length: Window length in bases.
            split: Name of the split.

        Returns:
            One entry per file, in the order of `files`.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
        """
        files = self._files(length, split)
        sizes = [self._read(file, _group_sizes) for file in files]
        ids, kinds = self._read_ids(files), self._read_column(files, "kind")
        paths = (self.folder / file.path for file in files)
        return list(map(FileGroups, paths, sizes, ids, kinds))

    def kinds(self, length: int, split: str) -> NDArray[np.uint8]:
        """Read the kinds of the windows of a length and split, in order of their ids.

        Args:
            length: Window length in bases.
            split: Name of the split, which is not held as stretches.

        Returns:
            (n,) numbers of `genome.negatives.KINDS`.

        Raises:
            InputError: The folder lacks the length or the split, or a file is damaged or is not
                what the manifest says.
        """
        import numpy as np

        files = self._files(length, split)
        order = np.argsort(np.concatenate(self._read_ids(files)), kind="stable")
        return np.concatenate(self._read_column(files, "kind"))[order]

    def row_bytes(self, length: int) -> int:
        """Return the size of the tokens and labels of a window, in bytes.

        Args:
            length: Window length in bases.
        """
        from hyena_ray.dataset.schema import row_bytes

        tokens, labels = length + 2 * self.manifest.flank, self.manifest.labels_per_window(length)
        return row_bytes(tokens, labels, len(self.manifest.tracks))

    def _read_ids(self, files: Sequence[DataFile]) -> list[NDArray[np.int64]]:
        return self._read_column(files, "window_id")

    def _read_column(self, files: Sequence[DataFile], name: str) -> list[NDArray[Any]]:
        return [
            self._read(file, lambda parquet: parquet.read([name]))[name].to_numpy()
            for file in files
        ]

    def _row_ranges(
        self, files: Sequence[DataFile], first: int, last: int
    ) -> Sequence[tuple[int, int]]:
        """Return which rows of each file are rows [first, last) of all, in order of ids."""
        import numpy as np

        if len({PurePath(file.path).parent for file in files}) == 1:
            starts = np.cumsum([0, *(file.rows for file in files)])[:-1].tolist()
            return [
                (max(first - start, 0), min(last - start, file.rows))
                for start, file in zip(starts, files, strict=True)
            ]
        ids = self._read_ids(files)
        # Ids are unique and ascend in each file, so any range of all is a range of each.
        together = np.sort(np.concatenate(ids))
        edges = np.append(together, together[-1] + 1)[[first, last]]
        return [tuple(np.searchsorted(file_ids, edges).tolist()) for file_ids in ids]

    def _schema(self, length: int) -> pa.Schema:
        from hyena_ray.dataset.schema import window_schema

        tokens = length + 2 * self.manifest.flank
        labels = self.manifest.labels_per_window(length)
        return window_schema(tokens, labels, len(self.manifest.tracks))

    def _windows_per_row(self, length: int, split: str) -> int:
        """Return how many windows are cut from a row of the files of a split."""
        if not self.manifest.scored_in_stretches(split):
            return 1
        assert self.manifest.stretch is not None
        return -(-self.manifest.stretch // length)

    def _files(self, length: int, split: str) -> Sequence[DataFile]:
        self.check_split(split, f"{self.folder}: split")
        remedy = "give a number, such as 100"
        require_type(length, int, "length", "is no number of bases", remedy)
        stretches = self.manifest.stretches
        if stretches is not None and self.manifest.scored_in_stretches(split):
            self._check_held_by_stretch(length)
            return self._some(file for file in stretches.files if file.split == split)
        lengths = self.manifest.lengths
        if length not in lengths:
            raise InputError(
                f"{self.folder}: length",
                length,
                f"was not prepared; there is {', '.join(map(str, lengths))}",
                "choose one of these, or prepare that length",
            )
        return self._some(
            file for file in self.manifest.files if (file.length, file.split) == (length, split)
        )

    def _some(self, files: Iterable[DataFile]) -> Sequence[DataFile]:
        found = list(files)
        if not found:
            problem = "lists no file of a split that it names"
            raise InputError(self.folder / MANIFEST, None, problem, PREPARE_AGAIN)
        return found

    def _check_held_by_stretch(self, length: int) -> None:
        assert self.manifest.stretch is not None
        if length > self.manifest.stretch:
            raise InputError(
                f"{self.folder}: length",
                length,
                f"no stretch of {self.manifest.stretch} bases holds such a window",
                "use shorter windows, or prepare with a longer --stretch",
            )

    def _read(self, file: DataFile, read: Callable[[pq.ParquetFile], Result]) -> Result:
        import pyarrow as pa
        import pyarrow.parquet as pq

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
            problem = f"damaged Parquet file ({error})"
            raise InputError(path, None, problem, PREPARE_AGAIN) from None

    def _check(self, path: AnyPath, file: DataFile, parquet: pq.ParquetFile) -> None:
        from hyena_ray.dataset.schema import rows_per_part
        from hyena_ray.dataset.tokens import TOKEN_IDS

        actual, expected = parquet.schema_arrow, self._schema(file.length)
        for field in expected:
            if actual.get_field_index(field.name) < 0:
                raise InputError(path, field.name, "the column is missing", PREPARE_AGAIN)
            if not actual.field(field.name).equals(field):
                raise InputError(
                    path,
                    f"{field.name} is {_describe_field(actual.field(field.name))}",
                    f"the manifest's windows have {_describe_field(field)}",
                    PREPARE_AGAIN,
                )
        rows = parquet.metadata.num_rows
        if rows != file.rows:
            raise InputError(path, f"{rows} rows", f"the manifest says {file.rows}", PREPARE_AGAIN)
        if self.manifest.tokens != TOKEN_IDS:
            known = f"this version reads {TOKEN_IDS}"
            place = f"{self.folder / MANIFEST}: tokens"
            raise InputError(place, self.manifest.tokens, known, PREPARE_AGAIN)
        if self.manifest.kinds != KINDS:
            place = f"{self.folder / MANIFEST}: kinds"
            raise InputError(
                place, self.manifest.kinds, f"this version reads {KINDS}", PREPARE_AGAIN
            )
        most = rows_per_part(file.length, self.manifest.flank, len(self.manifest.tracks))
        if rows > most:
            raise InputError(path, f"{rows} rows", f"a file has {most} at most", PREPARE_AGAIN)
        if sha256_file(path) != self._sha256[file.path]:
            raise InputError(path, None, "sha256 differs from the manifest's", PREPARE_AGAIN)


def _describe_field(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' not null'}"


def _group_sizes(parquet: pq.ParquetFile) -> list[int]:
    return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]


def _read_range(parquet: pq.ParquetFile, first: int, last: int) -> pa.Table:
    """Read rows [first, last) of a file, from the row groups that hold them."""
    import numpy as np

    sizes = _group_sizes(parquet)
    ends = np.cumsum(sizes)
    groups = range(
        int(np.searchsorted(ends, first, side="right")),
        int(np.searchsorted(ends, last, side="left")) + 1,
    )
    skipped = int(ends[groups[0]] - sizes[groups[0]])
    return parquet.read_row_groups(list(groups)).slice(first - skipped, last - first)
