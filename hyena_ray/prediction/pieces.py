"""Score a genome exactly once: the plan, and its pieces."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.attribution.shards import model_sha256
from hyena_ray.dataset.manifest import ContigEntry
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import N_CODE, open_genome, with_progress
from hyena_ray.genome.simulation import SIMULATED
from hyena_ray.model.scoring import BATCH, Sequence, score_piece, window_starts
from hyena_ray.model.window import WindowModel
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.shards import (
    read_shard_file,
    shard_file_is_complete,
    write_shard_file,
)
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

PIECE = 250_000
"""Bases of a piece: seconds of work, and less is lost with a worker than it costs to keep."""


class Piece(Settings):
    """Neighbouring bases of one contig: what one shard scores."""

    contig: str
    start: int
    """First base, 0-based."""
    end: int
    """One past the last base."""

    @property
    def label(self) -> str:
        """What it is called."""
        return f"{self.contig}:{self.start}-{self.end}"


class PredictionPlan(Plan):
    """What the probabilities of a genome depend on."""

    KIND: ClassVar[str] = "predict"

    genome: str
    """sha256 of its file."""
    model: str
    """sha256 of weights, readout and threshold."""
    simulated: bool
    """Made from simulated DNA: no figure from it says anything about real DNA."""
    window: int
    """Bases of a window."""
    stored: int
    """Bases on each side that a window comes with."""
    overlap: int
    """Bases that a window has in common with the next one."""
    batch: int
    """Windows of one forward pass."""
    contigs: tuple[ContigEntry, ...]
    """All of the genome, by name, as UCSC's tools want them."""
    pieces: tuple[Piece, ...] = Field(min_length=1)
    """In the same order; those in which every base is N are left out."""

    @property
    def step(self) -> int:
        """Bases from one window to the next."""
        return self.window - self.overlap

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Contig to its bases."""
        return {entry.name: entry.length for entry in self.contigs}


def require_base_labels(model: WindowModel, folder: AnyPath) -> None:
    """Refuse a model of sequences.

    Its probability is that of a sequence which begins and ends where those of its training did,
    such as around a start of transcription: the mean over the windows that hold a base says
    nothing of the base.

    Raises:
        InputError: it is one; names `folder`.
    """
    if not model.labels_bases:
        raise InputError(
            folder,
            "labels whole sequences",
            "a genome is scored base by base",
            "give a model of bases, such as one of zdna or g4",
        )


def plan_prediction(
    model: WindowModel,
    genome: AnyPath,
    *,
    contigs: Collection[str] | None,
    overlap: int | None,
    batch: int = BATCH,
    piece: int = PIECE,
) -> PredictionPlan:
    """Read the genome once, and cut the work. Writes nothing.

    Args:
        model: of bases.
        genome: its file, or the name of an assembly.
        contigs: to score; None takes all.
        overlap: bases that a window has in common with the next one; None is half a window.
        batch: windows of one forward pass.
        piece: bases of a piece.

    Raises:
        InputError: the file cannot be used, an option is out of range, or a contig is missing or
            has only N.
    """
    window = model.readout.window
    overlap = window // 2 if overlap is None else overlap
    if not 0 <= overlap < window:
        raise InputError(
            "--overlap",
            overlap,
            f"the model reads windows of {window} bases",
            f"give 0 to {window - 1}",
        )
    if batch < 1:
        raise InputError("--batch", batch, "below 1", "give 1 or more")
    source = open_genome(genome)
    entries: list[ContigEntry] = []
    pieces: list[Piece] = []
    simulated = False
    for contig in with_progress(source):
        size = len(contig.codes)
        entries.append(ContigEntry(name=contig.name, length=size))
        simulated |= contig.description.startswith(SIMULATED)
        if contigs is not None and contig.name not in contigs:
            continue
        known = contig.codes != N_CODE
        pieces += [
            Piece(contig=contig.name, start=start, end=min(start + piece, size))
            for start in range(0, size, piece)
            if known[start : start + piece].any()
        ]
    _check_contigs(contigs, [entry.name for entry in entries])
    if not pieces:
        raise InputError(
            "--genome" if contigs is None else "--contigs",
            genome if contigs is None else ",".join(contigs),
            "every base is N",
            "give DNA that has sequence",
        )
    return PredictionPlan(
        genome=source.sha256,
        model=model_sha256(model),
        simulated=simulated,
        window=window,
        stored=model.readout.required_flank,
        overlap=overlap,
        batch=batch,
        contigs=tuple(sorted(entries, key=lambda entry: entry.name)),
        pieces=tuple(sorted(pieces, key=lambda each: (each.contig, each.start))),
    )


def _check_contigs(contigs: Collection[str] | None, names: Collection[str]) -> None:
    for contig in contigs or ():
        if contig not in names:
            raise InputError(
                "--contigs",
                contig or "''",
                "the genome has no such contig",
                f"it has {', '.join(list(names)[:8])}",
            )


SEQUENCES = "sequences"
"""In the folder of a prediction, until it is complete: a file of bases for each piece."""


def piece_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / "shards" / f"piece-{index:06d}.parquet"


def piece_is_complete(plan: PredictionPlan, index: int, folder: AnyPath) -> bool:
    """Whether a piece's file is there and was made by this plan; reads its footer only."""
    piece = plan.pieces[index]
    return shard_file_is_complete(
        piece_path(folder, index), plan.fingerprint, piece.end - piece.start
    )


def missing_pieces(plan: PredictionPlan, folder: AnyPath) -> list[int]:
    """Numbers of the pieces that are still to be scored, in order."""
    return [
        index for index in range(len(plan.pieces)) if not piece_is_complete(plan, index, folder)
    ]


def count_windows(plan: PredictionPlan, index: int) -> int:
    """Windows that hold a base of a piece."""
    piece = plan.pieces[index]
    size = plan.lengths[piece.contig]
    return len(window_starts(size, plan.window, plan.step, piece.start, piece.end))


def write_sequences(plan: PredictionPlan, genome: AnyPath, folder: AnyPath) -> None:
    """Write the bases that the missing pieces need, where a file is not there already.

    Raises:
        InputError: the genome is no longer the one of the plan.
    """
    wanted: dict[str, list[int]] = {}
    for index in missing_pieces(plan, folder):
        first, last = _reach(plan, index)
        if not shard_file_is_complete(
            _sequence_path(folder, index), plan.fingerprint, last - first
        ):
            wanted.setdefault(plan.pieces[index].contig, []).append(index)
    if not wanted:
        return
    (folder / SEQUENCES).mkdir(parents=True, exist_ok=True)
    source = open_genome(genome)
    for contig in with_progress(source):
        for index in wanted.get(contig.name, ()):
            first, last = _reach(plan, index)
            table = pa.table({"code": pa.array(contig.codes[first:last])})
            write_shard_file(table, _sequence_path(folder, index), plan.fingerprint)
    if source.sha256 != plan.genome:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")


def run_piece(model: WindowModel, plan: PredictionPlan, index: int, folder: AnyPath) -> None:
    """Score one piece and write its file, unless it is complete already.

    Raises:
        InputError: the model is not that of the plan, or the piece's bases are not there.
    """
    if piece_is_complete(plan, index, folder):
        return
    if model_sha256(model) != plan.model:
        raise InputError(
            "model",
            None,
            "not the model that the plan was made for",
            "continue with the same one, or start anew with --overwrite",
        )
    piece = plan.pieces[index]
    first, last = _reach(plan, index)
    codes = read_shard_file(_sequence_path(folder, index), plan.fingerprint, last - first)["code"]
    found = score_piece(
        model,
        Sequence(first, codes.to_numpy()),
        plan.lengths[piece.contig],
        piece.start,
        piece.end,
        step=plan.step,
        batch=plan.batch,
    )
    path = piece_path(folder, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_shard_file(pa.table({"probability": found}), path, plan.fingerprint)


def read_piece(plan: PredictionPlan, index: int, folder: AnyPath) -> NDArray[np.float32]:
    """(n,) probabilities of a complete piece; NaN for N.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    piece = plan.pieces[index]
    table = read_shard_file(piece_path(folder, index), plan.fingerprint, piece.end - piece.start)
    values: NDArray[np.float32] = table["probability"].to_numpy()
    return values


def _sequence_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / SEQUENCES / f"piece-{index:06d}.parquet"


def _reach(plan: PredictionPlan, index: int) -> tuple[int, int]:
    """First base, and one past the last, that the windows of a piece come with."""
    piece, around = plan.pieces[index], plan.window + plan.stored
    size = plan.lengths[piece.contig]
    return max(0, piece.start - around), min(size, piece.end + around)
