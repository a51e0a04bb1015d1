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
    return [line for line in lines(page) if line.startswith("python jobs/")]


def job_of(line: str) -> str:
    """prepare of python jobs/prepare.py ..."""
    return Path(shlex.split(line)[1]).stem


def type_in(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a folder in which jobs/ and search_spaces/ lie, as in a clone, with this
    environment activated."""
    for name in ("jobs", "search_spaces"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(line),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
