"""What the pages of the documentation tell a reader to type, and how it is typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(page: str, language: str = "") -> list[str]:
    """Code blocks of a page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def lines(page: str) -> list[str]:
    """Lines of all blocks without a language, continued ones joined."""
    return "\n".join(blocks(page)).replace("\\\n", " ").splitlines()


def job_commands(page: str) -> list[str]:
    """Lines that run a job."""
    return [line for line in lines(page) if line.startswith("hyena-ray ")]


def job_of(line: str) -> str:
    """Return the name of the job that a line runs, such as prepare of hyena-ray prepare zdna."""
    return shlex.split(line)[1]


def type_in(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a folder with search_spaces/, as in a clone, with this environment activated.

    `hyena-ray` runs as `python -m hyena_ray`, which is the same, so that the package need not be
    installed anew where its commands change.
    """
    if not (folder / "search_spaces").exists():
        (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = shlex.split(line)
    if words[0] == "hyena-ray":
        words = [sys.executable, "-m", "hyena_ray", *words[1:]]
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
