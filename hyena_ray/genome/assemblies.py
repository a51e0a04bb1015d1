"""Assemblies by name: `hg38` is downloaded from UCSC once, checked, and kept in a cache.

The provider's own list of checksums is fetched first. Next to each file is a record of what was
checked, so that later starts need neither the network nor a second look at an unchanged file.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from hyena_ray.errors import InputError, JobError, nearest_name
from hyena_ray.files import sha256_file, write_json
from hyena_ray.genome.source import check_is_file
from hyena_ray.progress import Progress
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

GENOME_REMEDY = "give --genome a FASTA or 2bit file"
"""What to do where a genome cannot be read."""
UCSC = "https://hgdownload.soe.ucsc.edu/goldenPath"
MIRROR = "HYENA_RAY_GENOMES"
"""Environment variable with the address of another server that has UCSC's goldenPath folders."""
CACHE = "HYENA_RAY_CACHE"
"""Environment variable with the folder that keeps downloaded assemblies."""

ASSEMBLIES = {
    "hg38": ("GRCh38", "human"),
    "hg19": ("GRCh37", "human"),
    "mm39": ("GRCm39", "mouse"),
    "mm10": ("GRCm38", "mouse"),
}
"""Name at UCSC to the consortium's name, whose contigs have other names, and the species."""
_CHECKSUM = re.compile(r"([0-9a-f]{32}) [ *](?:\./)?(\S+)", re.IGNORECASE)


class CacheRecord(Settings):
    """Size, time and checksum of a file in the cache that was checked."""

    url: str
    """Address that the file was downloaded from."""
    md5: str
    """Hex MD5 that the provider lists."""
    sha256: str
    """Hex SHA-256 of the file."""
    size: int
    """Size in bytes."""
    modified: int
    """Time of the last change in nanoseconds; a file that has it and the size is not read again."""


class _CachedFile(NamedTuple):
    path: Path
    url: str

    @property
    def record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


def check_genome(path: AnyPath) -> None:
    """Refuse a genome that is neither a file nor a known assembly; downloads nothing.

    Args:
        path: File, or name of an assembly in `ASSEMBLIES`.

    Raises:
        InputError: There is no such file or assembly.
    """
    if _is_assembly(path):
        return
    if path.exists() or not _may_be_assembly(path):
        check_is_file(path, GENOME_REMEDY)
        return
    name = str(path)
    synonyms = {consortium.lower(): known for known, (consortium, _) in ASSEMBLIES.items()}
    nearest = synonyms.get(name.lower()) or nearest_name(name, ASSEMBLIES)
    guess = f", did you mean {nearest}?" if nearest else ""
    raise InputError(
        "--genome",
        name,
        f"neither a file nor a known assembly{guess}",
        f"give a FASTA or 2bit file, or one of {', '.join(ASSEMBLIES)}",
    )


def resolve_genome(path: AnyPath) -> AnyPath:
    """Return the file of a genome that is given as a file or as the name of an assembly.

    A file of that name in the working directory overrides the assembly.

    Args:
        path: File, or name of an assembly in `ASSEMBLIES`, which is downloaded if necessary.

    Returns:
        `path` itself, or the cached 2bit file of the assembly.

    Raises:
        InputError: There is no such file or assembly.
        JobError: The assembly cannot be downloaded.
    """
    check_genome(path)
    return fetch_assembly(str(path)) if _is_assembly(path) else path


def _is_assembly(path: AnyPath) -> bool:
    return _may_be_assembly(path) and str(path) in ASSEMBLIES and not path.is_file()


def _may_be_assembly(path: AnyPath) -> bool:
    """Tell whether a path is one word without an ending."""
    return isinstance(path, Path) and re.fullmatch(r"\w+", str(path)) is not None


def fetch_assembly(name: str) -> Path:
    """Return the 2bit file of an assembly, downloaded if it is not in the cache.

    Two processes that ask for the same assembly at once download it once.

    Args:
        name: A name in `ASSEMBLIES`.

    Returns:
        Path of the file in the cache.

    Raises:
        InputError: HYENA_RAY_GENOMES is not an address.
        JobError: The file cannot be downloaded, or differs from the checksum that the provider
            lists.
    """
    from filelock import FileLock, Timeout

    cache = _cache_folder()
    file = _CachedFile(cache / f"{name}.2bit", f"{_base_url()}/{name}/bigZips/{name}.2bit")
    if _is_checked(file):
        return file.path
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with Progress(f"{name}, which another process downloads"):
                lock.acquire()
        try:
            if not _is_checked(file):
                _download(name, file)
        finally:
            lock.release()
    except OSError as error:
        raise JobError(
            f"{error.filename or cache}: {error.strerror or error}; give {CACHE} a folder with "
            "room that you may write to, and run again: what was downloaded is kept"
        ) from None
    return file.path


def _cache_folder() -> Path:
    folder = os.environ.get(CACHE)
    if not folder:
        import pooch  # slow, with requests under it

        folder = pooch.os_cache("hyena-ray")
    return Path(folder).expanduser().absolute()


def _base_url() -> str:
    base = os.environ.get(MIRROR) or UCSC
    if not re.fullmatch(r"https?://[^\s?#]+", base):
        raise InputError(MIRROR, base, "not the address of a web server", f"write it like {UCSC}")
    return base.rstrip("/")


def _is_checked(file: _CachedFile) -> bool:
    """Return whether the file is the one that was checked when it was downloaded."""
    try:
        record = CacheRecord.model_validate_json(file.record.read_bytes())
        status = file.path.stat()
    except (OSError, ValidationError):
        return False
    if record.url != file.url or status.st_size != record.size:
        return False
    if status.st_mtime_ns == record.modified:
        return True
    # A copy of the cache has other times and is good all the same.
    if sha256_file(file.path) != record.sha256:
        return False
    with suppress(OSError):  # a cache that others own; the file is read again the next time
        _write_record(file, record.md5, record.sha256)
    return True


def _download(name: str, file: _CachedFile) -> None:
    import pooch

    from hyena_ray.genome._download import Download

    md5 = _listed_md5(file.url)
    pooch.get_logger().setLevel("WARNING")
    for last in (False, True):
        download = Download(f"download {name}", file.path, md5)
        try:
            pooch.retrieve(
                file.url,
                f"md5:{md5}",
                fname=file.path.name,
                path=file.path.parent,
                downloader=download,
            )
            break
        except ValueError:  # from pooch, which saw another checksum and removed the file
            # Parts that were fetched at different times may be of different files.
            if last or not download.resumed:
                raise JobError(
                    f"{file.url}: what came does not have the checksum {md5} that the server "
                    "lists; run again, and if it stays so download the file from elsewhere and "
                    "give its path"
                ) from None
    _write_record(file, md5, sha256_file(file.path))


def _write_record(file: _CachedFile, md5: str, sha256: str) -> None:
    status = file.path.stat()
    record = CacheRecord(
        url=file.url, md5=md5, sha256=sha256, size=status.st_size, modified=status.st_mtime_ns
    )
    write_json(file.record, record.model_dump())


def _listed_md5(url: str) -> str:
    """Return the MD5 that the provider lists for a file."""
    from hyena_ray.genome._download import fetch_text

    folder, _, name = url.rpartition("/")
    list_url = f"{folder}/md5sum.txt"
    for line in fetch_text(list_url).splitlines():
        entry = _CHECKSUM.fullmatch(line.strip())
        if entry and entry[2] == name:
            return entry[1].lower()
    raise JobError(
        f"{list_url}: it lists no checksum of {name}; download the file yourself and give its path"
    )
