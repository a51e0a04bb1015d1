"""Has the backbone seen in pretraining what it will be tested on?"""

from __future__ import annotations

import logging
from functools import cache

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.model.provenance import Provenance, Use, read_provenance
from hyena_ray.training.settings import RunSettings

logger = logging.getLogger(__name__)

_SEEN: dict[Use, str] = {"trained": "trained on", "held_out": "held out, so it may have chosen"}


def warn_of_leak(settings: RunSettings, manifest: Manifest) -> None:
    """Log in one line, once in a process, which test contigs the backbone has seen in pretraining,
    or that it cannot be known.

    Args:
        settings: of a run.
        manifest: of the prepared windows; not a fold's view of it.

    Raises:
        InputError: the record beside the backbone is damaged.
    """
    backbone = settings.model.backbone
    provenance = read_provenance(backbone)
    if provenance is not None:
        if settings.data.fold is not None:
            manifest = manifest.for_fold(settings.data.fold, "data.fold")
        problem = leak_of(provenance, manifest)
        if problem:
            _warn_once(f"{backbone}: {problem}")


def leak_of(provenance: Provenance, manifest: Manifest) -> str:
    """What the test windows have in common with a pretraining, or those that it went on from, or
    that simulated DNA has come into real data; in words, empty where there is nothing.

    Weights of others, which stand beside no record, are not asked about: published ones have read
    whole genomes.
    """
    problems = [_leak_of_one(of, manifest) for of in provenance.lineage]
    return "; ".join(dict.fromkeys(filter(None, problems)))


def _leak_of_one(provenance: Provenance, manifest: Manifest) -> str:
    if not manifest.simulated and (problem := provenance.simulated_only()):
        return problem
    genomes = [file.sha256 for file in manifest.inputs if file.role == "genome"]
    if not genomes:
        return (
            "was pretrained on a genome, and the data are sequences that do not say where they lie "
            "in one: whether test sequences were seen in pretraining is unknown"
        )
    if genomes != [provenance.genome_sha256]:
        return (
            f"was pretrained on another genome file ({provenance.genome}) than the data are cut "
            "from: whether test contigs were seen in pretraining is unknown"
        )
    tested = {
        count.contig
        for count in manifest.counts
        if count.split == "test" and count.positive + count.negative
    }
    seen = [
        f"{contig.name} ({_SEEN[contig.use]})"
        for contig in provenance.contigs
        if contig.name in tested and contig.use in _SEEN
    ]
    if seen:
        return f"test contigs were seen in pretraining: {', '.join(seen)}; test figures flatter it"
    if provenance.began_from is not None and provenance.before is None:
        return (
            f"its pretraining went on from {provenance.began_from}: whether that had seen test "
            "contigs is unknown"
        )
    return ""


@cache
def _warn_once(message: str) -> None:
    """A search checks every trial's settings."""
    logger.warning("%s", message)
