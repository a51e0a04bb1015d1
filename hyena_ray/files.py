"""Write files and folders whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from hyena_ray.errors import InputError
from hyena_ray.storage import AnyPath, S3Path, remove_folder

MOST_JSON = 1 << 28
"""Most bytes of a JSON file: a manifest of 200,000 contigs has a third of them."""
TEMPORARY = ".*.tmp"
"""Pattern of the names of files and folders that are not complete yet."""


@contextmanager
def atomic_file(path: AnyPath, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` once the block succeeds.

    Two writers of the same file never share a temporary name; the last one wins. A file for S3 is
    written on this machine first.

    Args:
        path: File to write.
        durable: Whether the file is flushed to disk (fsync) before it replaces `path`, which keeps
            it whole even if the machine crashes. Flushing may take longer than writing.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_file(folder / "scores.csv") as temporary:
        ...     _ = temporary.write_text("kmer,score")
        >>> (folder / "scores.csv").read_text()
        'kmer,score'
    """
    if isinstance(path, S3Path):
        with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
            temporary = Path(folder) / path.name
            yield temporary
            path.upload(temporary)
        return
    temporary = _temporary_name(path)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: AnyPath, *, last: str, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` once the block succeeds.

    Args:
        path: Folder to make.
        last: File whose presence means complete. A disk shows the whole folder at once; on S3 this
            file is written last.
        replace: Whether a folder that is there, and has that file, is replaced. A disk keeps it
            beside the new one until that is in its place; on S3 its files are written over.

    Raises:
        InputError: The folder that would be replaced holds something else.
    """
    if isinstance(path, S3Path):
        with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
            yield Path(folder)
            files = [item for item in Path(folder).rglob("*") if item.is_file()]
            for item in sorted(files, key=lambda item: item == Path(folder) / last):
                (path / item.relative_to(folder)).upload(item)
            written = {path / item.relative_to(folder) for item in files}
            for stale in set(path.files()) - written if replace else ():
                stale.unlink(missing_ok=True)
        return
    if replace and path.is_dir() and any(path.iterdir()) and not (path / last).exists():
        problem = f"would be replaced, and holds something else: it has no {last}"
        raise InputError(path, None, problem, "move it elsewhere, or give another folder")
    temporary = _temporary_name(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        aside = name_aside(path)
        if replace and path.exists():
            path.replace(aside)
        temporary.replace(path)
        remove_folder(aside)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def name_aside(path: AnyPath) -> AnyPath:
    """Return a new path beside a folder, where it is kept until another one is in its place.

    Args:
        path: The folder.

    Example:
        >>> name_aside(Path("runs/zdna")).match("runs/zdna.replaced-????????")
        True
    """
    return path.with_name(f"{path.name}.replaced-{secrets.token_hex(4)}")


def remove_temporary_files(folder: AnyPath) -> None:
    """Remove temporary files that killed writers left, in a folder and in its parent folder.

    Args:
        folder: Folder that nobody writes to now.
    """
    if not isinstance(folder, Path):
        return
    stale = list(folder.rglob(TEMPORARY))
    with suppress(PermissionError):  # a folder that lists nothing has nothing of this user
        beside = re.compile(rf"\.{re.escape(_stem(folder))}\.[A-Za-z0-9-]*\.[0-9a-f]{{16}}\.tmp")
        stale += [path for path in folder.parent.iterdir() if beside.fullmatch(path.name)]
    for path in stale:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_unused(folder: AnyPath, *, besides: str) -> bool:
    """Tell whether a folder holds nothing, but for what a job leaves that was killed at its start.

    Args:
        folder: Folder on a disk or on S3; it need not exist.
        besides: Name of a file that does not count.
    """
    entries = folder.iterdir() if folder.is_dir() else ()
    return all(path.name == besides or path.match(TEMPORARY) for path in entries)


def _temporary_name(path: Path) -> Path:
    """Return a new name beside a file or folder, for its content until it is complete.

    It starts with a dot, because Parquet directory readers skip such files, and names the host for
    people. The process id would not tell writers apart: in a container it is the same every time.
    """
    host = re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())[:32]
    return path.with_name(f".{_stem(path)}.{host}.{secrets.token_hex(8)}.tmp")


def _stem(path: Path) -> str:
    # A name has at most 255 bytes, of which host, number and dots take 55.
    return path.name.encode()[:190].decode(errors="ignore")


def write_json(path: AnyPath, value: Any) -> None:
    """Write indented JSON with sorted keys, atomically.

    Args:
        path: File to write.
        value: Whatever JSON can hold.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: AnyPath) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing, is not JSON, or is far larger or deeper than any of ours.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_JSON + 1)
        if len(content) > MOST_JSON:
            raise ValueError(f"more than {MOST_JSON >> 20} MiB")
        # Python's own reader takes NaN, and what is nested until it fails.
        return from_json(content, allow_inf_nan=False)
    except FileNotFoundError:
        raise InputError(path, None, "there is no such file", "check the folder you gave") from None
    except (OSError, ValueError) as error:
        raise InputError(path, None, f"not readable as JSON ({error})", "make it again") from None


def sha256_file(path: AnyPath) -> str:
    """Return the hex sha256 of a file's bytes.

    Args:
        path: The file.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_inside(path: AnyPath, folder: AnyPath) -> bool:
    """Tell whether a path is a folder or inside it, whatever links and `..` lead there.

    Args:
        path: The path.
        folder: The folder.
    """
    if isinstance(path, S3Path) or isinstance(folder, S3Path):
        return path.is_relative_to(folder) if type(path) is type(folder) else False
    # Not Path.resolve, which raises where a link leads to itself.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _may_write(folder: Path) -> bool:
    # The effective user, who may differ from the real one, is the one that writes.
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def new_output(
    path: AnyPath, *, allow_existing: bool = False, remedy: str = "give a new folder"
) -> AnyPath:
    """Check that an output folder may be written, before any work is done. Creates nothing.

    Args:
        path: Folder to write.
        allow_existing: Whether a folder that exists may be continued or replaced.
        remedy: What to do where the folder exists and may not be.

    Returns:
        The absolute path.

    Raises:
        InputError: The folder exists and may not be; it is a file or a link; this user may not
            write there; or the job runs in the unpacked copy of a submitted job, where a relative
            path would be lost.
    """
    on_disk = isinstance(path, Path)
    if on_disk and not path.is_absolute() and "runtime_resources" in Path.cwd().parts:
        raise InputError(
            "--out",
            path,
            "relative to a submitted job's working directory, which Ray deletes",
            "give an absolute path",
        )
    path = path.expanduser().absolute()
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError("--out", path, "not a plain folder", "give a new folder")
    above = next((parent for parent in path.parents if on_disk and parent.exists()), None)
    if above is not None and not above.is_dir():
        raise InputError("--out", path, f"{above} is a file", "give a new folder")
    place = path if path.exists() else above
    if isinstance(place, Path) and not _may_write(place):
        remedy = "give another folder, or ask for the right to write there"
        raise InputError("--out", path, f"{place} cannot be written by this user", remedy)
    if path.exists() and not allow_existing:
        raise InputError("--out", path, "exists already", remedy)
    return path
