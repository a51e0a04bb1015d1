"""A web server on loopback that speaks what models need of the Hugging Face Hub's API."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_token_that_may_write"


@dataclass
class Repository:
    """Commits of a repository, and its branches."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        content = repr((sorted(files.items()), len(self.commits))).encode()
        name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name


@dataclass
class Hub:
    """What the server has; tests look at it and change it."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    address: str = ""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(
            self, status: int, body: Any = b"", headers: dict[str, str] | None = None
        ) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def may(self, repository: Repository | None = None) -> bool:
            given = self.headers.get("Authorization")
            allowed = given == f"Bearer {TOKEN}" or (
                given is None and repository is not None and not repository.private
            )
            if not allowed:
                self.answer(401, {"error": "Invalid credentials"})
            return allowed

        def find(self, name: str, revision: str) -> tuple[Repository, str] | None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
                return None
            if not self.may(repository):
                return None
            commit = repository.branches.get(revision, revision)
            if commit not in repository.commits:
                self.answer(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
                return None
            return repository, commit

        def do_GET(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                revision = parts[5] if len(parts) > 5 else "main"
                if (found := self.find("/".join(parts[2:4]), revision)) is None:
                    return None
                repository, commit = found
                files = repository.commits[commit]
                if parts[4:5] == ["tree"]:
                    listed = [
                        {"type": "file", "path": name, "size": len(content), "oid": commit}
                        for name, content in files.items()
                    ]
                    return self.answer(200, listed)
                siblings = [{"rfilename": name} for name in files]
                return self.answer(
                    200, {"id": "/".join(parts[2:4]), "sha": commit, "siblings": siblings}
                )
            if parts[2:3] != ["resolve"]:
                return self.answer(404)
            if (found := self.find("/".join(parts[:2]), parts[3])) is None:
                return None
            repository, commit = found
            content = repository.commits[commit].get("/".join(parts[4:]))
            if content is None:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            return self.answer(200, content, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts == ["api", "validate-yaml"]:
                return self.answer(200, {"errors": [], "warnings": []})
            if not self.may():
                return None
            if parts == ["api", "repos", "create"]:
                asked = json.loads(body)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                if name in hub.repositories:
                    return self.answer(409, {"url": f"{hub.address}/{name}"})
                hub.repositories[name] = Repository(asked.get("visibility") == "private")
                hub.repositories[name].commit("main", {".gitattributes": b"*.bin lfs\n"})
                return self.answer(200, {"url": f"{hub.address}/{name}"})
            name, what = "/".join(parts[2:4]), parts[4]
            repository, branch = hub.repositories[name], parts[5]
            if what == "branch":
                repository.branches.setdefault(branch, repository.branches["main"])
                return self.answer(201, {})
            if what == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self.answer(200, {"files": files})
            after = dict(repository.commits[repository.branches[branch]])
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    after[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del after[value["path"]]
            commit = repository.commit(branch, after)
            address = f"{hub.address}/{name}/commit/{commit}"
            return self.answer(200, {"commitUrl": address, "commitOid": commit, "success": True})

    return Handler


@contextmanager
def local_hub() -> Iterator[Hub]:
    """Serve a hub without repositories."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
