"""Work that is cut into shards: one Parquet file for each, which carries the plan's fingerprint.

A file appears whole or not at all. Whether a shard is done is known from its file alone, so that
workers may die and jobs be resumed.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath, arrow_file

SHARDS = "shards"
"""Folder of the shard files, in the folder of the run."""
_KEY = b"hyena_ray.plan"


def write_shard_file(
    table: pa.Table, path: AnyPath, fingerprint: str, *, durable: bool = True
) -> None:
    """Write the table of a shard atomically.

    Args:
        table: Rows of the shard; the metadata of its schema is kept.
        path: File to write.
        fingerprint: Fingerprint of the plan that the shard belongs to.
        durable: Whether the file is flushed to disk, and so survives a crash of the machine. A file
            that a crash has damaged counts as incomplete.
    """
    metadata = {**(table.schema.metadata or {}), _KEY: fingerprint.encode()}
    table = table.replace_schema_metadata(metadata)
    with atomic_file(path, durable=durable) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def shard_file_is_complete(path: AnyPath, fingerprint: str, rows: int) -> bool:
    """Tell whether a shard's file is complete, from its footer alone.

    Args:
        path: File of the shard.
        fingerprint: Fingerprint of the plan that the shard must belong to.
        rows: Number of rows that it must have.
    """
    try:
        with arrow_file(path) as stream:
            metadata = pq.read_metadata(stream)
    except (OSError, pa.ArrowException):
        return False
    stored = (metadata.metadata or {}).get(_KEY)
    return bool(stored == fingerprint.encode() and metadata.num_rows == rows)


def read_shard_file(path: AnyPath, fingerprint: str, rows: int) -> pa.Table:
    """Read a complete shard, with the checksum of every page verified.

    Args:
        path: File of the shard.
        fingerprint: Fingerprint of the plan that the shard must belong to.
        rows: Number of rows that it must have.

    Raises:
        InputError: The file is missing, damaged or belongs to another plan.
    """
    remedy = "remove the file and run again with --resume"
    if not shard_file_is_complete(path, fingerprint, rows):
        raise InputError(path, None, "missing, or not a shard of this plan", remedy)
    try:
        with arrow_file(path) as stream:
            return pq.read_table(stream, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, None, f"damaged ({error})", remedy) from None
