"""What a result was made of: `data.json` in its folder, for whoever reads it without the data."""

from __future__ import annotations

from typing import Self

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.runs.record import MANIFEST
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

NAME = "data.json"


class Origin(Settings):
    """Prepared data as a result remembers them."""

    folder: str
    """Where they lay."""
    manifest_sha256: str
    manifest: Manifest
    """Of the whole folder, where a fold was used too; without its list of files."""

    @classmethod
    def of(cls, data: PreparedData) -> Self:
        """Of prepared data, or of those that a fold is a view of."""
        whole = PreparedData.open(data.folder).manifest
        return cls(
            folder=str(data.folder),
            manifest_sha256=sha256_file(data.folder / MANIFEST),
            manifest=whole.model_copy(update={"files": ()}),
        )

    def write(self, folder: AnyPath) -> None:
        """Write data.json."""
        write_json(folder / NAME, self.model_dump(mode="json"))

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read data.json.

        Raises:
            InputError: missing or not of this form.
        """
        return cls.parse(read_json(folder / NAME), folder / NAME)
