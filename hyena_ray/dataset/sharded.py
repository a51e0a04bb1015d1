"""Work that is cut into shards: its plan, and a Parquet file for each shard.

A file carries the key of the plan that made it, and appears whole. Whether a shard is done is
known from its file alone, so that workers may die and jobs be resumed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, read_json, write_json
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath, arrow_file

PLAN = "shards/plan.json"
"""In the folder of the work: its plan, written before anything else."""
_KEY = b"hyena_ray.plan"


class WorkPlan(Settings):
    """Everything that a result depends on; workers and their number are not part of it."""

    work: ClassVar[str]
    """What is planned, for messages."""

    @cached_property
    def key(self) -> str:
        """sha256 of the plan; every shard file carries it."""
        return hashlib.sha256(
            json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()
        ).hexdigest()

    def begin(self, folder: AnyPath) -> None:
        """Write `folder/shards/plan.json`, or check that the one that is there is this plan.

        Raises:
            InputError: the folder was begun with something else.
        """
        path = folder / PLAN
        if path.exists():
            self.check_begun(folder)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, self.model_dump(mode="json"))

    def check_begun(self, folder: AnyPath) -> None:
        """Check that the work in `folder`, if any, was begun with this plan.

        Raises:
            InputError: it was begun with something else.
        """
        path = folder / PLAN
        if not path.exists():
            return
        found = type(self).parse(read_json(path), path)
        for name in type(self).model_fields:
            if getattr(found, name) != getattr(self, name):
                raise InputError(
                    path,
                    None,
                    f"the {self.work} was begun with other {name}",
                    "continue with the same ones, or start anew with --overwrite",
                )


def write_shard_file(table: pa.Table, path: AnyPath, key: str) -> None:
    """Write a shard's table, atomically, in the name of the plan with this key."""
    table = table.replace_schema_metadata({_KEY: key.encode()})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def shard_file_is_complete(path: AnyPath, key: str, rows: int) -> bool:
    """Whether the file is there, of this plan, and has so many rows; reads its footer only."""
    try:
        with arrow_file(path) as stream:
            metadata = pq.read_metadata(stream)
    except (OSError, pa.ArrowException):
        return False
    found = (metadata.metadata or {}).get(_KEY)
    return bool(found == key.encode() and metadata.num_rows == rows)


def read_shard_file(path: AnyPath, key: str, rows: int) -> pa.Table:
    """Read a complete shard back, page checksums verified.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    remedy = "remove the file and run again with --resume"
    if not shard_file_is_complete(path, key, rows):
        raise InputError(path, None, "missing, or not a shard of this plan", remedy)
    try:
        with arrow_file(path) as stream:
            return pq.read_table(stream, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, None, f"damaged ({error})", remedy) from None
