"""Embedding of regions or of prepared windows, exactly once: the plan and its shards.

The driver, with any scheduler over shard numbers, calls in this order:

    plan = plan_regions(model, ...)             # or plan_windows
    write_region_sequences(plan, ..., folder)   # or write_window_sequences
    embedder = make_embedder(model, plan)       # once in every actor
    for index in missing_shards(plan, folder):  # in actors, in any order, any number of times
        run_shard(embedder, plan, index, folder)

A shard is one Parquet file of the result, which appears whole or not at all and carries the key of
its plan; there is nothing to merge. Whether a folder belongs to a plan is for the caller to check,
before the first shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.tokens import codes_to_tokens, with_levels
from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.genome.contigs import open_genome, with_progress
from hyena_ray.genome.region_files import Regions
from hyena_ray.genome.signal_scale import level_columns
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.model.devices import model_device
from hyena_ray.model.embedding import Embedder, cover_of, cut_cover
from hyena_ray.model.predictor import default_batch
from hyena_ray.model.settings import Per, Strands
from hyena_ray.model.window import WindowModel
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST, Record
from hyena_ray.runs.shard_files import read_shard_file, shard_file_is_complete, write_shard_file
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

SHARD_BASES = 1 << 16
"""Bases of the windows of a shard at most, unless it is a single sequence: seconds of work."""
LONGEST = 1 << 18
"""Most bases of a region: an embedding for each of them takes 256 MiB with 256 channels."""
EMBEDDINGS = "embeddings"
"""Folder of the Parquet files of the result."""
SEQUENCES = "sequences"
"""Folder with the windows of each shard, until the run is complete."""


class EmbeddingShard(Settings):
    """Consecutive sequences of a plan."""

    first: int
    """Number of its first sequence."""
    last: int
    """One past the number of its last sequence."""
    bases: int
    """Bases of its sequences."""
    windows: int
    """Windows that hold them."""


class EmbeddingPlan(Plan):
    """Everything that embeddings depend on, and how the work is cut.

    Where the inputs are stored is not part of it; what they contain is.
    """

    KIND: ClassVar[str] = "embed"

    inputs: dict[str, str]
    """sha256 of everything that is read: model or backbone; genome, regions and tracks, or the
    manifest of prepared data."""
    split: str | None
    """Split of the prepared data; None for regions."""
    simulated: bool
    """Whether the sequences are simulated, so that no figure says anything about real DNA."""
    window: int
    """Bases of a window."""
    flank: int
    """Bases on each side of a window that the model requires."""
    strands: Strands
    """The given strand, or the mean of both."""
    per: Per
    """What gets an embedding."""
    channels: int
    """Numbers of an embedding."""
    batch: int | None
    """Windows of one forward pass, as requested; None chooses it by the device."""
    shards: tuple[EmbeddingShard, ...] = Field(min_length=1)
    """Shards in the order of their sequences: of regions contig by contig in the order in which the
    file names them first, and in its order on each; of windows in the order of their ids."""

    def rows(self, index: int) -> int:
        """Return the number of embeddings of a shard.

        Args:
            index: Number of the shard.
        """
        shard = self.shards[index]
        return shard.bases if self.per == "base" else shard.last - shard.first

    def label(self, index: int) -> str:
        """Return the name of a shard in messages.

        Args:
            index: Number of the shard.
        """
        shard = self.shards[index]
        return f"shard {index} (sequences {shard.first + 1} to {shard.last})"


class EmbedRecord(Record):
    """Manifest of complete embeddings."""

    KIND: ClassVar[str] = "embed"

    inputs: dict[str, str]
    """sha256 of everything that was read, by name."""
    sequences: int
    """Regions or windows that were embedded."""
    bases: int
    """Bases of all of them."""
    rows: int
    """Embeddings."""
    channels: int
    """Numbers of an embedding."""
    per: Per
    """What has an embedding."""
    strands: Strands
    """Strands that were read."""
    window: int
    """Bases of a window."""
    flank: int
    """Bases on each side of a window."""


class EmbeddingSettings(NamedTuple):
    """How sequences are embedded, whatever they are."""

    digests: Mapping[str, str]
    """sha256 of the model or of the backbone, by its name."""
    per: Per
    """What gets an embedding."""
    strands: Strands | None
    """Strands to read; None takes those of the model's readout."""
    batch: int | None
    """Windows of one forward pass; None chooses it by the device."""


def plan_regions(
    model: WindowModel,
    settings: EmbeddingSettings,
    genome: AnyPath,
    regions: Regions,
    tracks: Sequence[SignalTrack] = (),
) -> EmbeddingPlan:
    """Read the genome once, one contig in memory, and cut the work. Nothing is written.

    Args:
        model: Model with hidden states.
        settings: How regions are embedded.
        genome: File of the genome, or the name of an assembly.
        regions: The regions.
        tracks: Tracks that the model reads.

    Raises:
        InputError: The genome cannot be used; a region has too many bases, ends past its contig, or
            is on a contig that the genome or a track lacks.
    """
    for rows in regions.rows.values():
        lengths = rows.end - rows.start
        if lengths.max() > LONGEST:
            row = int(np.argmax(lengths))
            problem = f"has more than {LONGEST:,} bases"
            remedy = "split it, for example with `bedtools makewindows`"
            place = regions.locate(int(rows.line[row]))
            raise InputError(place, f"{lengths[row]:,} bases", problem, remedy)
    source = open_genome(genome)
    sizes: dict[str, int] = {}
    simulated = False
    for contig in with_progress(source):
        sizes[contig.name] = len(contig.codes)
        simulated |= contig.description.startswith(SIMULATED)
    regions.check_contigs(sizes)
    for name in regions.rows:
        regions.check_ends(name, sizes[name])
    for track in tracks:
        with SignalFile(track.scale.name, track.path) as file:
            for name in regions.rows:
                file.check_contig(name, sizes[name])
    digests = {"genome": source.sha256, "regions": regions.sha256}
    digests |= {f"track {track.scale.name}": track.sha256 for track in tracks}
    every = np.concatenate([rows.end - rows.start for rows in regions.rows.values()])
    return _plan(model, settings, digests, every.tolist(), split=None, simulated=simulated)


def plan_windows(
    model: WindowModel, settings: EmbeddingSettings, data: PreparedData, split: str
) -> EmbeddingPlan:
    """Cut the windows of a split, at the length that the model reads. Nothing is written.

    Args:
        model: Model with hidden states, which reads such windows.
        settings: How windows are embedded.
        data: Prepared data.
        split: Name of the split.

    Raises:
        InputError: The data lack the split or the length, or the split has no windows.
    """
    window = model.readout.window
    count = data.count(window, split)
    if not count:
        raise InputError(data.folder, split, "the split has no windows", "choose another split")
    digests = {"data": sha256_file(data.folder / MANIFEST)}
    simulated = data.manifest.simulated
    return _plan(model, settings, digests, [window] * count, split=split, simulated=simulated)


def _plan(
    model: WindowModel,
    settings: EmbeddingSettings,
    digests: Mapping[str, str],
    lengths: Sequence[int],
    *,
    split: str | None,
    simulated: bool,
) -> EmbeddingPlan:
    readout = model.readout
    sample = codes_to_tokens(np.zeros((1, readout.window + 2 * readout.required_flank), np.uint8))
    sample = with_levels(sample, np.zeros((*sample.shape, level_columns(readout.scales)), np.uint8))
    with Embedder(model, 1) as embedder:
        channels = embedder.embed(sample, [readout.window], "sequence").shape[1]
    return EmbeddingPlan(
        inputs={**settings.digests, **digests},
        split=split,
        simulated=simulated,
        window=readout.window,
        flank=readout.required_flank,
        strands=settings.strands or readout.strands,
        per=settings.per,
        channels=channels,
        batch=settings.batch,
        shards=tuple(_shards(lengths, readout.window)),
    )


def _shards(lengths: Sequence[int], window: int) -> Iterator[EmbeddingShard]:
    """Cut sequences into shards of at most `SHARD_BASES` bases of windows, or of one sequence."""
    first = bases = windows = 0
    for number, length in enumerate(lengths):
        count = -(-length // window)
        if windows and (windows + count) * window > SHARD_BASES:
            yield EmbeddingShard(first=first, last=number, bases=bases, windows=windows)
            first, bases, windows = number, 0, 0
        bases, windows = bases + length, windows + count
    yield EmbeddingShard(first=first, last=len(lengths), bases=bases, windows=windows)


def shard_path(folder: AnyPath, index: int) -> AnyPath:
    """Return the path of a shard's file.

    Args:
        folder: Folder of the run.
        index: Number of the shard.
    """
    return folder / EMBEDDINGS / f"part-{index:05d}.parquet"


def shard_is_complete(plan: EmbeddingPlan, index: int, folder: AnyPath) -> bool:
    """Return whether a shard's file exists and was made by this plan; reads its footer only.

    Args:
        plan: Plan of the run.
        index: Number of the shard.
        folder: Folder of the run.
    """
    return shard_file_is_complete(shard_path(folder, index), plan.fingerprint, plan.rows(index))


def missing_shards(plan: EmbeddingPlan, folder: AnyPath) -> list[int]:
    """Return the numbers of the shards that are still to be computed, in order.

    Args:
        plan: Plan of the run.
        folder: Folder of the run.
    """
    return [n for n in range(len(plan.shards)) if not shard_is_complete(plan, n, folder)]


class _Sequence(NamedTuple):
    """A sequence with the windows that hold it."""

    contig: str
    start: int
    end: int
    name: str
    windows: bytes


def write_region_sequences(
    plan: EmbeddingPlan,
    genome: AnyPath,
    regions: Regions,
    tracks: Sequence[SignalTrack],
    folder: AnyPath,
) -> None:
    """Write the windows that the missing shards read, unless they are there already.

    Args:
        plan: Plan of regions.
        genome: File of the genome, or the name of an assembly.
        regions: The regions.
        tracks: Tracks that the model reads.
        folder: Folder of the run.

    Raises:
        InputError: The genome or a track is no longer that of the plan.
    """
    wanted = _unwritten(plan, folder)
    if not wanted:
        return
    numbers: dict[str, range] = {}
    before = 0
    for name, rows in regions.rows.items():
        numbers[name] = range(before, before := before + len(rows.start))
    shard_of = {n: index for index in wanted for n in range(*_numbers(plan, index))}
    collected: dict[int, dict[int, _Sequence]] = {index: {} for index in wanted}
    source = open_genome(genome)
    with SignalReader(tracks) as signals:
        for contig in with_progress(source):
            for row, number in enumerate(numbers.get(contig.name, ())):
                if number not in shard_of:
                    continue
                rows = regions.rows[contig.name]
                start, end = int(rows.start[row]), int(rows.end[row])
                cover = cover_of(start, end, plan.window)
                first = max(0, cover.start - plan.flank)
                last = min(len(contig.codes), cover.end + plan.flank)
                levels = signals.levels(contig.name, len(contig.codes), first, last)
                tokens = with_levels(codes_to_tokens(contig.codes[first:last]), levels)
                windows = cut_cover(tokens, first, cover, plan.window, plan.flank)
                index = shard_of[number]
                sequence = _Sequence(contig.name, start, end, rows.name[row], windows.tobytes())
                collected[index][number] = sequence
                if len(collected[index]) == len(range(*_numbers(plan, index))):
                    # The genome's order of contigs may not be that of the regions.
                    shard = collected.pop(index)
                    _write(plan, index, folder, (shard[n] for n in sorted(shard)))
    if source.sha256 != plan.inputs["genome"]:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")


def write_window_sequences(plan: EmbeddingPlan, data: PreparedData, folder: AnyPath) -> None:
    """Write the windows that the missing shards read, unless they are there already.

    Args:
        plan: Plan of windows.
        data: Prepared data of the plan.
        folder: Folder of the run.

    Raises:
        InputError: A file of the data is damaged.
    """
    assert plan.split is not None
    for index in _unwritten(plan, folder):
        windows = data.read_rows(plan.window, plan.split, *_numbers(plan, index))
        cut = data.manifest.flank - plan.flank
        tokens = windows.tokens[:, cut : windows.tokens.shape[1] - cut]
        starts = windows.start.tolist()
        sequences = [
            _Sequence(contig, start, start + plan.window, str(window_id), own.tobytes())
            for contig, start, window_id, own in zip(
                windows.contig.tolist(), starts, windows.window_id.tolist(), tokens, strict=True
            )
        ]
        _write(plan, index, folder, sequences)


def _unwritten(plan: EmbeddingPlan, folder: AnyPath) -> list[int]:
    """Return the missing shards whose windows are not written, and make their folders."""
    missing = missing_shards(plan, folder)
    for name in (SEQUENCES, EMBEDDINGS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [
        index
        for index in missing
        if not shard_file_is_complete(
            _sequence_path(folder, index), plan.fingerprint, len(range(*_numbers(plan, index)))
        )
    ]


def _numbers(plan: EmbeddingPlan, index: int) -> tuple[int, int]:
    return plan.shards[index].first, plan.shards[index].last


def _sequence_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / SEQUENCES / f"part-{index:05d}.parquet"


def _write(
    plan: EmbeddingPlan, index: int, folder: AnyPath, sequences: Iterable[_Sequence]
) -> None:
    columns = zip(*sequences, strict=True)
    types = (pa.string(), pa.int64(), pa.int64(), pa.string(), pa.binary())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    table = pa.table(arrays, names=list(_Sequence._fields))
    # After a crash of the machine they are written again, from the genome.
    write_shard_file(table, _sequence_path(folder, index), plan.fingerprint, durable=False)


def make_embedder(model: WindowModel, plan: EmbeddingPlan) -> Embedder:
    """Make the embedder of a plan's shards.

    Args:
        model: Model of the plan, in evaluation mode, on any device.
        plan: Plan of the run.
    """
    batch = plan.batch or default_batch(model.readout, model_device(model))
    return Embedder(model, batch, plan.strands)


def run_shard(embedder: Embedder, plan: EmbeddingPlan, index: int, folder: AnyPath) -> None:
    """Embed the sequences of one shard and write its file, unless it is complete already.

    Args:
        embedder: Embedder of the plan.
        plan: Plan of the run.
        index: Number of the shard.
        folder: Folder of the run, with the windows of the shard.

    Raises:
        InputError: The windows of the shard are missing, or the GPU has too little memory for a
            single one.
    """
    if shard_is_complete(plan, index, folder):
        return
    shard = plan.shards[index]
    count = shard.last - shard.first
    table = read_shard_file(_sequence_path(folder, index), plan.fingerprint, count)
    start, end = table["start"].to_numpy(), table["end"].to_numpy()
    stored = np.frombuffer(b"".join(table["windows"].to_pylist()), np.uint8)
    shape = (shard.windows, plan.window + 2 * plan.flank)
    tokens = stored.reshape(*shape, -1) if len(stored) > np.prod(shape) else stored.reshape(shape)
    embeddings = embedder.embed(tokens, (end - start).tolist(), plan.per)
    if plan.per == "base":
        rows = np.repeat(np.arange(count), end - start)
        table = table.take(pa.array(rows))
        start = np.concatenate([np.arange(*ends) for ends in zip(start, end, strict=True)])
        end = start + 1
    result = pa.table(
        {
            "contig": table["contig"],
            "start": start,
            "end": end,
            "name": table["name"],
            "embedding": _vectors(embeddings),
        }
    )
    write_shard_file(result, shard_path(folder, index), plan.fingerprint)


def _vectors(embeddings: NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
