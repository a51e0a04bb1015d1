"""The words of a model card on the weights that training began from."""

from __future__ import annotations

from hyena_ray.model.checkpoint import is_hub_id, public_name
from hyena_ray.model.provenance import Provenance, Use
from hyena_ray.model.settings import ModelSettings
from hyena_ray.progress import listed

NAMED = 30
"""Contigs that a line names: all of a mammal's chromosomes."""
_TASKS = {"next_base": "the next base", "masked": "masked bases"}
"""What the objectives of a pretraining predict."""
_USES: dict[Use, str] = {"held_out": "held out", "left_out": "left out"}


def from_hub(backbone: str | None) -> bool:
    """Whether a backbone is one that others can get."""
    return backbone is not None and is_hub_id(backbone)


def start_of(model: ModelSettings) -> str:
    """What a model was trained from."""
    if model.backbone is None:
        return "random weights"
    if from_hub(model.backbone):
        return f"`{model.backbone}` at revision `{model.revision}`"
    return f"pretrained weights in a folder `{public_name(model.backbone)}`"


def pretrained_on(provenance: Provenance) -> str:
    """What a backbone was pretrained on, and those that it went on from."""
    told = [_of_one(of) for of in provenance.lineage]
    oldest = provenance.lineage[-1].began_from
    if oldest is not None:
        told.append(f"from {as_text(oldest)}, whose own pretraining is unknown")
    return f"The backbone was pretrained {'; before that '.join(told)}."


def _of_one(provenance: Provenance) -> str:
    genome = f"{as_text(provenance.genome)} (sha256 `{provenance.genome_sha256}`)"
    if provenance.simulated:
        genome = f"the **simulated** genome {genome}"
    names: dict[Use, list[str]] = {}
    for contig in provenance.contigs:
        names.setdefault(contig.use, []).append(as_text(contig.name))
    told = f"on {genome} to predict {_TASKS.get(provenance.objective, provenance.objective)}: "
    told += f"trained on {listed(names.get('trained', ()), NAMED)}"
    rest = [f"{what} {listed(names[use], NAMED)}" for use, what in _USES.items() if use in names]
    return "; ".join([told, *rest])


def as_text(name: str) -> str:
    """Somebody's name for something, as nothing but text."""
    return f"`{' '.join(name.split()).replace('`', chr(39)).replace('|', '/')}`"
