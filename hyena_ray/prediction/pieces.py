"""Scoring of a genome, exactly once: the plan and its pieces.

The driver, with any scheduler over piece numbers, calls in this order:

    plan = plan_prediction(model, genome, contigs=None, overlap=None)
    write_sequences(plan, genome, folder)       # the bases that the missing pieces read
    scorer = make_scorer(model, plan)           # once in every actor
    for index in missing_pieces(plan, folder):  # in actors, in any order, any number of times
        run_piece(scorer, plan, index, folder)
    write_results(plan, regions, genome, folder)  # in results; can wait for the pieces

Actors read the bases of a piece from a file of its own: a gzipped genome can only be read from its
start, and holding one takes more memory than scoring it. A piece is one file that appears whole or
not at all, and carries the key of its plan. Small contigs share a piece: a genome of 200,000 of
them needs no more files than one contig with as many bases. Whether a folder belongs to a plan is
for the caller to check, before the first piece.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.dataset.manifest import ContigEntry
from hyena_ray.errors import InputError, JobError, Problems, raise_together, unknown_name
from hyena_ray.genome.contigs import N_CODE, open_genome, with_progress
from hyena_ray.genome.signal_tracks import SignalFile, SignalReader, SignalTrack
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.model.predictor import ContigSlice, ScoredSpan, Scorer, span_windows
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.window import WindowScorer
from hyena_ray.progress import count_noun
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.shard_files import (
    read_shard_file,
    shard_file_is_complete,
    write_shard_file,
)
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

PIECE = 250_000
"""Bases of a piece at most: seconds of work, so that little is lost with a worker; few files."""
SEQUENCES = "sequences"
"""Subfolder with one file of bases for each piece, until the prediction is complete."""
POLL_SECONDS = 0.2
"""Seconds between two checks for the file of a piece."""
_BATCH = b"hyena_ray.batch"


class Span(Settings):
    """Consecutive bases of one contig."""

    contig: str
    """Name of the contig."""
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""

    @property
    def bases(self) -> int:
        """Number of bases."""
        return self.end - self.start


class Piece(Settings):
    """Bases that are scored together: some of a large contig, or several small contigs."""

    spans: tuple[Span, ...] = Field(min_length=1)
    """Bases of each contig."""

    @property
    def bases(self) -> int:
        """Number of bases of all spans."""
        return sum(span.bases for span in self.spans)

    @property
    def label(self) -> str:
        """Name of the piece in messages."""
        first, *others = self.spans
        more = f" and {count_noun(len(others), 'contig')} more" if others else ""
        return f"{first.contig}:{first.start}-{first.end}{more}"


class PredictionPlan(Plan):
    """Everything that the probabilities of a genome depend on, and how the work is cut.

    Where genome and model are stored is not part of it; what they contain is.
    """

    KIND: ClassVar[str] = "predict"

    genome: str
    """sha256 of the genome's file."""
    model: str
    """sha256 of weights, readout and threshold; see `model_sha256`."""
    simulated: bool
    """Whether the genome is simulated, so that no figure says anything about real DNA."""
    window: int
    """Bases of a window."""
    flank: int
    """Bases on each side of a window that the model requires."""
    overlap: int
    """Bases that a window shares with the next one."""
    batch: int | None
    """Windows of one forward pass, as requested; None chooses it by the device."""
    tracks: dict[str, str] = Field(default_factory=dict, exclude_if=lambda tracks: not tracks)
    """sha256 of the file of every track that the model reads, by name."""
    contigs: tuple[ContigEntry, ...]
    """All contigs of the genome, sorted by name as UCSC's tools require."""
    pieces: tuple[Piece, ...] = Field(min_length=1)
    """Pieces in the same order, without those whose bases are all N."""

    @property
    def step(self) -> int:
        """Bases from the start of one window to the start of the next."""
        return self.window - self.overlap

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Length of every contig in bases."""
        return {entry.name: entry.length for entry in self.contigs}


class PieceScores(NamedTuple):
    """Scores of a complete piece."""

    values: NDArray[np.float32]
    """Probability of every base of the spans, one behind the other, shape (n,); NaN for N."""
    batch: int
    """Windows of one forward pass."""


def require_base_labels(model: WindowScorer, folder: AnyPath) -> None:
    """Refuse a model that labels whole sequences.

    Such a model was trained on sequences that start and end at fixed places, for instance around
    transcription start sites: the mean over the windows that contain a base says nothing about that
    base.

    Args:
        model: Model of bases or of sequences.
        folder: Folder of the model, for the message.

    Raises:
        InputError: The model labels sequences.
    """
    if not model.labels_bases:
        raise InputError(
            folder,
            "labels whole sequences",
            "a genome is scored base by base",
            "give a model of bases, such as one of zdna or g4",
        )


def plan_prediction(
    model: WindowScorer,
    genome: AnyPath,
    *,
    contigs: Collection[str] | None,
    overlap: int | None,
    batch: int | None = None,
    piece: int = PIECE,
    tracks: Sequence[SignalTrack] = (),
) -> PredictionPlan:
    """Read the genome once, one contig in memory, and cut the work. Nothing is written.

    Args:
        model: Model of bases.
        genome: File of the genome, or the name of an assembly.
        contigs: Names of the contigs to score; None scores all.
        overlap: Bases that a window shares with the next one; None leaves `WindowScorer.scan_step`
            between their starts.
        batch: Windows of one forward pass; None chooses it by the device.
        piece: Bases of a piece.
        tracks: Tracks that the model reads.

    Raises:
        InputError: The file cannot be used, an option is out of range, or a contig is missing or
            contains only N, or a track lacks one or has it with another length.
    """
    window = model.readout.window
    overlap = window - model.scan_step if overlap is None else overlap
    with Problems() as problems:
        problems.collect(_check_overlap, overlap, window)
        problems.collect(_check_batch, batch)
        problems.collect(_check_contigs_given, contigs)
    source = open_genome(genome)
    entries: list[ContigEntry] = []
    spans: list[Span] = []
    wanted = None if contigs is None else frozenset(contigs)
    simulated = False
    for contig in with_progress(source):
        size = len(contig.codes)
        entries.append(ContigEntry(name=contig.name, length=size))
        simulated |= contig.description.startswith(SIMULATED)
        if wanted is not None and contig.name not in wanted:
            continue
        known = contig.codes != N_CODE
        spans += [
            Span(contig=contig.name, start=start, end=min(start + piece, size))
            for start in range(0, size, piece)
            if known[start : start + piece].any()
        ]
    names = dict.fromkeys(entry.name for entry in entries)
    raise_together(
        [
            unknown_name("--contigs", contig, "contig of the genome", names)
            for contig in contigs or ()
            if contig not in names
        ]
    )
    if not spans:
        raise InputError(
            "--genome" if contigs is None else "--contigs",
            genome if contigs is None else ",".join(contigs),
            "every base is N",
            "give DNA that has sequence",
        )
    scored = dict.fromkeys(span.contig for span in spans)
    lengths = {entry.name: entry.length for entry in entries}
    for track in tracks:
        with SignalFile(track.scale.name, track.path) as file:
            for name in scored:
                file.check_contig(name, lengths[name])
    return PredictionPlan(
        tracks={track.scale.name: track.sha256 for track in tracks},
        genome=source.sha256,
        model=model_sha256(model),
        simulated=simulated,
        window=window,
        flank=model.readout.required_flank,
        overlap=overlap,
        batch=batch,
        contigs=tuple(sorted(entries, key=lambda entry: entry.name)),
        pieces=_packed(sorted(spans, key=lambda span: (span.contig, span.start)), piece),
    )


def _packed(spans: Iterable[Span], most: int) -> tuple[Piece, ...]:
    """Pack consecutive spans into pieces of at most `most` bases."""
    packed: list[list[Span]] = []
    held = most
    for span in spans:
        if held + span.bases > most:
            packed.append([])
            held = 0
        packed[-1].append(span)
        held += span.bases
    return tuple(Piece(spans=tuple(part)) for part in packed)


def _check_overlap(overlap: int, window: int) -> None:
    if not 0 <= overlap < window:
        raise InputError(
            "--overlap",
            overlap,
            f"the model reads windows of {window} bases",
            f"give 0 to {window - 1}",
        )


def _check_contigs_given(contigs: Collection[str] | None) -> None:
    if contigs is not None and not contigs:
        raise InputError("--contigs", "''", "names no contig", "leave it out to score all")


def _check_batch(batch: int | None) -> None:
    if batch is not None and batch < 1:
        raise InputError("--batch", batch, "below 1", "give 1 or more")


def piece_path(folder: AnyPath, index: int) -> AnyPath:
    """Return the path of a piece's file.

    Args:
        folder: Folder of the prediction.
        index: Number of the piece.
    """
    return folder / "shards" / f"piece-{index:06d}.parquet"


def piece_is_complete(plan: PredictionPlan, index: int, folder: AnyPath) -> bool:
    """Return whether a piece's file exists and was made by this plan; reads its footer only.

    Args:
        plan: Plan of the prediction.
        index: Number of the piece.
        folder: Folder of the prediction.
    """
    return shard_file_is_complete(
        piece_path(folder, index), plan.fingerprint, plan.pieces[index].bases
    )


def missing_pieces(plan: PredictionPlan, folder: AnyPath) -> list[int]:
    """Return the numbers of the pieces that are still to be scored, in order.

    Args:
        plan: Plan of the prediction.
        folder: Folder of the prediction.
    """
    numbers = range(len(plan.pieces))
    return [index for index in numbers if not piece_is_complete(plan, index, folder)]


def count_windows(plan: PredictionPlan, index: int) -> int:
    """Return the number of windows that contain a base of a piece.

    Args:
        plan: Plan of the prediction.
        index: Number of the piece.
    """
    spans = plan.pieces[index].spans
    size = np.array([plan.lengths[span.contig] for span in spans])
    first, last = np.array([(span.start, span.end) for span in spans]).T
    return len(span_windows(size, first, last, plan.window, plan.step)[1])


def write_sequences(
    plan: PredictionPlan, genome: AnyPath, folder: AnyPath, tracks: Sequence[SignalTrack] = ()
) -> None:
    """Write the bases that the missing pieces need, unless they are there already.

    Args:
        plan: Plan of the prediction.
        genome: File of the genome, or the name of an assembly.
        folder: Folder of the prediction.
        tracks: Tracks that the model reads.

    Raises:
        InputError: The genome or a track is no longer that of the plan.
    """
    bases: dict[int, dict[Span, tuple[bytes, bytes]]] = {}
    by_contig: dict[str, list[tuple[int, Span]]] = {}
    for index in missing_pieces(plan, folder):
        spans = plan.pieces[index].spans
        if not shard_file_is_complete(_sequence_path(folder, index), plan.fingerprint, len(spans)):
            bases[index] = {}
            for span in spans:
                by_contig.setdefault(span.contig, []).append((index, span))
    if not bases:
        return
    (folder / SEQUENCES).mkdir(parents=True, exist_ok=True)
    with SignalReader(tracks) as signals:
        _write_sequences(plan, genome, folder, bases, by_contig, signals)


def _write_sequences(
    plan: PredictionPlan,
    genome: AnyPath,
    folder: AnyPath,
    bases: dict[int, dict[Span, tuple[bytes, bytes]]],
    by_contig: Mapping[str, Sequence[tuple[int, Span]]],
    signals: SignalReader,
) -> None:
    source = open_genome(genome)
    for contig in with_progress(source):
        for index, span in by_contig.get(contig.name, ()):
            first, last = _sequence_span(plan, span)
            collected = bases[index]
            levels = signals.levels(contig.name, len(contig.codes), first, last)
            collected[span] = contig.codes[first:last].tobytes(), levels.tobytes()
            spans = plan.pieces[index].spans
            if len(collected) < len(spans):
                continue  # the file's order of contigs is not that of their names
            # All bases are one value, because Parquet would encode them one by one.
            columns = zip(*(collected[each] for each in spans), strict=True)
            codes, levels_there = (pa.array(column, pa.binary()) for column in columns)
            path = _sequence_path(folder, index)
            # After a crash of the machine they are written again, from the genome.
            table = pa.table({"codes": codes, "levels": levels_there})
            write_shard_file(table, path, plan.fingerprint, durable=False)
            del bases[index]
    if source.sha256 != plan.genome:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")


def make_scorer(model: WindowScorer, plan: PredictionPlan) -> Scorer:
    """Make the scorer of a plan's pieces.

    Args:
        model: Model of the plan, in evaluation mode.
        plan: Plan of the prediction.

    Raises:
        InputError: The model is not that of the plan.
    """
    if model_sha256(model) != plan.model:
        raise InputError(
            "model",
            None,
            "not the model that the plan was made for",
            "continue with the same one, or start anew with --overwrite",
        )
    return Scorer(model, plan.batch)


def run_piece(scorer: Scorer, plan: PredictionPlan, index: int, folder: AnyPath) -> None:
    """Score one piece and write its file, unless it is complete already.

    Several threads may share a scorer: while one scores, others read and write.

    Args:
        scorer: Scorer of the plan.
        plan: Plan of the prediction.
        index: Number of the piece.
        folder: Folder of the prediction, with the bases of the piece.

    Raises:
        InputError: The bases of the piece are missing, or the GPU has too little memory for a
            single window.
    """
    if piece_is_complete(plan, index, folder):
        return
    spans = plan.pieces[index].spans
    table = read_shard_file(_sequence_path(folder, index), plan.fingerprint, len(spans))
    probability = scorer.score_spans(
        [
            ScoredSpan(
                _read_slice(plan, span, codes, levels),
                plan.lengths[span.contig],
                span.start,
                span.end,
            )
            for span, codes, levels in zip(spans, table["codes"], table["levels"], strict=True)
        ],
        step=plan.step,
    )
    path = piece_path(folder, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"probability": probability}, metadata={_BATCH: str(scorer.batch)})
    write_shard_file(table, path, plan.fingerprint)


def _read_slice(
    plan: PredictionPlan, span: Span, codes: pa.BinaryScalar, levels: pa.BinaryScalar
) -> ContigSlice:
    bases = np.frombuffer(codes.as_buffer(), np.uint8)
    columns = np.frombuffer(levels.as_buffer(), np.uint8).reshape(len(bases), -1)
    return ContigSlice(_sequence_span(plan, span)[0], bases, columns)


def wait_for_piece(
    plan: PredictionPlan, index: int, folder: AnyPath, stopped: threading.Event
) -> None:
    """Wait until a piece is complete.

    Args:
        plan: Plan of the prediction.
        index: Number of the piece.
        folder: Folder of the prediction.
        stopped: Set once no more pieces will be scored.

    Raises:
        JobError: The piece is incomplete, and no more pieces will be scored.
    """
    while not piece_is_complete(plan, index, folder):
        if stopped.wait(POLL_SECONDS):
            raise JobError(f"{plan.pieces[index].label} has not been scored")


def read_piece(plan: PredictionPlan, index: int, folder: AnyPath) -> PieceScores:
    """Read the scores of a complete piece.

    Args:
        plan: Plan of the prediction.
        index: Number of the piece.
        folder: Folder of the prediction.

    Raises:
        InputError: The file is missing, damaged or of another plan.
    """
    bases = plan.pieces[index].bases
    table = read_shard_file(piece_path(folder, index), plan.fingerprint, bases)
    return PieceScores(table["probability"].to_numpy(), int(table.schema.metadata[_BATCH]))


def _sequence_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / SEQUENCES / f"piece-{index:06d}.parquet"


def _sequence_span(plan: PredictionPlan, span: Span) -> tuple[int, int]:
    """Return the first base that the windows of a span read, and one past the last."""
    margin = plan.window + plan.flank
    return max(0, span.start - margin), min(plan.lengths[span.contig], span.end + margin)
