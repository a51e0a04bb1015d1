"""Tables of a run, for people and for later jobs: each a Parquet file and a CSV file."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath, arrow_file

MOST_ROWS = 1 << 24
"""Most rows of a table that is read: as many as there are 12-mers. A file of a few kilobytes may
have any number of equal ones."""
EMPTY = b"empty"
"""Metadata of a table without rows: why it has none."""
REMEDY = "finish it with --resume, or make it again"
"""What to do about a run with a file that is missing or damaged."""


def write_tables(tables: Mapping[str, pa.Table], folder: AnyPath) -> None:
    """Write `NAME.parquet` and `NAME.csv` of every table, each of them atomically.

    Args:
        tables: Tables by name; only the Parquet file holds the metadata.
        folder: Folder of the files, which is made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with atomic_file(folder / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
        with atomic_file(folder / f"{name}.csv") as temporary:
            pyarrow.csv.write_csv(
                table,
                temporary,
                pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none"),
            )


def read_table(path: AnyPath, columns: tuple[str, ...]) -> pa.Table:
    """Read a Parquet table with at least these columns, page checksums verified.

    It has at least one row, or says why it has none.

    Args:
        path: The file.
        columns: Names of the columns that it must have.

    Raises:
        InputError: The file is missing or damaged, lacks a column, has no row and no reason, or
            more than `MOST_ROWS`.
    """
    try:
        with arrow_file(path) as stream:
            rows = pq.read_metadata(stream).num_rows
            if rows > MOST_ROWS:
                raise InputError(path, f"{rows:,} rows", f"more than {MOST_ROWS:,}", REMEDY)
            stream.seek(0)
            table = pq.read_table(stream, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        problem = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise InputError(path, None, problem, REMEDY) from None
    for name in columns:
        if name not in table.column_names:
            raise InputError(path, name, "the column is missing", REMEDY)
    if not table.num_rows and why_empty(table) is None:
        raise InputError(path, None, "the table has no row", REMEDY)
    return table


def explained(table: pa.Table, reason: str) -> pa.Table:
    """Return a table without rows that says why it has none.

    Args:
        table: The table.
        reason: Why, in a sentence without its full stop.

    Example:
        >>> why_empty(explained(pa.table({"kmer": []}), "no k-mer is frequent enough"))
        'no k-mer is frequent enough'
    """
    metadata = {**(table.schema.metadata or {}), EMPTY: reason.encode()}
    return table.replace_schema_metadata(metadata)


def why_empty(table: pa.Table) -> str | None:
    """Return why a table has no rows, or None where it does not say.

    Args:
        table: The table.
    """
    reason = (table.schema.metadata or {}).get(EMPTY)
    return None if reason is None else reason.decode()
