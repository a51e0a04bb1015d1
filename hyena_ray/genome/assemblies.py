"""Assemblies."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pooch
import requests
from filelock import FileLock, Timeout
from pydantic import ValidationError

from hyena_ray.errors import InputError, JobError
from hyena_ray.files import sha256_file, write_json
from hyena_ray.progress import Progress, State
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


logger = logging.getLogger(__name__)

TIMEOUT = (10.0, 30.0)
"""Seconds for the connection, and without a byte."""
TRIES = 4
"""So many in a row may bring nothing."""
WAIT = 2.0
"""Seconds after the first failure; twice as many after each that follows it."""
MB = 1_000_000
CHUNK = 1 << 16
"""Bytes that are written at once, of which a connection that ends takes the last."""
_SOON = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be another one at the next try."""
_OVER = 416
"""Status: nothing stands where the asked range begins."""
_ROOM = "free some, or set HYENA_RAY_CACHE to a folder with room"


class _Part(Settings):
    """What a part is of."""

    url: str
    md5: str
    version: str
    """The server's mark of this version of the file, for If-Range; empty where it gives none."""


class Download:
    """One file, as pooch's downloader: called with an address and the file to write."""

    def __init__(self, work: str, target: Path, md5: str) -> None:
        """
        Args:
            work: its name in the log.
            target: where the file will stand; the part stands beside it.
            md5: of the whole file; a part of a file with another one is thrown away.
        """
        self._work, self._md5 = work, md5
        self._part = target.with_name(f".{target.name}.part")
        self._note = target.with_name(f".{target.name}.part.json")
        self._progress: Progress | None = None
        self.resumed = False
        """Whether some of it came in an earlier try, which may have been of another file."""

    def __call__(
        self, url: str, output_file: str, pooch: object, check_only: bool | None = False
    ) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            JobError: the server refuses, is not reached in several tries, or the disk is too small.
            OSError: the disk cannot be written.
        """
        failures = 0
        with ExitStack() as until_done:
            while True:
                before = self._size()
                try:
                    if self._fetched(url, until_done):
                        break
                    problem = "the connection ended early"
                except requests.RequestException as error:
                    problem = _reason(error)
                failures = 1 if self._size() > before else failures + 1
                _wait(url, problem, failures)
        self._part.replace(output_file)
        self._note.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _fetched(self, url: str, until_done: ExitStack) -> bool:
        """Ask for what is missing, and write what comes.

        Returns:
            Whether the file is whole.
        """
        version = self._version(url)
        have = self._size()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            first, total = _range_of(response)
            if response.status_code == _OVER:
                if total != have:
                    self._part.unlink()
                self.resumed = total == have
                return total == have
            _check_status(response)
            if first != have:
                # The server sends the file from its beginning: it has another one, or no ranges.
                have = 0
            self.resumed = have > 0
            self._check_room(total - have)
            mark = _version_of(response)
            if not have:
                self._part.write_bytes(b"")
                write_json(self._note, _Part(url=url, md5=self._md5, version=mark).model_dump())
            self._tell(have, total, until_done)
            with self._part.open("ab") as stream:
                for chunk in response.iter_content(CHUNK):
                    stream.write(chunk)
                    have += len(chunk)
                    self._tell(have, total, until_done)
        return have == total or not total

    def _version(self, url: str) -> str:
        """Of the part that is there; one of another file is thrown away."""
        with suppress(OSError, ValidationError):
            part = _Part.model_validate_json(self._note.read_bytes())
            if (part.url, part.md5) == (url, self._md5):
                return part.version
        self._part.unlink(missing_ok=True)
        return ""

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if needed > free:
            raise JobError(
                f"{self._part.parent}: {math.ceil(needed / MB)} MB are to come and "
                f"{free // MB} MB are free; {_ROOM}, and run again"
            )

    def _tell(self, have: int, total: int, until_done: ExitStack) -> None:
        state = State(done=have // MB, part=have % MB / MB)
        if self._progress is None:
            size = math.ceil(total / MB) if total else None
            self._progress = Progress(self._work, size, "MB", begun=state)
            until_done.enter_context(self._progress)
        self._progress.update(state)


def fetch_text(url: str) -> str:
    """A small text file.

    Raises:
        JobError: the server refuses, or is not reached in several tries.
    """
    failures = 0
    while True:
        try:
            with requests.get(url, timeout=TIMEOUT) as response:
                _check_status(response)
                return response.text
        except requests.RequestException as error:
            failures += 1
            _wait(url, _reason(error), failures)


def _check_status(response: requests.Response) -> None:
    if response.ok:
        return
    answer = f"the server answers {response.status_code} {response.reason}"
    if response.status_code in _SOON:
        raise requests.HTTPError(answer)
    raise JobError(
        f"{response.url}: {answer}; look whether it is there, and else download the file from "
        "elsewhere and give its path"
    )


def _wait(url: str, problem: str, failures: int) -> None:
    if failures >= TRIES:
        raise JobError(
            f"{url}: {problem}, {TRIES} times in a row; check the network and run again: what was "
            "downloaded is kept"
        )
    seconds = WAIT * 2 ** (failures - 1)
    logger.warning("%s: %s; tried again in %.0f s", url, problem, seconds)
    time.sleep(seconds)


def _reason(error: requests.RequestException) -> str:
    """In few words; the library's own name classes, addresses and objects."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended early"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return str(error)


def _range_of(response: requests.Response) -> tuple[int, int]:
    """The first byte that comes, and how many the whole file has; 0 where that is not said."""
    found = re.fullmatch(
        r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+)", response.headers.get("Content-Range", "")
    )
    if found and response.status_code in (requests.codes.partial_content, _OVER):
        return int(found[1] or 0), int(found[2])
    return 0, int(response.headers.get("Content-Length", 0))


def _version_of(response: requests.Response) -> str:
    """What If-Range may hold: a strong mark, else the time of the last change."""
    mark: str = response.headers.get("ETag", "")
    if mark and not mark.startswith("W/"):
        return mark
    return str(response.headers.get("Last-Modified", ""))
