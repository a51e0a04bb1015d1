"""Per-base scores along the genome, as tracks for genome browsers.

Where windows overlap, a base has the mean over those that were attributed. `tracks/METHOD.bw` and
`tracks/scores.parquet` hold the same numbers.
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


class ScoredBases(NamedTuple):
    """Scores of bases of one contig, in their order."""

    contig: str
    """Name of the contig."""
    position: NDArray[np.int64]
    """0-based positions, strictly ascending, shape (n,)."""
    scores: dict[str, NDArray[np.float64]]
    """Scores of each method in logits, shape (n,)."""


def write_tracks(plan: ShardPlan, data: PreparedData, folder: AnyPath) -> list[AnyPath]:
    """Write the tracks of a complete attribution into `folder/tracks`.

    Memory is that of a few shards.

    Args:
        plan: Plan of the attribution.
        data: Prepared data of the plan, which know where the windows are.
        folder: Folder of the attribution.

    Returns:
        Paths of the files; none for sequences without coordinates, or if no method scores bases.

    Raises:
        InputError: A shard is missing or damaged.
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
        for bases in scored_bases(plan, data, folder):
            columns: dict[str, Any] = {
                "contig": np.full(len(bases.position), bases.contig, object),
                "position": bases.position,
            }
            for method, track in tracks.items():
                values = bases.scores[method].astype(np.float32)
                columns[method] = values
                track.add_bases(bases.contig, bases.position, values)
            writer.write_table(pa.table(columns, schema=schema))
    return [*paths.values(), table]


def scored_bases(plan: ShardPlan, data: PreparedData, folder: AnyPath) -> Iterator[ScoredBases]:
    """Yield the attributed bases in the order of the genome, each once.

    Args:
        plan: Plan of the attribution.
        data: Prepared data of the plan.
        folder: Folder of the attribution, with all shards.

    Yields:
        Bases of one contig; about one or two items for each shard.

    Raises:
        InputError: A shard is missing or damaged.
    """
    # Sums of the bases that a later window may still contain.
    rest: ScoredBases | None = None
    counts: NDArray[np.int64] = np.zeros(0, np.int64)
    for index in range(len(plan.shards)):
        attribution = read_shard(plan, index, folder)
        windows = plan.read_windows(data, index)
        attributed = np.flatnonzero(attribution.true_positive.any(axis=1))
        # Windows are in the order of the genome: starts ascend within each run of one contig.
        edges = np.flatnonzero(windows.contig[1:] != windows.contig[:-1]) + 1
        for rows in np.split(np.arange(len(windows.start)), edges):
            contig, last_start = str(windows.contig[rows[0]]), int(windows.start[rows[-1]])
            if rest is not None and rest.contig != contig:
                if len(rest.position):
                    yield _divide(rest, counts, slice(None))
                rest = None
            rows = np.intersect1d(rows, attributed)
            position = (windows.start[rows, None] + np.arange(plan.length)).ravel()
            sums = {name: score[rows].ravel() for name, score in attribution.scores.items()}
            number = np.ones(len(position), np.int64)
            if rest is not None:
                position = np.concatenate([rest.position, position])
                number = np.concatenate([counts, number])
                sums = {name: np.concatenate([rest.scores[name], sums[name]]) for name in sums}
            unique, group = np.unique(position, return_inverse=True)
            counts = np.bincount(group, number, len(unique)).astype(np.int64)
            rest = ScoredBases(
                contig,
                unique,
                {name: _sum_groups(group, values, len(unique)) for name, values in sums.items()},
            )
            # No later window starts before the last one does.
            finished = int(np.searchsorted(unique, last_start))
            if finished:
                yield _divide(rest, counts, slice(finished))
                counts = counts[finished:]
                rest = ScoredBases(
                    contig,
                    unique[finished:],
                    {name: values[finished:] for name, values in rest.scores.items()},
                )
    if rest is not None and len(rest.position):
        yield _divide(rest, counts, slice(None))


def _sum_groups(
    group: NDArray[np.int64], values: NDArray[np.floating], count: int
) -> NDArray[np.float64]:
    """Return the sum of the values of every group, shape (count,)."""
    return np.bincount(group, values, count).astype(np.float64, copy=False)


def _divide(sums: ScoredBases, counts: NDArray[np.int64], rows: slice) -> ScoredBases:
    """Return the means of some bases."""
    return ScoredBases(
        sums.contig,
        sums.position[rows],
        {name: values[rows] / counts[rows] for name, values in sums.scores.items()},
    )
