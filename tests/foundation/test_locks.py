"""`make lock` and `make images` write what they read, and no hash or digest of their own."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock, images = script("lock"), script("images")


@pytest.mark.parametrize("path", lock.HEADERS, ids=str)
def test_a_lock_is_as_it_would_be_written(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert lock.render(lock.parse(text), lock.HEADERS[path]) == text


def test_the_hash_of_pytorch_for_the_cpu_is_that_of_a_file_and_kept_for_its_version(
    tmp_path: Path,
) -> None:
    wheel = tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(b"built for the CPU")
    own = hashlib.sha256(b"built for the CPU").hexdigest()
    found = lock.for_cpu("2.13.0", {}, [wheel])
    assert found == {"torch": ("2.13.0+cpu", {own})}
    assert lock.for_cpu("2.13.0", found, []) == found
    for before, files in ((found, []), ({}, [wheel])):
        with pytest.raises(SystemExit, match=r"torch 2\.14\.0\+cpu"):
            lock.for_cpu("2.14.0", before, files)


@pytest.mark.parametrize("path", images.FILES)
def test_every_image_gets_the_digest_of_its_tag_and_a_newer_one_later(path: str) -> None:
    text = (ROOT / path).read_text()
    tags = [match[2] for match in images.IMAGE.finditer(text)]
    assert len(tags) == len(re.findall(r"(?m)^FROM \S|image: \S", text))
    asked: list[str] = []

    def digest(tag: str) -> str:
        asked.append(tag)
        return DIGEST

    changed = images.with_digests(text, digest)
    assert asked == tags
    assert changed.count(f"@{DIGEST}") == len(tags)
    assert images.with_digests(changed, digest) == changed
    assert images.IMAGE.sub(r"\1\2", changed) == images.IMAGE.sub(r"\1\2", text)


@pytest.mark.parametrize(
    ("answer", "code"), [(DIGEST, 0), (DIGEST, 1), ("", 0), ("sha256:short", 0)]
)
def test_a_digest_is_what_docker_says_and_else_there_is_none(
    answer: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {answer}\nexit {code}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if (answer, code) == (DIGEST, 0):
        assert images.digest_of("ray:1") == DIGEST
        return
    with pytest.raises(SystemExit, match="ray:1"):
        images.digest_of("ray:1")
