"""Fetch a file over HTTP, going on where an earlier try stopped: a downloader for pooch.

What has come is kept beside the target in a hidden file, with a note of what it is a part of; the
server is asked for the rest under the condition that its file is still that one.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import requests
from pydantic import ValidationError

from hyena_ray.errors import JobError
from hyena_ray.files import write_json
from hyena_ray.progress import Progress, State
from hyena_ray.settings import Settings

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
