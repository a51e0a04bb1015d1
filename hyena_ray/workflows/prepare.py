"""Cut a genome into labelled windows, or read labelled sequences, and write them as Parquet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any, NamedTuple, cast

from pydantic import ValidationInfo, create_model, field_validator

from hyena_ray.dataset.manifest import Count, Manifest
from hyena_ray.dataset.preparation import (
    PrepareSettings,
    Recipe,
    SequenceSettings,
    check_recipe,
    prepare,
)
from hyena_ray.genome.assemblies import check_genome
from hyena_ray.genome.negatives import RANDOM
from hyena_ray.genome.source import check_is_file
from hyena_ray.genome.splits import parse_split
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.outcomes import DryRun, Outcome, windows_by_split
from hyena_ray.runs.record import MANIFEST
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import TASKS, task_named
from hyena_ray.workflows.workflow import Workflow, WritesRun

SHOWN = ("task", "lengths", "flank", "split", "counts", "dropped", "sequences", "regions")
"""Fields of the manifest that the job prints."""


class PrepareGenome(PrepareSettings, WritesRun):
    """Settings of a preparation of windows from a genome."""

    @field_validator("genome")
    @classmethod
    def _is_genome(cls, path: AnyPath) -> AnyPath:
        check_genome(path)
        return path

    @field_validator("regions", "blacklist")
    @classmethod
    def _is_file(cls, path: AnyPath | None, info: ValidationInfo) -> AnyPath | None:
        if path is not None:
            check_is_file(path, f"give --{info.field_name} a BED file")
        return path

    @field_validator("track")
    @classmethod
    def _are_tracks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        parse_tracks(texts)
        return texts

    @field_validator("split")
    @classmethod
    def _is_rule(cls, split: str | None) -> str | None:
        if split is not None:
            parse_split(split)
        return split


class PrepareSequences(SequenceSettings, WritesRun):
    """Settings of a preparation of labelled sequences."""

    @field_validator("train", "val", "test")
    @classmethod
    def _is_file(cls, path: AnyPath, info: ValidationInfo) -> AnyPath:
        check_is_file(path, f"give --{info.field_name} a CSV file")
        return path


class Preparation(NamedTuple):
    """A preparation that passed every check that needs no reading of the inputs."""

    recipe: Recipe
    folder: AnyPath
    """Absolute path of the folder to make."""
    overwrite: bool


def settings_for(task: str) -> type[PrepareGenome] | type[PrepareSequences]:
    """Return the class of settings with the defaults of a task.

    Args:
        task: Name of the task.
    """
    entry = task_named(task)
    base = PrepareGenome if entry.kind == "base" else PrepareSequences
    fields: dict[str, Any] = {}
    for name in ("lengths", "flank", "negatives"):
        if name in base.model_fields:
            field = copy(base.model_fields[name])
            default = getattr(entry, name)
            field.default = f"{RANDOM}:{default:g}" if name == "negatives" else default
            fields[name] = (field.annotation, field)
    model = create_model(f"Prepare_{task}", __base__=base, **fields)
    return cast(type[PrepareGenome] | type[PrepareSequences], model)


def validate(settings: PrepareGenome | PrepareSequences) -> Preparation:
    """Check the task and the folder.

    Args:
        settings: Settings of the preparation.

    Raises:
        InputError: The folder may not be written.
    """
    output = check_recipe(settings, settings.out, overwrite=settings.overwrite)
    return Preparation(settings, output.folder, settings.overwrite)


def dry_run(preparation: Preparation) -> DryRun:
    """Read all inputs and count the windows. Takes about as long as the preparation.

    Args:
        preparation: What is prepared.

    Raises:
        InputError: An input cannot be used.
    """
    started = time.monotonic()
    manifest = preparation.recipe.write(None)
    seconds = time.monotonic() - started
    windows = _by_split(manifest.counts)
    stretches = {} if manifest.stretches is None else _by_split(manifest.stretches.counts)
    contigs = f"{len(manifest.contigs)} contigs, {sum(c.length for c in manifest.contigs):,} bases"
    return DryRun(
        plan={
            "task": task_named(manifest.task).title,
            "inputs": ", ".join(map(str, preparation.recipe.inputs)),
            "labels": manifest.label_source,
            "regions": "" if manifest.regions is None else manifest.regions.lengths_text(),
            "kept": "; ".join(entry.text() for entry in manifest.label_coverage),
            "genome": contigs if manifest.contigs else "",
            "tracks": "; ".join(track.text() for track in manifest.tracks),
            "split": manifest.split,
            "windows": f"with {manifest.flank} bases on each side",
            **{f"  {name}": windows_by_split(counts) for name, counts in windows.items()},
            **{f"stretches of {name}": windows_by_split(c) for name, c in stretches.items()},
            "runs on": "one process of this machine",
        },
        values={
            "windows": windows,
            "stretches": stretches,
            "split": manifest.split,
            "flank": manifest.flank,
            "regions": manifest.model_dump(mode="json")["regions"],
            "labels": [entry.model_dump(mode="json") for entry in manifest.label_coverage],
            "tracks": [track.model_dump(mode="json") for track in manifest.tracks],
        },
        outputs=outputs(preparation.folder),
        seconds=seconds,
        timed="reading and cutting all inputs; writing comes on top",
        simulated=manifest.simulated,
    )


def _by_split(counts: Iterable[Count]) -> dict[str, dict[str, int]]:
    """Add up windows or stretches by length and split."""
    sums: dict[str, dict[str, int]] = {}
    for count in counts:
        of_length = sums.setdefault(f"{count.length} bases", {})
        number = count.positive + count.negative
        of_length[count.split] = of_length.get(count.split, 0) + number
    return sums


def execute(preparation: Preparation) -> Manifest:
    """Write the windows.

    Args:
        preparation: What is prepared.

    Raises:
        InputError: An input cannot be used.
    """
    return prepare(preparation.recipe, preparation.folder, overwrite=preparation.overwrite)


def present(preparation: Preparation, manifest: Manifest) -> Outcome:
    """Say how many windows there are, and which shape their regions have.

    Args:
        preparation: What was prepared.
        manifest: Manifest of the data.
    """
    values = manifest.model_dump(mode="json")
    found = {key: values[key] for key in SHOWN}
    found["labels"] = [entry.model_dump(mode="json") for entry in manifest.label_coverage]
    found["tracks"] = [track.model_dump(mode="json") for track in manifest.tracks]
    shape = () if manifest.regions is None else (manifest.regions.table(),)
    text = "\n".join((manifest.table(), *shape))
    return Outcome(text, found, outputs(preparation.folder), manifest.simulated)


def outputs(folder: AnyPath) -> dict[str, AnyPath]:
    """Return where the outputs of a preparation are.

    Args:
        folder: Folder of the prepared data.
    """
    return {"prepared data": folder, "summary": folder / MANIFEST}


def _examples() -> Sequence[str]:
    return (
        "prepare zdna --genome hg19.fa.gz --regions zdna.bed --blacklist blacklist.bed "
        '--split "contig:train=chr13,chr14,chrX;val=chr7;test=chr20" --lengths 100,256 '
        "--out prepared",
        "prepare zdna --genome hg19.fa.gz --regions zdna.bed --track dnase=dnase.bw "
        "--track pol2=pol2.bw --out prepared",
        "prepare g4 --genome hg38 --regions peaks.narrowPeak.gz --out prepared",
        "prepare zdna --genome hg19.fa.gz --regions zdna.bed --out prepared --dry-run",
        "prepare promoter --train train.csv --val dev.csv --test test.csv --out promoters",
    )


WORKFLOW = Workflow(
    name="prepare",
    about=__doc__,
    settings=settings_for,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="task, lengths, flank, split, counts by length, split and contig, dropped, "
    "sequences, regions (their shape), labels (kept and lost, by length and split), tracks",
    examples=tuple(_examples()),
    tasks=tuple(TASKS),
)
