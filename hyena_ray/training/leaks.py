"""Whether a model has seen what it is tested on: in pretraining, in training, or to choose."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from functools import cache

from hyena_ray.dataset.manifest import Manifest
from hyena_ray.dataset.origin import Origin
from hyena_ray.genome.splits import VALIDATION
from hyena_ray.model.provenance import Provenance, Use, read_provenance
from hyena_ray.training.settings import RunSettings

logger = logging.getLogger(__name__)

TRAINED = "trained on"
"""Use of a contig that a model was trained on."""
_SEEN: dict[Use, str] = {"trained": "trained on", "held_out": "held out, so it may have chosen"}


def warn_of_leak(settings: RunSettings, manifest: Manifest) -> None:
    """Log which test contigs the backbone has seen in pretraining, or that it cannot be known.

    One line, once in a process.

    Args:
        settings: Settings of a run.
        manifest: Manifest of the prepared windows; not a fold's view of it.

    Raises:
        InputError: The record next to the backbone is damaged.
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
    """Describe what a backbone has seen of the test windows, or that it knows simulated DNA alone.

    The pretraining and those that it started from are asked. Weights without a record are not:
    published ones have read whole genomes.

    Args:
        provenance: What the backbone has seen.
        manifest: Manifest of the prepared windows, as the run sees them.

    Returns:
        The problem in words; empty where there is none.
    """
    problems = [_pretraining_leak(pretraining, manifest) for pretraining in provenance.lineage]
    return "; ".join(dict.fromkeys(filter(None, problems)))


def _pretraining_leak(provenance: Provenance, manifest: Manifest) -> str:
    if not manifest.simulated and (problem := provenance.simulated_only()):
        return problem
    genomes = [file.sha256 for file in manifest.inputs if file.role == "genome"]
    if not genomes:
        return (
            "was pretrained on a genome, and the data are sequences that do not say where they are "
            "in one: whether test sequences were seen in pretraining is unknown"
        )
    if genomes != [provenance.genome_sha256]:
        return (
            f"was pretrained on another genome file ({provenance.genome}) than the data are cut "
            "from: whether test contigs were seen in pretraining is unknown"
        )
    tested = {
        count.contig
        for count in manifest.counts_of(manifest.lengths[0], "test")
        if count.positive + count.negative
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
            f"its pretraining started from {provenance.began_from}: whether that had seen test "
            "contigs is unknown"
        )
    return ""


@cache
def _warn_once(message: str) -> None:
    """Log a warning once, since a search checks every trial's settings."""
    logger.warning("%s", message)


def seen_in_training(trained_on: Origin, data: Origin, split: str, length: int) -> tuple[str, ...]:
    """Return the contigs of a split that a model was trained on, or that chose its epoch.

    The data that a model was trained on are not asked about: there its splits keep apart what it
    may see. Nor are those of another genome file, whose contigs may be others of the same names.

    Args:
        trained_on: Data that the model was trained on.
        data: Data that it is scored on.
        split: Name of the split that is scored.
        length: Window length of the model, in bases.

    Returns:
        Name and use of every such contig.
    """
    if trained_on.manifest_sha256 == data.manifest_sha256:
        return ()
    before, now = trained_on.manifest, data.manifest
    genomes = [
        {file.sha256 for file in manifest.inputs if file.role == "genome"}
        for manifest in (before, now)
    ]
    if not genomes[0] & genomes[1]:
        return ()
    used = used_contigs(trained_on)
    scored = [c.contig for c in now.counts_of(length, split) if c.positive + c.negative]
    return tuple(f"{contig} ({used[contig]})" for contig in scored if contig in used)


def teacher_leak(
    trained_on: Origin | None, data: Origin, length: int
) -> tuple[dict[str, tuple[str, ...]], str]:
    """Describe what a teacher has seen of the held-out contigs of the data that it teaches.

    A student learns from it what it has seen there, so that its own figures are flattered as well.

    Args:
        trained_on: Data that the teacher was trained on; None where it does not say.
        data: Data of the student, with the manifest of the fold's view where they are in folds.
        length: Window length of the student, in bases.

    Returns:
        By split, name and use of every held-out contig that the teacher was trained on, or that
        chose its epoch; and the problem in words, empty where there is none.
    """
    splits, unknown = (VALIDATION, "test"), "whether it has seen held-out contigs is unknown"
    if trained_on is None:
        return dict.fromkeys(splits, ()), f"does not say what it was trained on: {unknown}"
    seen = {split: seen_in_training(trained_on, data, split, length) for split in splits}
    contigs = ", ".join(dict.fromkeys(contig for split in splits for contig in seen[split]))
    if contigs:
        return seen, f"has seen held-out contigs: {contigs}; figures of what it teaches flatter it"
    if trained_on.manifest.folds and trained_on.manifest_sha256 == data.manifest_sha256:
        return seen, f"was trained on a fold of the same data: {unknown}"
    if trained_on.manifest.simulated and not data.manifest.simulated:
        return seen, "was trained on a simulated genome, from which it knows nothing of real DNA"
    genomes = [
        {file.sha256 for file in manifest.inputs if file.role == "genome"}
        for manifest in (trained_on.manifest, data.manifest)
    ]
    if all(genomes) and not genomes[0] & genomes[1]:
        return seen, f"was trained on another genome file: {unknown}"
    return seen, ""


def used_contigs(trained_on: Origin) -> dict[str, str]:
    """Return the contigs that a model was trained on, or that chose its epoch, and their use.

    Args:
        trained_on: Data that the model was trained on.
    """
    manifest = trained_on.manifest
    uses = {VALIDATION: "chose its epoch and threshold", "test": ""}
    used: dict[str, str] = {}
    for length, name in itertools.product(manifest.lengths, manifest.splits):
        for count in manifest.counts_of(length, name):
            # In folds, every contig is trained on by some model.
            use = uses.get(name, TRAINED)
            if use and count.positive + count.negative and used.get(count.contig) != TRAINED:
                used[count.contig] = use
    return used


def seen_contigs(
    trained_on: Origin, contigs: Mapping[str, int]
) -> tuple[dict[str, str], list[str]]:
    """Return which contigs of any genome a model was trained on, or chose its epoch.

    A contig is taken for the same if its name and its length are. One of the same name and of
    another length may be of another assembly or species, or a longer piece of the same chromosome.

    Args:
        trained_on: Data that the model was trained on.
        contigs: Length of every contig of the genome, by name.

    Returns:
        Every contig that was used, with its use; and those of which only the name is that of one.
    """
    before = {entry.name: entry.length for entry in trained_on.manifest.contigs}
    named = {name: use for name, use in used_contigs(trained_on).items() if name in contigs}
    same = {name: use for name, use in named.items() if before.get(name) == contigs[name]}
    return same, [name for name in named if name not in same]


def held_out_leak(provenance: Provenance) -> str:
    """Describe what the weights that a pretraining starts from have seen of its held-out bases.

    That they know simulated DNA alone and the pretraining reads real DNA is a problem too. A contig
    is recognised by its bases, so that neither its name nor its file hides it. Weights without a
    record are not asked about.

    Args:
        provenance: What the weights that the run will leave have seen.

    Returns:
        The problems in words; empty where there are none.
    """
    return "; ".join(dict.fromkeys(_held_out_leaks(provenance)))


def _held_out_leaks(provenance: Provenance) -> Iterator[str]:
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
