"""What was run, on which data and with which settings; and what a reader must know first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from hyena_ray.dataset.manifest import Manifest, kinds_text
from hyena_ray.outcomes import SIMULATED
from hyena_ray.prediction.embedding_shards import EmbedRecord
from hyena_ray.prediction.prediction_record import PredictionRecord
from hyena_ray.prediction.variant_record import VariantRecord
from hyena_ray.progress import count_noun
from hyena_ray.report._page import Block, Section, Table, brief, file_link, in_a_sentence
from hyena_ray.report.run_contents import (
    EmbedContents,
    PredictContents,
    PretrainContents,
    RunContents,
    TrainContents,
    TuneContents,
    VariantContents,
)
from hyena_ray.runs.record import KINDS
from hyena_ray.settings import dotted
from hyena_ray.training.pretrain_record import PretrainRecord
from hyena_ray.workflows.train import TrainRecord
from hyena_ray.workflows.tune import TuneRecord


def page_warnings(contents: RunContents) -> list[str]:
    """Return what a reader must know first: simulated data, and leaks between splits.

    Args:
        contents: What the run's folder holds.
    """
    warnings = [f"{SIMULATED[0].upper()}{SIMULATED[1:]}."] if contents.simulated else []
    if contents.origin is None:
        return warnings
    manifest = contents.origin.manifest
    warnings += [f"{warning}." for warning in manifest.label_warnings()]
    if not manifest.contigs:
        warnings += [
            f"{rows.dropped:,} of {rows.rows:,} sequences of {rows.split} are also in the file of "
            "a later split. They were left out, so that no sequence is both trained on and tested; "
            "sequences that are similar but not equal were not looked for."
            for rows in manifest.sequences
            if rows.dropped
        ]
    elif not manifest.split.startswith(("contig", "file")):
        warnings.append(
            f"The windows were split by {manifest.split}, not by contig, so neighbours of training "
            "windows are tested. This flatters every figure here."
        )
    if conflicting := sum(rows.conflicting for rows in manifest.sequences):
        verb = "has" if conflicting == 1 else "have"
        warnings.append(f"{count_noun(conflicting, 'sequence')} {verb} both labels in one file.")
    return warnings


def run_section(contents: RunContents) -> Section:
    """Show what was run, the data, their files, all settings and package versions.

    Args:
        contents: What the run's folder holds.
    """
    blocks: list[Block] = [Table("The run", ["what", "value"], list(_facts(contents)))]
    if contents.origin is not None:
        manifest = contents.origin.manifest
        blocks.append(_counts(manifest))
        files = [[file.role, file.name, file.sha256] for file in manifest.files_read]
        blocks.append(
            Table("Files that the data were made from", ["role", "file", "sha256"], files, True)
        )
    if settings := _settings(contents):
        blocks.append(_folded("All settings", ["setting", "value"], settings))
    if contents.attribution is not None:
        settings = contents.attribution.plan.settings.model_dump(mode="json")
        blocks.append(_folded("Settings of the attribution", ["setting", "value"], settings))
    if contents.files:
        listed = [[file_link(file.path), f"{file.bytes:,}"] for file in contents.files]
        blocks.append(Table("Files of the run", ["file", "bytes"], listed, folded=True))
    if versions := contents.provenance.versions:
        blocks.append(_folded("Versions", ["package", "version"], versions))
    return Section("run", "What was run", blocks)


def _folded(title: str, heads: list[str], values: Mapping[str, Any]) -> Table:
    return Table(title, heads, [[key, brief(value)] for key, value in values.items()], folded=True)


def _settings(contents: RunContents) -> Mapping[str, Any]:
    match contents:
        case TuneContents() | TrainContents():
            return dotted(contents.settings)
        case PretrainContents():
            return dotted(contents.record.settings.model_dump(mode="json"))
    return {}


def _facts(contents: RunContents) -> Iterator[list[str]]:
    yield ["kind", KINDS[contents.kind].noun]
    if contents.task is not None:
        yield ["task", contents.task.title]
    yield ["folder", str(contents.folder)]
    if contents.provenance.command:
        yield ["command", shlex.join(contents.provenance.command)]
        yield ["started", contents.provenance.started]
    if contents.provenance.ran_on:
        yield ["ran on", "; ".join(dict.fromkeys(contents.provenance.ran_on))]
    match contents:
        case TuneContents():
            yield from _search_facts(contents.summary)
        case TrainContents():
            yield from _training_facts(contents.record)
        case PretrainContents():
            yield from _pretraining_facts(contents.record)
        case PredictContents():
            yield from _prediction_facts(contents.record)
        case EmbedContents() | VariantContents():
            yield from _window_facts(contents.record)
    if contents.origin is not None:
        yield ["data", contents.origin.folder]
        yield ["labels", contents.origin.manifest.label_source]
        yield ["sha256 of the data's manifest", contents.origin.manifest_sha256]
    elif isinstance(contents, TuneContents):
        yield ["sha256 of the data's manifest", contents.summary.data]


def _search_facts(summary: TuneRecord) -> Iterator[list[str]]:
    states = in_a_sentence(f"{count:,} {state}" for state, count in summary.trials.items())
    yield ["trials", states]
    yield ["best trial", str(summary.best_trial)]
    for key, value in summary.settings.items():
        yield [f"its {key}", brief(value)]
    times = in_a_sentence(f"{step} {seconds:,.0f} s" for step, seconds in summary.seconds.items())
    yield ["time", times]


def _training_facts(record: TrainRecord) -> Iterator[list[str]]:
    yield ["best epoch", str(record.best_epoch)]
    yield ["weights trained", f"{record.trainable_share:.1%}"]
    if record.teacher is not None:
        yield ["sha256 of the teacher", record.teacher.replace(",", ", ")]
    if record.seconds_per_epoch is not None:
        yield ["time of an epoch", f"{record.seconds_per_epoch:,.1f} s"]
    yield ["peak memory", f"{record.peak_memory / 2**20:,.0f} MiB"]


def _pretraining_facts(record: PretrainRecord) -> Iterator[list[str]]:
    provenance = record.provenance
    yield ["objective", record.settings.objective.replace("_", " ")]
    yield ["genome", provenance.genome]
    yield ["sha256 of the genome", provenance.genome_sha256]
    yield ["started from", provenance.began_from or "random weights"]
    if record.bases_per_second is not None:
        yield ["bases per second", f"{record.bases_per_second:,.0f}"]


def _prediction_facts(record: PredictionRecord) -> Iterator[list[str]]:
    settings = record.regions_settings
    yield ["sha256 of the genome", record.genome]
    yield ["sha256 of the model", record.model]
    yield ["windows", f"{record.window:,} bases, overlapping the next by {record.overlap:,}"]
    yield ["threshold", brief(settings.threshold)]
    yield ["regions of at least", f"{settings.min_length:,} bases"]
    yield ["regions joined over gaps of", f"{settings.merge_gap:,} bases"]
    yield ["sha256 of the probabilities", record.digest]


def _window_facts(record: EmbedRecord | VariantRecord) -> Iterator[list[str]]:
    for name, digest in record.inputs.items():
        yield [f"sha256 of the {name}", digest]
    yield ["windows", f"{record.window:,} bases, with {record.flank:,} on each side"]
    yield ["strands", record.strands]


def _counts(manifest: Manifest) -> Table:
    rows = []
    stretches = () if manifest.stretches is None else manifest.stretches.counts
    every = manifest.counts + stretches
    for length, split in dict.fromkeys((count.length, count.split) for count in every):
        counts = [c for c in every if (c.length, c.split) == (length, split)]
        row = [
            f"{split}, {length:,} bases",
            f"{sum(c.positive for c in counts):,}",
            f"{sum(c.negative for c in counts):,}",
            kinds_text(counts),
            f"{sum(c.candidates for c in counts):,}",
            f"{sum(c.labelled for c in counts):,}",
        ]
        if manifest.contigs:
            row.append(in_a_sentence(dict.fromkeys(c.contig for c in counts)))
        rows.append(row)
    heads = ["split", "positive", "negative", "by kind", "negatives available", "positive labels"]
    if manifest.contigs:
        heads.append("contigs")
    unit = "training windows and held-out stretches" if manifest.contigs else "sequences"
    return Table(f"The data: {unit} by split ({manifest.split})", heads, rows)
