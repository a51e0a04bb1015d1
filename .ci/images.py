"""Add to every image its digest, so that its tag cannot lead to another one: `make images`.

Asks the registry through `docker buildx`, and changes nothing where one of them cannot be had. A
digest that is there already is replaced by that which the tag has now.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

FILES = ("Dockerfile", "cluster.yaml", "kubernetes/rayjob.yaml")
IMAGE = re.compile(r"(?m)(^FROM |image: )([\w./-]+:[\w.-]+)(?:@sha256:[0-9a-f]{64})?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(tag: str) -> str:
    """Return the digest that a tag has in its registry.

    Args:
        tag: Name and tag of an image.

    Raises:
        SystemExit: Docker said otherwise.
    """
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", tag]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    digest = done.stdout.strip()
    if done.returncode or not DIGEST.fullmatch(digest):
        raise SystemExit(f"error: {tag}: no digest; docker says: {(done.stderr or digest).strip()}")
    return digest


def with_digests(text: str, digest: Callable[[str], str]) -> str:
    """Return a file's text with a digest behind the tag of every image.

    Args:
        text: Dockerfile or YAML.
        digest: Returns the digest of a name with its tag.
    """
    return IMAGE.sub(lambda found: f"{found[1]}{found[2]}@{digest(found[2])}", text)


def main() -> None:
    """Change the files of this repository."""
    changed = {path: with_digests(Path(path).read_text(), digest_of) for path in FILES}
    for path, text in changed.items():
        Path(path).write_text(text)
        print(path, *sorted({match[2] for match in IMAGE.finditer(text)}))


if __name__ == "__main__":
    main()
