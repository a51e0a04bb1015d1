"""Write the locks, with the hash of every file that may be installed: `make lock`.

    python .ci/lock.py [--upgrade] [FILE ...]

Versions stay as they are, but for what no longer fits to pyproject.toml, or with --upgrade. FILE is
a build of a package that PyPI does not have, such as PyTorch for the CPU: its hash is accepted as
well, and kept as long as the version is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

ALL, NODE, CUDA = (
    Path("requirements.lock"),
    Path("requirements-node.lock"),
    Path("requirements-cuda.lock"),
)
TOOLS = Path("requirements-security.lock")
HEADERS = {
    ALL: "The project with all tools for its development.",
    NODE: "What a node needs to run jobs: a part of requirements.lock.",
    CUDA: "What PyPI's build of PyTorch needs besides, and a build for the CPU does not.",
    TOOLS: "Tools that read the code and the locks, in an environment of their own.",
}
TOOL_NAMES = ("bandit", "cyclonedx-bom", "pip-audit", "uv")
OF_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
"""Names of packages that only a build of PyTorch for CUDA needs."""
PLATFORM = ("--python-version=3.11.5", "--python-platform=x86_64-manylinux_2_28")
"""The oldest Python that every package of the locks runs on."""

Lock = dict[str, tuple[str, set[str]]]
"""Version and SHA-256 hashes of each package."""


def parse(text: str) -> Lock:
    """Read the packages of a lock, whose lines a backslash continues."""
    found: Lock = {}
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *options = line.partition("#")[0].split() or [""]
        if requirement:
            name, version = requirement.split("==")
            hashes = {option.removeprefix("--hash=sha256:") for option in options}
            found[re.sub(r"[-_.]+", "-", name).lower()] = version, hashes
    return found


def render(lock: Mapping[str, tuple[str, Collection[str]]], header: str) -> str:
    """Write a lock as pip reads it with --require-hashes."""
    lines = [f"# {header} Written by `make lock`."]
    for name, (version, hashes) in sorted(lock.items()):
        lines.append(
            " \\\n    ".join(
                [f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(hashes))]
            )
        )
    return "\n".join(lines) + "\n"


def keep_builds(lock: Lock, before: Lock, files: Iterable[Path]) -> None:
    """Add to a lock the hashes of builds that the index does not have.

    Args:
        lock: Packages, as the index has them.
        before: The same lock as it was.
        files: Wheels, whose names begin with name and version.
    """
    for name, (version, hashes) in lock.items():
        if name in before and before[name][0] == version:
            hashes |= before[name][1]
    for file in files:
        name, version = file.name.split("-")[:2]
        known = lock.get(re.sub(r"[-_.]+", "-", name).lower())
        if known is None or known[0] != version.partition("+")[0]:
            raise SystemExit(f"{file}: the lock has no {name} {version}")
        known[1].add(hashlib.sha256(file.read_bytes()).hexdigest())


def resolve(before: Lock, given: str, *options: str, within: Lock | None = None) -> Lock:
    """Let uv choose the versions, with the hashes of all files of each.

    Args:
        before: Versions that are kept where they fit.
        given: Requirements, one a line.
        options: More options of `uv pip compile`.
        within: Versions that must be the same.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, constraints = Path(folder) / "new.lock", Path(folder) / "constraints"
        output.write_text(pins(before))
        constraints.write_text(pins(within or {}))
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--generate-hashes"]
        command += [*PLATFORM, "--no-annotate", f"--output-file={output}"]
        command += [f"--constraint={constraints}", *options, "-"]
        subprocess.run(command, input=given, text=True, stdout=subprocess.DEVNULL, check=True)
        return parse(output.read_text())


def pins(lock: Lock) -> str:
    """Return a line for each package, without hashes."""
    return "".join(f"{name}=={version}\n" for name, (version, _) in lock.items())


def main() -> None:
    """Write the four locks."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--upgrade", action="store_true")
    arguments.add_argument("files", nargs="*", type=Path)
    given = arguments.parse_args()
    old = {path: parse(path.read_text()) if path.exists() else {} for path in HEADERS}
    kept = {} if given.upgrade else old[ALL] | old[CUDA]
    everything = resolve(kept, "", "pyproject.toml", "--extra=dev")
    node = resolve(everything, "", "pyproject.toml", within=everything)
    tools = resolve({} if given.upgrade else old[TOOLS], "\n".join(TOOL_NAMES))
    new = {
        ALL: {name: one for name, one in everything.items() if not OF_CUDA.fullmatch(name)},
        NODE: {name: one for name, one in node.items() if not OF_CUDA.fullmatch(name)},
        CUDA: {name: one for name, one in node.items() if OF_CUDA.fullmatch(name)},
        TOOLS: tools,
    }
    for path in (ALL, NODE):
        keep_builds(new[path], old[path], given.files)
    for path, lock in new.items():
        path.write_text(render(lock, HEADERS[path]))


if __name__ == "__main__":
    main()
