"""Whether weights have seen in pretraining what they will be tested on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
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
        problem = backbone_leak(provenance, manifest)
        if problem:
            _warn_once(f"{backbone}: {problem}")


def backbone_leak(provenance: Provenance, manifest: Manifest) -> str:
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


def held_out_leak(provenance: Provenance) -> str:
    """What the weights that a pretraining goes on from have seen of the bases that it holds out,
    or that they know simulated DNA and it reads real; in words, empty where there is nothing.

    A contig is told by its bases, so that neither its name nor its file hides it. Weights of
    others, which stand beside no record, are not asked about.

    Args:
        provenance: of the weights that the run will leave.
    """
    return "; ".join(dict.fromkeys(_leaks_of(provenance)))


def _leaks_of(provenance: Provenance) -> Iterator[str]:
    for before in provenance.lineage[1:]:
        if not provenance.simulated and (problem := before.simulated_only()):
            yield problem
        trained = {contig.sha256: contig.trained for contig in before.contigs}
        seen = [
            contig.name
            for contig in provenance.contigs
            if contig.use != "left_out" and trained.get(contig.sha256, 0) > contig.trained
        ]
        if seen:
            yield (
                f"held-out bases were trained on before, of {', '.join(seen)}; their perplexity "
                "flatters it"
            )
