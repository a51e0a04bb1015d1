"""Assemblies by name: `hg38` is downloaded from UCSC once, checked, and kept in a cache.

The provider's own list of checksums is fetched first. Beside each file stands a note of what was
checked, so that later starts need neither the network nor a second look at a file that nobody
touched.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pooch
from filelock import FileLock, Timeout
from pydantic import ValidationError

from hyena_ray.errors import InputError, JobError
from hyena_ray.files import sha256_file, write_json
from hyena_ray.genome.download import Download, fetch_text
from hyena_ray.progress import Progress
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

UCSC = "https://hgdownload.soe.ucsc.edu/goldenPath"
MIRROR = "HYENA_RAY_GENOMES"
"""Environment variable: another server with the folders of UCSC's goldenPath."""
CACHE = "HYENA_RAY_CACHE"
"""Environment variable: the folder that keeps what was downloaded."""

ASSEMBLIES = {
    "hg38": ("GRCh38", "human"),
    "hg19": ("GRCh37", "human"),
    "mm39": ("GRCm39", "mouse"),
    "mm10": ("GRCm38", "mouse"),
}
"""Name at UCSC to its other name, whose contigs are called otherwise, and the species."""
_SUM = re.compile(r"([0-9a-f]{32}) [ *](?:\./)?(\S+)", re.IGNORECASE)


class Note(Settings):
    """What was found of a file in the cache."""

    url: str
    md5: str
    """As the provider lists it."""
    sha256: str
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds, as the file system has it: a file with this and the size is not read again."""


class _Place(NamedTuple):
    file: Path
    url: str

    @property
    def note(self) -> Path:
        return self.file.with_name(f"{self.file.name}.json")


def located(path: AnyPath) -> AnyPath:
    """The file of a genome: `path` itself, or of the assembly that it names.

    A file of that name in the working directory goes first.

    Raises:
        InputError: there is no such file, and it looks like the name of an assembly.
        JobError: the assembly cannot be downloaded.
    """
    name = str(path)
    if not isinstance(path, Path) or not re.fullmatch(r"\w+", name) or path.is_file():
        return path
    if name in ASSEMBLIES:
        return assembly(name)
    if path.exists():
        return path
    meant = [
        known
        for known, (other, _) in ASSEMBLIES.items()
        if name.lower() in (known.lower(), other.lower())
    ]
    raise InputError(
        "--genome",
        name,
        "neither a file nor an assembly that is known by name",
        f"give a FASTA or 2bit file, or {' or '.join(meant or ASSEMBLIES)}",
    )


def assembly(name: str) -> Path:
    """The 2bit file of an assembly, downloaded when it is not in the cache.

    Two processes that ask for one at once download it once.

    Raises:
        InputError: HYENA_RAY_GENOMES is no address.
        JobError: it cannot be downloaded, or the provider lists another checksum.
    """
    cache = Path(os.environ.get(CACHE) or pooch.os_cache("hyena-ray")).expanduser().absolute()
    place = _Place(cache / f"{name}.2bit", f"{_base()}/{name}/bigZips/{name}.2bit")
    if _is_checked(place):
        return place.file
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with Progress(f"{name}, which another process downloads"):
                lock.acquire()
        try:
            if not _is_checked(place):
                _download(name, place)
        finally:
            lock.release()
    except OSError as error:
        raise JobError(
            f"{error.filename or cache}: {error.strerror or error}; give {CACHE} a folder with "
            "room that you may write to, and run again: what was downloaded is kept"
        ) from None
    return place.file


def _base() -> str:
    base = os.environ.get(MIRROR) or UCSC
    if not re.fullmatch(r"https?://[^\s?#]+", base):
        raise InputError(MIRROR, base, "not the address of a web server", f"write it like {UCSC}")
    return base.rstrip("/")


def _is_checked(place: _Place) -> bool:
    """Whether the file is the one that was checked when it was downloaded."""
    try:
        note = Note.model_validate_json(place.note.read_bytes())
        found = place.file.stat()
    except (OSError, ValidationError):
        return False
    if note.url != place.url or found.st_size != note.size:
        return False
    if found.st_mtime_ns == note.modified:
        return True
    # A copy of the cache has other times and is good all the same.
    if sha256_file(place.file) != note.sha256:
        return False
    with suppress(OSError):  # of a cache that others own; the file is read again the next time
        _write_note(place, note.md5, note.sha256)
    return True


def _download(name: str, place: _Place) -> None:
    md5 = _listed(place.url)
    pooch.get_logger().setLevel("WARNING")
    for last in (False, True):
        download = Download(f"download {name}", place.file, md5)
        try:
            pooch.retrieve(
                place.url,
                f"md5:{md5}",
                fname=place.file.name,
                path=place.file.parent,
                downloader=download,
            )
            break
        except ValueError:  # of pooch, which found another checksum and removed the file
            # Parts that came at different times may be of different files.
            if last or not download.resumed:
                raise JobError(
                    f"{place.url}: what came does not have the checksum {md5} that the server "
                    "lists; run again, and if it stays so download the file from elsewhere and "
                    "give its path"
                ) from None
    _write_note(place, md5, sha256_file(place.file))


def _write_note(place: _Place, md5: str, sha256: str) -> None:
    found = place.file.stat()
    note = Note(
        url=place.url, md5=md5, sha256=sha256, size=found.st_size, modified=found.st_mtime_ns
    )
    write_json(place.note, note.model_dump())


def _listed(url: str) -> str:
    """The md5 that the provider lists for a file."""
    folder, _, name = url.rpartition("/")
    sums = f"{folder}/md5sum.txt"
    for line in fetch_text(sums).splitlines():
        found = _SUM.fullmatch(line.strip())
        if found and found[2] == name:
            return found[1].lower()
    raise JobError(
        f"{sums}: it lists no checksum of {name}; download the file yourself and give its path"
    )
