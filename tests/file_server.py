"""A web server on loopback that serves one folder, with ranges, and fails as it is told."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server has, does and was asked; tests change it at any time."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    sums: bool = True
    """Whether md5sum.txt lists the files of its folder; else it stands in `files` or is missing."""
    cut_after: list[int] = field(default_factory=list)
    """Of the next answers with a file, so many bytes come before the connection ends."""
    statuses: list[int] = field(default_factory=list)
    """Of the next answers with a file, instead of it."""
    ranges: bool = True
    marks: bool = True
    """Whether an ETag tells one version of a file from another."""
    at_most: int = 1 << 30
    """Bytes of one range."""
    silent: float = 0.0
    """Seconds before an answer."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and range of every request."""
    address: str = ""

    def asked_for(self, ending: str) -> list[str | None]:
        """Ranges of the requests for a file."""
        return [asked for path, asked in self.asked if path.endswith(ending)]

    def content(self, path: str) -> bytes | None:
        folder, _, name = path.rpartition("/")
        if name != "md5sum.txt" or not self.sums:
            return self.files.get(path)
        lines = [
            f"{hashlib.md5(content).hexdigest()}  {other.rpartition('/')[2]}\n"
            for other, content in self.files.items()
            if other.rpartition("/")[0] == folder
        ]
        return "".join(lines).encode() if lines else None


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            served.asked.append((self.path, wanted))
            time.sleep(served.silent)
            content = served.content(self.path)
            sums = self.path.endswith("md5sum.txt")
            if served.statuses and not sums:
                self.send_error(served.statuses.pop(0))
                return
            if content is None:
                self.send_error(404)
                return
            mark = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            first, end = 0, len(content)
            condition = self.headers.get("If-Range")
            if wanted and served.ranges and condition in (None, mark):
                found = re.fullmatch(r"bytes=([0-9]+)-", wanted)
                assert found is not None
                first = int(found[1])
                if first >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                end = min(end, first + served.at_most)
                self.send_header("Content-Range", f"bytes {first}-{end - 1}/{len(content)}")
            else:
                self.send_response(200)
            if served.marks:
                self.send_header("ETag", mark)
            body = content[first:end]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if served.cut_after and not sums:
                body = body[: served.cut_after.pop(0)]
            self.wfile.write(body)

    return Handler


@contextmanager
def file_server() -> Iterator[Served]:
    """Serve until the end of the block."""
    served = Served()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(served)) as server:
        served.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
