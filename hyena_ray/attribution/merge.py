"""Add the shards of a plan up to k-mer tables, in order, so that they are the same however they
were computed.

In: the shard files of a plan.  Out: MergeResult, and its tables as files.  No Ray here.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hyena_ray.attribution.consensus import agreement, consensus_ranking
from hyena_ray.attribution.engine import Convergence, WindowAttribution
from hyena_ray.attribution.kmer_sums import KmerSums, fold_kmers
from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, count_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.plan import ShardPlan
from hyena_ray.attribution.shards import read_shard
from hyena_ray.attribution.tables import kmer_table, true_positive_table
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file
from hyena_ray.storage import AnyPath

COMPLETENESS_LIMIT = 0.01
"""Median completeness error past which Integrated Gradients is called not converged."""
_log = logging.getLogger(__name__)


class MergeResult(NamedTuple):
    tables: dict[str, pa.Table]
    """Name of the table (a method, or `consensus`) to what was written, best k-mer first."""
    digest: str
    """sha256 over the content of all tables; equal for equal plans on one platform."""
    windows: int
    attributed: int
    """Windows with a true positive."""
    convergence: dict[str, dict[str, float]]
    """`Convergence.summary` of the attributed windows, for every method that starts at a baseline;
    its table carries it too, as Parquet metadata `convergence`."""
    agreement: pa.Table | None
    """How alike the methods' rankings are; None where there is one."""


def merge(plan: ShardPlan, folder: AnyPath) -> MergeResult:
    """Add the shards up in order, and write `folder/kmers/METHOD.parquet` and `.csv`.

    With more than one gradient method there is also `consensus`.  Memory is that of one shard and
    the tables.

    Raises:
        InputError: a shard is missing or damaged, or no window has a true positive.
    """
    settings = plan.settings
    config = KmerConfig(
        k=settings.k,
        merge_strands=settings.merge_strands,
        outside=settings.background == "outside",
    )
    sums: dict[str, KmerSums] = {
        name: KmerSums.zero(config) for name in settings.methods if METHODS[name].scores_bases
    }
    counts = KmerCounts.zero(config)
    integrals: dict[str, list[Convergence]] = {}
    windows = attributed = 0
    share = 1.0 if settings.kmer_score == "sum" else 1.0 / settings.k
    for part in _parts(plan, folder):
        for name, scores in part.scores.items():
            sums[name] += fold_kmers(part.bases, scores * share, config, part.true_positive)
        counts = counts.plus(count_kmers(part.bases, part.true_positive, config))
        chosen = np.flatnonzero(part.true_positive.any(axis=1))
        for name, integral in part.integrals.items():
            integrals.setdefault(name, []).append(integral.rows(chosen))
        windows += len(part.window_id)
        attributed += len(chosen)
    if not attributed:
        raise plan.nothing_found()
    whole = {
        name: Convergence(*map(np.concatenate, zip(*parts, strict=True)))
        for name, parts in integrals.items()
    }
    convergence = {name: found.summary(settings.tolerance) for name, found in whole.items()}
    _warn_unconverged(convergence, settings.tolerance)
    least = settings.min_count
    tables = {
        name: kmer_table(
            found, min_count=least, by=settings.ranking, background=settings.background
        )
        for name, found in sums.items()
    }
    if any(table.num_rows == 0 for table in tables.values()):
        raise InputError(
            f"split {plan.split}",
            f"{attributed} windows with true positives",
            f"no {config.k}-mer stands {least} times inside true positives",
            "choose a split with more of them, or lower min_count",
        )
    agreed = None
    if len(sums) > 1:
        agreed = agreement(tables, column=settings.ranking)
        tables["consensus"] = consensus_ranking(
            tables,
            by=settings.consensus,
            positive_only=settings.positive_only,
            column=settings.ranking,
        )
    if "tp" in settings.methods:
        tables["tp"] = true_positive_table(counts, min_count=least)
    for name, summary in convergence.items():
        tables[name] = tables[name].replace_schema_metadata({"convergence": json.dumps(summary)})
    also = {} if agreed is None else {"agreement": agreed}
    _write(tables | also, folder / "kmers")
    return MergeResult(tables, tables_sha256(tables), windows, attributed, convergence, agreed)


def tables_sha256(tables: dict[str, pa.Table]) -> str:
    """sha256 over names, columns and exact values, not over files, which carry versions."""
    digest = hashlib.sha256()
    for name, table in sorted(tables.items()):
        for column in table.column_names:
            values = table[column].combine_chunks()
            digest.update(f"{name} {column} {values.type} {len(values)}\n".encode())
            plain = values.to_numpy(zero_copy_only=False)
            if pa.types.is_string(values.type):
                digest.update("\n".join(plain).encode())
            else:
                digest.update(np.ascontiguousarray(plain).tobytes())
    return digest.hexdigest()


def _parts(plan: ShardPlan, folder: AnyPath) -> Iterator[WindowAttribution]:
    for index in range(len(plan.shards)):
        yield read_shard(plan, index, folder)


def _warn_unconverged(convergence: dict[str, dict[str, float]], tolerance: float | None) -> None:
    for name, found in convergence.items():
        title = METHODS[name].title
        if found["not_converged"]:
            _log.warning(
                "%s of %d of %d windows is not within its tolerance of %g; raise max_steps",
                title,
                found["not_converged"],
                found["windows"],
                tolerance,
            )
        if found["completeness_median"] > COMPLETENESS_LIMIT:
            _log.warning(
                "%s has not converged: median completeness error %.2g; give more steps, a "
                "tolerance, or a baseline other than zero",
                title,
                found["completeness_median"],
            )


def _write(tables: dict[str, pa.Table], folder: AnyPath) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with atomic_file(folder / f"{name}.parquet") as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
        with atomic_file(folder / f"{name}.csv") as temporary:
            pyarrow.csv.write_csv(
                table,
                temporary,
                pyarrow.csv.WriteOptions(quoting_style="none", quoting_header="none"),
            )
