"""What was run, on what data, with which settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hyena_ray.report.blocks import Block, Section, Table, brief, in_a_sentence
from hyena_ray.report.contents import Contents
from hyena_ray.report.predicted import Predicted
from hyena_ray.training.pretrain_record import PretrainRecord


def made(contents: Contents) -> Section:
    """Always there: folder and kind at least."""
    blocks: list[Block] = [Table("The run", ["what", "value"], list(_run(contents)))]
    if contents.origin is not None:
        blocks.append(_data(contents))
        files = [[file.role, file.name, file.sha256] for file in contents.origin.manifest.inputs]
        blocks.append(
            Table("Files that the data were made from", ["as", "file", "sha256"], files, True)
        )
    flat = dict(_flat(contents.settings))
    if flat:
        rows = [[key, brief(value)] for key, value in flat.items()]
        blocks.append(Table("All settings", ["setting", "value"], rows, folded=True))
    if contents.kmers is not None:
        chosen = contents.kmers.plan.settings.model_dump(mode="json")
        rows = [[key, brief(value)] for key, value in chosen.items()]
        blocks.append(Table("Settings of the attribution", ["setting", "value"], rows, folded=True))
    if (of := contents.summary or contents.pretrained) is not None:
        versions = [[name, value] for name, value in of.versions.items()]
        blocks.append(Table("Versions", ["package", "version"], versions, folded=True))
    return Section("run", "What was run", blocks)


def _run(contents: Contents) -> Iterator[list[str]]:
    yield ["kind", contents.what]
    if contents.task is not None:
        yield ["task", contents.task.title]
    yield ["folder", str(contents.folder)]
    summary, record = contents.summary, contents.record
    if summary is not None:
        states = in_a_sentence(f"{number:,} {state}" for state, number in summary.trials.items())
        yield ["trials", states]
        yield ["best trial", str(summary.best_trial)]
        for key, value in summary.settings.items():
            yield [f"its {key}", brief(value)]
        took = in_a_sentence(
            f"{step} {seconds:,.0f} s" for step, seconds in summary.seconds.items()
        )
        yield ["time", took]
    if record is not None:
        yield ["best epoch", str(record.best_epoch)]
        yield ["weights trained", f"{record.trainable_share:.1%}"]
        if record.seconds_per_epoch is not None:
            yield ["time of an epoch", f"{record.seconds_per_epoch:,.1f} s"]
        yield ["memory at most", f"{record.peak_memory / 2**20:,.0f} MiB"]
    if contents.pretrained is not None:
        yield from _pretraining(contents.pretrained)
    if contents.predicted is not None:
        yield from _prediction(contents.predicted)
    if contents.origin is not None:
        yield ["data", contents.origin.folder]
        yield ["sha256 of their manifest", contents.origin.manifest_sha256]
    elif summary is not None:
        yield ["sha256 of the data's manifest", summary.data]


def _pretraining(record: PretrainRecord) -> Iterator[list[str]]:
    provenance = record.provenance
    yield ["objective", record.settings.objective.replace("_", " ")]
    yield ["genome", provenance.genome]
    yield ["sha256 of the genome", provenance.genome_sha256]
    yield ["began from", provenance.began_from or "random weights"]
    if record.bases_per_second is not None:
        yield ["bases a second", f"{record.bases_per_second:,.0f}"]


def _prediction(found: Predicted) -> Iterator[list[str]]:
    record, settings = found.record, found.record.regions_settings
    yield ["sha256 of the genome", record.genome]
    yield ["sha256 of the model", record.model]
    yield ["windows", f"{record.window:,} bases, each with {record.overlap:,} of the next one"]
    yield ["threshold", brief(settings.threshold)]
    yield ["regions of at least", f"{settings.min_length:,} bases"]
    yield ["joined over", f"{settings.merge_gap:,} bases"]
    yield ["sha256 of the probabilities", record.digest]


def _data(contents: Contents) -> Table:
    assert contents.origin is not None
    manifest = contents.origin.manifest
    what = "sequences" if not manifest.contigs else "windows"
    rows = []
    for length in manifest.lengths:
        for split in manifest.splits:
            of = [c for c in manifest.counts if (c.length, c.split) == (length, split)]
            rows.append(
                [
                    f"{split}, {length:,} bases",
                    f"{sum(c.positive for c in of):,}",
                    f"{sum(c.negative for c in of):,}",
                    f"{sum(c.candidates for c in of):,}",
                    f"{sum(c.labelled for c in of):,}",
                    in_a_sentence(dict.fromkeys(c.contig for c in of)) if manifest.contigs else "",
                ]
            )
    heads = ["split", "positive", "negative", "negatives there are", "labels of 1", "contigs"]
    if not manifest.contigs:
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return Table(f"The data: {what} by split ({manifest.split})", heads, rows)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
