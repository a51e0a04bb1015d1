"""Some windows of an attribution, out of its shards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyena_ray.attribution.shards import ShardPlan, parse_shard_table, read_shard_table
from hyena_ray.storage import AnyPath

SHARDS = 40
"""Read at most, evenly over all: some ten thousand windows, enough for a drawing."""


class Sample(NamedTuple):
    """n windows with a true positive, in the order of the genome."""

    bases: NDArray[np.uint8]
    """(n, W) A C G T = 0 1 2 3, unknown 4."""
    true_positive: NDArray[np.bool_]
    """(n, W)"""
    scores: dict[str, NDArray[np.float32]]
    """Method to (n, W), in logits."""
    labels: NDArray[np.int8] | None
    """(n, W), or (n, 1) of sequences; None in shards that do not hold them."""
    contig: list[str]
    """Empty there."""
    start: NDArray[np.int64]
    """(n,) 0-based; empty there."""
    read: int
    """Windows that were looked at."""
    of: int
    """Windows of the attribution."""


def read_sample(plan: ShardPlan, folder: AnyPath) -> Sample:
    """Read shards that lie evenly over an attribution.

    Raises:
        InputError: one of them is missing or damaged.
    """
    step = -(-len(plan.shards) // SHARDS)
    bases, found, labels, contig, start = [], [], [], [], []
    scores: dict[str, list[NDArray[np.float32]]] = {}
    read = 0
    for index in range(0, len(plan.shards), step):
        table = read_shard_table(plan, index, folder)
        part = parse_shard_table(plan, table)
        rows = np.flatnonzero(part.true_positive.any(axis=1))
        read += len(part.window_id)
        bases.append(part.bases[rows])
        found.append(part.true_positive[rows])
        for name, values in part.scores.items():
            scores.setdefault(name, []).append(values[rows])
        if "labels" in table.column_names:
            labels.append(table["labels"].combine_chunks().to_numpy_ndarray()[rows])
            start.append(table["start"].to_numpy()[rows])
            names = table["contig"].to_pylist()
            contig += [names[row] for row in rows]
    return Sample(
        bases=np.concatenate(bases),
        true_positive=np.concatenate(found),
        scores={name: np.concatenate(parts) for name, parts in scores.items()},
        labels=np.concatenate(labels) if labels else None,
        contig=contig,
        start=np.concatenate(start) if start else np.zeros(0, np.int64),
        read=read,
        of=sum(shard.last_row - shard.first_row for shard in plan.shards),
    )
