"""The data that a result was made from: `data.json` in its folder, readable without the data."""

from __future__ import annotations

from typing import Self

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.runs.record import MANIFEST
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

NAME = "data.json"
"""Name of the file."""


class Origin(Settings):
    """Prepared data that a result was made from."""

    folder: str
    """Folder of the data when they were read."""
    manifest_sha256: str
    """sha256 of the data's `manifest.json`."""
    manifest: Manifest
    """Manifest of the whole data, also where a fold was read; without its list of files."""
    teachers: tuple[Origin, ...] = ()
    """Data that the teachers of a model were trained on: what they have seen, it has seen."""

    @property
    def lineage(self) -> tuple[Origin, ...]:
        """These data, those of the teachers, of their teachers, and so on, as far as is known."""
        return (self, *(origin for teacher in self.teachers for origin in teacher.lineage))

    @classmethod
    def from_data(cls, data: PreparedData) -> Self:
        """Return the origin of a result that is made from prepared data.

        Args:
            data: The data, or the view of a fold.
        """
        whole = PreparedData.open(data.folder).manifest
        return cls(
            folder=str(data.folder),
            manifest_sha256=sha256_file(data.folder / MANIFEST),
            manifest=whole.without_files(),
        )

    def write(self, folder: AnyPath) -> None:
        """Write `data.json`.

        Args:
            folder: Folder of the result.
        """
        write_json(folder / NAME, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read `data.json`.

        Args:
            folder: Folder of a result.

        Raises:
            InputError: The file is missing or does not have this form.
        """
        return cls.parse(read_json(folder / NAME), folder / NAME)
