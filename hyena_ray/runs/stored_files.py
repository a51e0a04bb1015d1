"""The files of a complete run as its manifest lists them, and what has become of them since.

A manifest lists every file of the outputs with its size and sha256. A run inside another one is
listed by its own manifest alone, which lists the rest, so that no file is hashed for two manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import Field, field_validator

from hyena_ray.files import sha256_file
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

MANIFEST = "manifest.json"
"""Name of the file that is written last: its presence means that the run is complete."""


class StoredFile(Settings):
    """A file of a complete run."""

    path: str
    """Path relative to the folder."""
    bytes: int = Field(ge=0)
    """Size of the file."""
    sha256: str
    """Hex SHA-256 of the file."""

    @field_validator("path")
    @classmethod
    def _is_inside(cls, text: str) -> str:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("leads out of the folder")
        return text

    @classmethod
    def of(cls, folder: AnyPath, path: str) -> StoredFile:
        """Measure and hash a file.

        Args:
            folder: Folder of the run.
            path: Path of the file relative to the folder.
        """
        file = folder / path
        return cls(path=path, bytes=size_of(file), sha256=sha256_file(file))


class Fault(NamedTuple):
    """A file that is not what the manifest lists."""

    path: str
    """Path relative to the folder."""
    problem: str
    """What is wrong with it."""

    def __str__(self) -> str:
        """Return path and problem."""
        return f"{self.path} {self.problem}"

    def is_of(self, output: str) -> bool:
        """Tell whether the file is an output, or is inside it.

        Args:
            output: Path of a file or folder, relative to the folder of the run.
        """
        return PurePosixPath(self.path).is_relative_to(output)


def size_of(path: AnyPath) -> int:
    """Return the size of a file in bytes.

    Args:
        path: The file.
    """
    with path.open("rb") as stream:
        return stream.seek(0, 2)


def list_files(folder: AnyPath, names: Iterable[str]) -> tuple[StoredFile, ...]:
    """List the files of a run.

    Args:
        folder: Folder of the run.
        names: Paths of files and folders relative to it; those that are not there are left out, and
            so are files whose name begins with a dot.

    Returns:
        The files in order of their paths; of a run inside the folder its manifest alone.
    """
    paths = {path for name in names for path in _below(folder, PurePosixPath(name))}
    return tuple(StoredFile.of(folder, str(path)) for path in sorted(paths))


def _below(folder: AnyPath, name: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield the files of an output, relative to the folder of the run."""
    for part in (*reversed(name.parents), name):
        if part.parts and (folder / part / MANIFEST).is_file():
            yield part / MANIFEST
            return
    if (folder / name).is_file():
        yield name
    elif (folder / name).is_dir():
        for path in (folder / name).iterdir():
            if not path.name.startswith("."):
                yield from _below(folder, name / path.name)


def find_faults(folder: AnyPath, files: Iterable[StoredFile]) -> list[Fault]:
    """Hold files against what was listed.

    Args:
        folder: Folder of the run.
        files: Files of the run, as they were listed.

    Returns:
        Files that are missing, or have another size or content.
    """
    problems = {file.path: _problem(folder / file.path, file) for file in files}
    return [Fault(path, problem) for path, problem in problems.items() if problem]


def _problem(path: AnyPath, file: StoredFile) -> str:
    if not path.is_file():
        return "is missing"
    size = size_of(path)
    if size != file.bytes:
        return f"is damaged: it has {size:,} bytes, not {file.bytes:,}"
    return "" if sha256_file(path) == file.sha256 else "was changed: its sha256 differs"
