"""What a backbone has seen in pretraining: stands beside its weights, lest it be tested on that."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field

from hyena_ray.files import read_json
from hyena_ray.settings import Settings
from hyena_ray.storage import location

PROVENANCE = "pretraining.json"
"""In a backbone's folder."""

Use = Literal["trained", "held_out", "left_out"]
"""What a contig was to a pretraining: weights were learnt from it; it was scored, and may so have
chosen settings; or nothing of it was looked at."""


class ContigUse(Settings):
    """A contig of the genome."""

    name: str
    length: int = Field(gt=0)
    sha256: str
    """Of its bases: upper-case letters A C G T, N for any other."""
    use: Use
    trained: int = Field(ge=0)
    """Its first bases, as many as weights were learnt from; what is scored comes after them."""


class Provenance(Settings):
    """Of the weights of a backbone."""

    objective: str
    genome: str
    """Name of the file."""
    genome_sha256: str
    """Of the file as stored."""
    simulated: bool
    """Whether the genome is."""
    contigs: tuple[ContigUse, ...]
    """All of the genome."""
    began_from: str | None
    """The weights that it went on from, a hub id or the name of a folder; None: random ones."""
    before: Provenance | None
    """Of those weights: what they had seen comes on top. None where nothing stands beside them."""

    @property
    def lineage(self) -> tuple[Provenance, ...]:
        """This pretraining, the one that it went on from, and so on, as far as is known."""
        return (self, *(() if self.before is None else self.before.lineage))

    def simulated_only(self) -> str:
        """What to say where real DNA is read with such weights; empty if their genome is real."""
        if not self.simulated:
            return ""
        return (
            f"was pretrained on a simulated genome ({self.genome}), from which it knows nothing of "
            "real DNA"
        )


def read_provenance(backbone: str | PurePath | None) -> Provenance | None:
    """What stands beside the weights in a folder; None for random weights, a hub id, and weights of
    others.

    Raises:
        InputError: the file is damaged.
    """
    if backbone is None:
        return None
    path = location(str(backbone)).expanduser() / PROVENANCE
    if not path.is_file():
        return None
    return Provenance.parse(read_json(path), path)
