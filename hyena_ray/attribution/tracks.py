"""Scores of bases along the genome, as tracks that a genome browser shows.

In: the shards of an attribution.  Out: `tracks/METHOD.bw`, and `tracks/scores.parquet` with the
same numbers.  Where windows overlap a base has the mean over those that were attributed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.attribution.shards import ShardPlan, read_shard
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import atomic_file
from hyena_ray.genome.bigwig import create_bigwig
from hyena_ray.storage import AnyPath


class Stretch(NamedTuple):
    """Scores of some bases of one contig, in order."""

    contig: str
    position: NDArray[np.int64]
    """(n,) 0-based, strictly ascending."""
    scores: dict[str, NDArray[np.float64]]
    """Method to (n,), in logits."""


def write_tracks(plan: ShardPlan, data: PreparedData, folder: AnyPath) -> list[AnyPath]:
    """Write the tracks of a complete attribution into `folder/tracks`; none for sequences, which
    stand in no genome, and for methods without scores of bases.

    Memory is that of a few shards.

    Args:
        plan: of the attribution.
        data: that it was made of; says where windows stand.
        folder: of the attribution.

    Raises:
        InputError: a shard is missing or damaged.
    """
    methods = list(read_shard(plan, 0, folder).scores)
    if not data.manifest.contigs or not methods:
        return []
    sizes = [(contig.name, contig.length) for contig in data.manifest.contigs]
    schema = pa.schema(
        [("contig", pa.string()), ("position", pa.int64())]
        + [(method, pa.float32()) for method in methods]
    )
    paths = {method: folder / "tracks" / f"{method}.bw" for method in methods}
    table = folder / "tracks" / "scores.parquet"
    table.parent.mkdir(exist_ok=True)
    with ExitStack() as files:
        tracks = {}
        for method, path in paths.items():
            tracks[method] = files.enter_context(create_bigwig(path, sizes))
        temporary = files.enter_context(atomic_file(table))
        writer = files.enter_context(
            pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True)
        )
        for stretch in stretches(plan, data, folder):
            columns: dict[str, Any] = {
                "contig": np.full(len(stretch.position), stretch.contig, object),
                "position": stretch.position,
            }
            for method, track in tracks.items():
                values = stretch.scores[method].astype(np.float32)
                columns[method] = values
                track.add_bases(stretch.contig, stretch.position, values)
            writer.write_table(pa.table(columns, schema=schema))
    return [*paths.values(), table]


def stretches(plan: ShardPlan, data: PreparedData, folder: AnyPath) -> Iterator[Stretch]:
    """The attributed bases in the order of the genome, each once; one stretch or two a shard."""
    rest: Stretch | None = None
    counts: NDArray[np.int64] = np.zeros(0, np.int64)
    for index, shard in enumerate(plan.shards):
        found = read_shard(plan, index, folder)
        windows = data.read_rows(plan.length, plan.split, shard.first_row, shard.last_row)
        attributed = np.flatnonzero(found.true_positive.any(axis=1))
        # Windows stand in the order of the genome: contigs are runs, and starts ascend in them.
        edges = np.flatnonzero(windows.contig[1:] != windows.contig[:-1]) + 1
        for rows in np.split(np.arange(len(windows.start)), edges):
            contig, last_start = str(windows.contig[rows[0]]), int(windows.start[rows[-1]])
            if rest is not None and rest.contig != contig:
                if len(rest.position):
                    yield _mean(rest, counts, slice(None))
                rest = None
            rows = np.intersect1d(rows, attributed)
            position = (windows.start[rows, None] + np.arange(plan.length)).ravel()
            sums = {name: score[rows].ravel() for name, score in found.scores.items()}
            number = np.ones(len(position), np.int64)
            if rest is not None:
                position = np.concatenate([rest.position, position])
                number = np.concatenate([counts, number])
                sums = {name: np.concatenate([rest.scores[name], sums[name]]) for name in sums}
            place, group = np.unique(position, return_inverse=True)
            counts = np.bincount(group, number, len(place)).astype(np.int64)
            rest = Stretch(
                contig,
                place,
                {name: _added(group, values, len(place)) for name, values in sums.items()},
            )
            # No later window begins before the last one does.
            done = int(np.searchsorted(place, last_start))
            if done:
                yield _mean(rest, counts, slice(done))
                counts = counts[done:]
                rest = Stretch(
                    contig,
                    place[done:],
                    {name: values[done:] for name, values in rest.scores.items()},
                )
    if rest is not None and len(rest.position):
        yield _mean(rest, counts, slice(None))


def _added(
    group: NDArray[np.int64], values: NDArray[np.floating], count: int
) -> NDArray[np.float64]:
    """(count,) sum of the values of every group."""
    return np.bincount(group, values, count).astype(np.float64, copy=False)


def _mean(sums: Stretch, counts: NDArray[np.int64], rows: slice) -> Stretch:
    return Stretch(
        sums.contig,
        sums.position[rows],
        {name: values[rows] / counts[rows] for name, values in sums.scores.items()},
    )
