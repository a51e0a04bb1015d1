"""Compute a prediction in pieces, exactly once.  No Ray here.

The driver, with any scheduler over numbers of pieces, calls in this order:

    plan = plan_prediction(model, genome, contigs=None, overlap=None)
    plan.begin(folder)                        # writes folder/shards/plan.json, or checks it
    write_sequences(plan, genome, folder)     # what the pieces that are missing read
    for index in missing(plan, folder):       # in actors, in any order, any number of times
        run_piece(model, plan, index, folder)
    write_results(plan, settings, folder)     # of results.py

Actors read the sequence of a piece from a file of its own: a gzipped genome can only be read from
its beginning, and to hold one takes more memory than to score it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.attribution.plan import model_sha256
from hyena_ray.dataset.sharded import read_shard_file, shard_file_is_complete, write_shard_file
from hyena_ray.errors import InputError
from hyena_ray.genome.contigs import open_genome, with_progress
from hyena_ray.model.scoring import Sequence, score_piece, window_starts
from hyena_ray.model.window import WindowModel
from hyena_ray.prediction.plan import PredictionPlan
from hyena_ray.storage import AnyPath

SEQUENCES = "sequences"
"""In the folder of a prediction, until it is complete: a file of bases for each piece."""


def piece_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / "shards" / f"piece-{index:06d}.parquet"


def is_complete(plan: PredictionPlan, index: int, folder: AnyPath) -> bool:
    """Whether a piece's file is there and was made by this plan; reads its footer only."""
    piece = plan.pieces[index]
    return shard_file_is_complete(piece_path(folder, index), plan.key, piece.end - piece.start)


def missing(plan: PredictionPlan, folder: AnyPath) -> list[int]:
    """Numbers of the pieces that are still to be scored, in order."""
    return [index for index in range(len(plan.pieces)) if not is_complete(plan, index, folder)]


def windows_of(plan: PredictionPlan, index: int) -> int:
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
    for index in missing(plan, folder):
        first, last = _reach(plan, index)
        if not shard_file_is_complete(_sequence_path(folder, index), plan.key, last - first):
            wanted.setdefault(plan.pieces[index].contig, []).append(index)
    if not wanted:
        return
    (folder / SEQUENCES).mkdir(parents=True, exist_ok=True)
    source = open_genome(genome)
    for contig in with_progress(source):
        for index in wanted.get(contig.name, ()):
            first, last = _reach(plan, index)
            table = pa.table({"code": pa.array(contig.codes[first:last])})
            write_shard_file(table, _sequence_path(folder, index), plan.key)
    if source.sha256 != plan.genome:
        raise InputError(genome, None, "changed while it was read", "start anew with --overwrite")


def run_piece(model: WindowModel, plan: PredictionPlan, index: int, folder: AnyPath) -> None:
    """Score one piece and write its file, unless it is complete already.

    Raises:
        InputError: the model is not that of the plan, or the piece's bases are not there.
    """
    if is_complete(plan, index, folder):
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
    codes = read_shard_file(_sequence_path(folder, index), plan.key, last - first)["code"]
    found = score_piece(
        model,
        Sequence(first, codes.to_numpy()),
        plan.lengths[piece.contig],
        piece.start,
        piece.end,
        step=plan.step,
        batch=plan.batch,
    )
    write_shard_file(pa.table({"probability": found}), piece_path(folder, index), plan.key)


def read_piece(plan: PredictionPlan, index: int, folder: AnyPath) -> NDArray[np.float32]:
    """(n,) probabilities of a complete piece; NaN for N.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    piece = plan.pieces[index]
    table = read_shard_file(piece_path(folder, index), plan.key, piece.end - piece.start)
    values: NDArray[np.float32] = table["probability"].to_numpy()
    return values


def _sequence_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / SEQUENCES / f"piece-{index:06d}.parquet"


def _reach(plan: PredictionPlan, index: int) -> tuple[int, int]:
    """First base, and one past the last, that the windows of a piece come with."""
    piece, around = plan.pieces[index], plan.window + plan.stored
    size = plan.lengths[piece.contig]
    return max(0, piece.start - around), min(size, piece.end + around)
