"""Compute attribution in shards, exactly once, and merge them into tables.  No Ray here.

The driver, with any scheduler over shard numbers, calls in this order:

    data = PreparedData.open(data_folder)
    model = load_window_model(model_folder)
    plan = ShardPlan.make(model, data, split="test", settings=AttributionSettings())
    plan.begin(folder)                     # writes folder/shards/plan.json, or checks a resumed one
    for index in missing(plan, folder):    # in actors, in any order, any number of times
        run_shard(model, data, plan, index, folder)
    result = merge(plan, folder)           # writes folder/kmers/*.parquet and *.csv

`plan` (hyena_ray/attribution/plan.py) is small and picklable: send it to the actors, and let every
actor open data and model itself, once, on as many threads as the others.  `run_shard` computes
nothing when the file is complete already, and may run twice at once: a file appears whole or not at
all.  `missing` is also the check that all is done.  What a shard holds depends on the plan alone,
not on the number of workers.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hyena_ray.attribution.consensus import agreement, consensus_ranking
from hyena_ray.attribution.engine import Convergence, WindowAttribution, attribute_windows
from hyena_ray.attribution.kmer_sums import KmerSums, fold_kmers
from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, count_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.plan import ShardPlan, model_sha256
from hyena_ray.attribution.tables import kmer_table, true_positive_table
from hyena_ray.dataset.manifest import NAME as MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, sha256_file
from hyena_ray.model.window import WindowModel

COMPLETENESS_LIMIT = 0.01
"""Median completeness error past which Integrated Gradients is called not converged."""
_KEY = b"hyena_ray.plan"
_log = logging.getLogger(__name__)


class MergeResult(NamedTuple):
    tables: dict[str, pa.Table]
    """Name of the table (a method, or `consensus`) to what was written, best k-mer first."""
    digest: str
    """sha256 over the content of all tables; equal for equal plans on one platform."""
    windows: int
    attributed: int
    """Windows with a true positive."""
    integrals: dict[str, Convergence]
    """Of the attributed windows, for every method that starts at a baseline."""
    agreement: pa.Table | None
    """How alike the methods' rankings are; None where there is one."""


def shard_path(folder: Path, index: int) -> Path:
    return folder / "shards" / f"shard-{index:05d}.parquet"


def is_complete(plan: ShardPlan, index: int, folder: Path) -> bool:
    """Whether a shard's file is there and was made by this plan; reads its footer only."""
    shard = plan.shards[index]
    try:
        metadata = pq.read_metadata(shard_path(folder, index))
    except (OSError, pa.ArrowException):
        return False
    return (metadata.metadata or {}).get(_KEY) == plan.key.encode() and (
        metadata.num_rows == shard.last_row - shard.first_row
    )


def missing(plan: ShardPlan, folder: Path) -> list[int]:
    """Numbers of the shards that are still to be computed, in order."""
    return [index for index in range(len(plan.shards)) if not is_complete(plan, index, folder)]


def run_shard(
    model: WindowModel, data: PreparedData, plan: ShardPlan, index: int, folder: Path
) -> Path:
    """Compute one shard and write its file, unless it is complete already.

    Raises:
        InputError: data or model are not those of the plan.
    """
    path = shard_path(folder, index)
    if is_complete(plan, index, folder):
        return path
    remedy = "continue with the same ones, or start anew with --overwrite"
    if sha256_file(data.folder / MANIFEST) != plan.data:
        raise InputError(data.folder, None, "not the data that the plan was made for", remedy)
    if model_sha256(model) != plan.model:
        raise InputError("model", None, "not the model that the plan was made for", remedy)
    shard = plan.shards[index]
    windows = data.read_rows(plan.length, plan.split, shard.first_row, shard.last_row)
    table = shard_table(attribute_windows(model, windows, plan.settings))
    table = table.replace_schema_metadata({_KEY: plan.key.encode()})
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return path


def shard_table(attribution: WindowAttribution) -> pa.Table:
    """One row a window: `window_id`, `bases`, `true_positive`, a column per method with per-base
    scores (float32, NaN without a true positive), and for methods that start at a baseline
    `completeness_METHOD`, `error_METHOD`, `nodes_METHOD`."""
    columns: dict[str, pa.Array] = {
        "window_id": pa.array(attribution.window_id),
        "bases": _tensor(attribution.bases),
        "true_positive": _tensor(attribution.true_positive.astype(np.uint8)),
    }
    columns |= {name: _tensor(scores) for name, scores in attribution.scores.items()}
    for name, convergence in attribution.integrals.items():
        for field, values in convergence._asdict().items():
            columns[f"{field}_{name}"] = pa.array(values)
    return pa.table(columns)


def read_shard(plan: ShardPlan, index: int, folder: Path) -> WindowAttribution:
    """Read a complete shard back, page checksums verified.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    path = shard_path(folder, index)
    remedy = "remove the file and run again with --resume"
    if not is_complete(plan, index, folder):
        raise InputError(path, None, "missing, or not a shard of this plan", remedy)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, None, f"damaged ({error})", remedy) from None
    methods = [name for name in plan.settings.methods if name in table.column_names]
    return WindowAttribution(
        window_id=table["window_id"].to_numpy(),
        bases=_matrix(table["bases"]),
        true_positive=_matrix(table["true_positive"]).astype(bool),
        scores={name: _matrix(table[name]) for name in methods},
        integrals={
            name: Convergence(
                *(table[f"{field}_{name}"].to_numpy() for field in Convergence._fields)
            )
            for name in methods
            if METHODS[name].path
        },
    )


def merge(plan: ShardPlan, folder: Path) -> MergeResult:
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
        for name, convergence in part.integrals.items():
            integrals.setdefault(name, []).append(convergence.rows(chosen))
        windows += len(part.window_id)
        attributed += len(chosen)
    if not attributed:
        raise InputError(
            f"split {plan.split}",
            f"{windows} windows",
            "the model finds no labelled base, so there is nothing to attribute",
            "train it longer, lower its threshold, or choose a split with labelled windows",
        )
    merged = {
        name: Convergence(*map(np.concatenate, zip(*parts, strict=True)))
        for name, parts in integrals.items()
    }
    _warn_unconverged(merged, settings.tolerance)
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
    also = {} if agreed is None else {"agreement": agreed}
    _write(tables | also, folder / "kmers")
    return MergeResult(tables, tables_sha256(tables), windows, attributed, merged, agreed)


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


def _parts(plan: ShardPlan, folder: Path) -> Iterator[WindowAttribution]:
    for index in range(len(plan.shards)):
        yield read_shard(plan, index, folder)


def _warn_unconverged(integrals: dict[str, Convergence], tolerance: float | None) -> None:
    for name, found in integrals.items():
        title = METHODS[name].title
        # Not `error > tolerance`: what is not a number has not converged.
        wanting = 0 if tolerance is None else int((~(found.error <= tolerance)).sum())
        if wanting:
            _log.warning(
                "%s of %d of %d windows is not within its tolerance of %g; raise max_steps",
                title,
                wanting,
                len(found.error),
                tolerance,
            )
        median = float(np.median(found.completeness))
        if median > COMPLETENESS_LIMIT:
            _log.warning(
                "%s has not converged: median completeness error %.2g; give more steps, a "
                "tolerance, or a baseline other than zero",
                title,
                median,
            )


def _write(tables: dict[str, pa.Table], folder: Path) -> None:
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


def _tensor(array: NDArray[Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])
