"""Where the weights of a backbone come from, and which DNA they have seen in pretraining."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field

from hyena_ray.files import read_json
from hyena_ray.settings import Settings
from hyena_ray.storage import location

PROVENANCE = "pretraining.json"
"""File in a backbone's folder that says what its weights have seen, lest it be tested on that."""

Use = Literal["trained", "held_out", "left_out"]
"""Role of a contig in a pretraining: weights were learnt from it; it was scored, and may so have
chosen settings; or nothing of it was read."""


class ContigUse(Settings):
    """A contig of the genome."""

    name: str
    length: int = Field(gt=0)
    sha256: str
    """Digest of its bases: upper-case letters A C G T, N for any other."""
    use: Use
    trained: int = Field(ge=0)
    """Number of its first bases that weights were learnt from; what is scored comes after them."""


class Provenance(Settings):
    """Data and settings that a backbone was pretrained with."""

    objective: str
    """Name of the objective of the pretraining."""
    genome: str
    """Name of the genome's file."""
    genome_sha256: str
    """Digest of the file as stored."""
    simulated: bool
    """Whether the genome is simulated."""
    contigs: tuple[ContigUse, ...]
    """All contigs of the genome."""
    began_from: str | None
    """Hub id or folder name of the initial weights; None for random ones."""
    before: Provenance | None
    """Provenance of the initial weights: what they had seen comes on top. None where unknown."""

    @property
    def lineage(self) -> tuple[Provenance, ...]:
        """This pretraining, that of its initial weights, and so on, as far as is known."""
        return (self, *(() if self.before is None else self.before.lineage))

    def simulated_only(self) -> str:
        """Return the warning for a use on real DNA; empty if the genome is real."""
        if not self.simulated:
            return ""
        return (
            f"was pretrained on a simulated genome ({self.genome}), from which it knows nothing of "
            "real DNA"
        )


def read_provenance(backbone: str | PurePath | None) -> Provenance | None:
    """Read what is stored next to the weights in a folder.

    Args:
        backbone: A folder, its URI or a hub id; None for random weights.

    Returns:
        None for random weights, a hub id, and weights of others.

    Raises:
        InputError: The file is damaged.
    """
    if backbone is None:
        return None
    path = location(str(backbone)).expanduser() / PROVENANCE
    if not path.is_file():
        return None
    return Provenance.parse(read_json(path), path)


def is_hub_id(source: str | PurePath) -> bool:
    """Return whether `source` can only be the id of a model on the hub.

    Args:
        source: A folder or a hub id.

    Example:
        >>> is_hub_id("LongSafari/hyenadna-tiny-1k-seqlen-hf")
        True
    """
    return (
        re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(source)) is not None
        and not Path(source).expanduser().exists()
    )


def public_name(source: str | PurePath) -> str:
    """Return a hub id, or the last part of a folder's path: the rest is one machine's.

    Args:
        source: A folder or a hub id.

    Example:
        >>> public_name("/home/somebody/runs/best/model")
        'model'
    """
    return str(source) if is_hub_id(source) else PurePath(source).name
