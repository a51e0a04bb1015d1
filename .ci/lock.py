"""Write the locks, with the hash of every file that may be installed: `make lock`.

    python .ci/lock.py [--upgrade] [WHEEL ...]

Versions stay as they are, but for what no longer fits to pyproject.toml, or with --upgrade. PyTorch
has locks of its own, since PyPI's build needs libraries of CUDA and that for the CPU does not. PyPI
does not have the latter: WHEEL is a file of it, once for each version. Where both were in one lock,
pip would take PyPI's, and ask for hashes of its libraries.
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

ALL, NODE = Path("requirements.lock"), Path("requirements-node.lock")
CPU, CUDA = Path("requirements-cpu.lock"), Path("requirements-cuda.lock")
TOOLS = Path("requirements-security.lock")
HEADERS = {
    ALL: "The project with all tools for its development, but for PyTorch.",
    NODE: "What a node needs to run jobs, but for PyTorch: a part of requirements.lock.",
    CPU: "PyTorch for the CPU, which PyPI does not have.",
    CUDA: "PyTorch for CUDA, as PyPI has it, and its libraries.",
    TOOLS: "Tools that read the code and the locks, in an environment of their own.",
}
TOOL_NAMES = ("bandit", "cyclonedx-bom", "pip-audit", "uv")
OF_CUDA = re.compile(r"torch|(nvidia|cuda)-.*|triton")
"""Names of PyTorch, and of packages that only its build for CUDA needs."""
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


def for_cpu(version: str, before: Lock, files: Iterable[Path]) -> Lock:
    """Return the lock of PyTorch for the CPU.

    Args:
        version: Version of PyTorch on PyPI.
        before: The same lock as it was; its hashes are kept where the version is the same.
        files: Wheels of it.

    Raises:
        SystemExit: A wheel is another one, or there is none.
    """
    wanted = f"{version}+cpu"
    hashes = set(before["torch"][1]) if before.get("torch", ("",))[0] == wanted else set()
    for file in files:
        if not file.name.startswith(f"torch-{wanted}-"):
            raise SystemExit(f"{file}: is not torch {wanted}")
        hashes.add(hashlib.sha256(file.read_bytes()).hexdigest())
    if not hashes:
        raise SystemExit(f"torch {wanted}: name a wheel of it, whose hash is written")
    return {"torch": (wanted, hashes)}


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
    """Write the five locks."""
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
        CPU: for_cpu(node["torch"][0], old[CPU], given.files),
        CUDA: {name: one for name, one in node.items() if OF_CUDA.fullmatch(name)},
        TOOLS: tools,
    }
    for path, lock in new.items():
        path.write_text(render(lock, HEADERS[path]))


if __name__ == "__main__":
    main()
