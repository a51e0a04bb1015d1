"""Whether a complete run is still what its manifest says."""

from __future__ import annotations

from typing import NamedTuple

from hyena_ray.runs.plan import check_seal
from hyena_ray.runs.record import KINDS, read_manifest
from hyena_ray.runs.stored_files import MANIFEST, Fault, StoredFile, find_faults
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath


class Verification(NamedTuple):
    """What became of the files of a complete run."""

    kind: str
    """Kind of the run."""
    files: int
    """Number of files that were read, those of runs inside the folder included."""
    bytes: int
    """Size of these files."""
    faults: tuple[Fault, ...]
    """Files that are missing or differ from what their manifest lists."""


def verify_run(folder: AnyPath, place: str | None = None) -> Verification:
    """Hold every file of a complete run, and of the runs inside it, against its manifest.

    Args:
        folder: Folder of the run, of any kind.
        place: Option that named the folder, for the message.

    Raises:
        InputError: The folder is no run, an incomplete one, or of an unknown kind or version, or
            its manifest was changed.
    """
    path, values = folder / MANIFEST, read_manifest(folder, tuple(KINDS), place)
    listed = _Contents.parse({"contents": values.get("contents")}, path).contents
    check_seal(values, path)
    faults = find_faults(folder, listed)
    files, size = len(listed), sum(file.bytes for file in listed)
    damaged = {fault.path for fault in faults}
    for file in listed:
        inner = (folder / file.path).parent
        if file.path.endswith(f"/{MANIFEST}") and file.path not in damaged:
            found = verify_run(inner)
            files, size = files + found.files, size + found.bytes
            below = inner.relative_to(folder)
            faults += [Fault(f"{below / fault.path}", fault.problem) for fault in found.faults]
    return Verification(str(values["kind"]), files, size, tuple(faults))


class _Contents(Settings):
    """As much of a manifest as its files are held against."""

    contents: tuple[StoredFile, ...]
