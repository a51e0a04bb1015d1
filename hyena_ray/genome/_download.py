"""Fetch a file over HTTP, resuming where an earlier try stopped: a downloader for pooch.

The part that has arrived is kept next to the target in a hidden file, with a record of the file
that it belongs to. The server is asked for the rest on condition that its file is unchanged.
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
"""Seconds to wait for the connection, and for the next byte."""
TRIES = 4
"""Tries in a row that may fetch nothing before the download is given up."""
WAIT = 2.0
"""Seconds to wait after the first failure, doubled after every further one in a row."""
MB = 1_000_000
CHUNK = 1 << 16
"""Bytes that are written at once; a connection that ends loses the last chunk."""
_RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_RANGE_NOT_SATISFIABLE = 416


class _PartRecord(Settings):
    """The file that a part belongs to."""

    url: str
    """Address of the whole file."""
    md5: str
    """Hex MD5 of the whole file."""
    version: str
    """ETag or date of the server's file, for If-Range; empty where the server gives none."""


class Download:
    """Download of one file, called by pooch with an address and the file to write.

    Args:
        work: Name of the download in the log.
        target: Path of the finished file; the part is kept next to it.
        md5: Hex MD5 of the whole file; a part of a file with another one is discarded.
    """

    def __init__(self, work: str, target: Path, md5: str) -> None:
        self._work, self._md5 = work, md5
        self._part = target.with_name(f".{target.name}.part")
        self._record = target.with_name(f".{target.name}.part.json")
        self._progress: Progress | None = None
        self.resumed = False
        """Whether some bytes are from an earlier try, which may have read another file."""

    def __call__(
        self, url: str, output_file: str, pooch: object, check_only: bool | None = False
    ) -> None:
        """Fetch a file.

        Args:
            url: Address of the file.
            output_file: Path to write.
            pooch: Ignored; pooch passes it to every downloader.
            check_only: Ignored, likewise.

        Raises:
            JobError: The server refuses, is not reached in several tries, or the disk is too small.
            OSError: The disk cannot be written.
        """
        failures = 0
        with ExitStack() as until_done:
            while True:
                before = self._size()
                try:
                    if self._fetch_rest(url, until_done):
                        break
                    problem = "the connection ended early"
                except requests.RequestException as error:
                    problem = _describe(error)
                failures = 1 if self._size() > before else failures + 1
                _wait_for_retry(url, problem, failures)
        self._part.replace(output_file)
        self._record.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _fetch_rest(self, url: str, until_done: ExitStack) -> bool:
        """Ask for the missing bytes and write what arrives; return whether the file is whole."""
        version = self._part_version(url)
        have = self._size()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            first, total = _byte_range(response)
            if response.status_code == _RANGE_NOT_SATISFIABLE:
                if total != have:
                    self._part.unlink()
                self.resumed = total == have
                return total == have
            _check_status(response)
            if first != have:
                # The server sends the file from its beginning: the file changed, or the server
                # does not support ranges.
                have = 0
            self.resumed = have > 0
            self._check_room(total - have)
            if not have:
                self._part.write_bytes(b"")
                record = _PartRecord(url=url, md5=self._md5, version=_server_version(response))
                write_json(self._record, record.model_dump())
            self._show_progress(have, total, until_done)
            with self._part.open("ab") as stream:
                for chunk in response.iter_content(CHUNK):
                    stream.write(chunk)
                    have += len(chunk)
                    self._show_progress(have, total, until_done)
        return have == total or not total

    def _part_version(self, url: str) -> str:
        """Return the server's version of the part; a part of another file is discarded."""
        with suppress(OSError, ValidationError):
            record = _PartRecord.model_validate_json(self._record.read_bytes())
            if (record.url, record.md5) == (url, self._md5):
                return record.version
        self._part.unlink(missing_ok=True)
        return ""

    def _check_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if needed > free:
            raise JobError(
                f"{self._part.parent}: {math.ceil(needed / MB)} MB are to come and "
                f"{free // MB} MB are free; free some, or set HYENA_RAY_CACHE to a folder with "
                "room, and run again"
            )

    def _show_progress(self, have: int, total: int, until_done: ExitStack) -> None:
        state = State(done=have // MB, part=have % MB / MB)
        if self._progress is None:
            size = math.ceil(total / MB) if total else None
            self._progress = Progress(self._work, size, "MB", initial=state)
            until_done.enter_context(self._progress)
        self._progress.update(state)


def fetch_text(url: str) -> str:
    """Fetch a small text file.

    Args:
        url: Address of the file.

    Returns:
        Its content.

    Raises:
        JobError: The server refuses, or is not reached in several tries.
    """
    failures = 0
    while True:
        try:
            with requests.get(url, timeout=TIMEOUT) as response:
                _check_status(response)
                return response.text
        except requests.RequestException as error:
            failures += 1
            _wait_for_retry(url, _describe(error), failures)


def _check_status(response: requests.Response) -> None:
    if response.ok:
        return
    answer = f"the server answers {response.status_code} {response.reason}"
    if response.status_code in _RETRIED_STATUSES:
        raise requests.HTTPError(answer)
    raise JobError(
        f"{response.url}: {answer}; look whether it is there, and else download the file from "
        "elsewhere and give its path"
    )


def _wait_for_retry(url: str, problem: str, failures: int) -> None:
    if failures >= TRIES:
        raise JobError(
            f"{url}: {problem}, {TRIES} times in a row; check the network and run again: what was "
            "downloaded is kept"
        )
    seconds = WAIT * 2 ** (failures - 1)
    logger.warning("%s: %s; tried again in %.0f s", url, problem, seconds)
    time.sleep(seconds)


def _describe(error: requests.RequestException) -> str:
    """Describe an error in a few words; the library's own text names classes and objects."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended early"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return str(error)


def _byte_range(response: requests.Response) -> tuple[int, int]:
    """Return the first byte that is sent and the size of the whole file; 0 where not stated."""
    content_range = re.fullmatch(
        r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+)", response.headers.get("Content-Range", "")
    )
    partial = response.status_code in (requests.codes.partial_content, _RANGE_NOT_SATISFIABLE)
    if content_range and partial:
        return int(content_range[1] or 0), int(content_range[2])
    return 0, int(response.headers.get("Content-Length", 0))


def _server_version(response: requests.Response) -> str:
    """Return what If-Range may hold: a strong ETag, else the date of the last change."""
    etag: str = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return str(response.headers.get("Last-Modified", ""))
