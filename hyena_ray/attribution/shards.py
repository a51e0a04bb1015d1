"""Attribute a split exactly once: the plan, its shards, and their merge into k-mer tables."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.attribution.consensus import agreement, consensus_ranking
from hyena_ray.attribution.engine import Convergence, WindowAttribution, attribute_windows
from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, KmerSums, count_kmers, fold_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.tables import kmer_table, true_positive_table
from hyena_ray.attribution.targets import trim_tokens, true_positives
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.sharded import (
    WorkPlan,
    read_shard_file,
    shard_file_is_complete,
    write_shard_file,
)
from hyena_ray.errors import InputError
from hyena_ray.files import atomic_file, sha256_file
from hyena_ray.model.window import WindowModel
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

SHARD_SIZE = 256
"""Windows of a shard: seconds of work, and less is lost with a worker than it costs to keep."""


class Shard(Settings):
    """Some windows in a row, in order of their ids."""

    first_row: int
    last_row: int
    """One past the last row."""
    first_id: int
    last_id: int
    """The last window's own id."""


class ShardPlan(WorkPlan):
    """What an attribution depends on."""

    work: ClassVar[str] = "attribution"

    length: int
    """Bases of a window."""
    split: str
    data: str
    """sha256 of the prepared data's manifest."""
    model: str
    """sha256 of weights, readout and threshold."""
    settings: AttributionSettings
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]

    @classmethod
    def make(
        cls,
        model: WindowModel,
        data: PreparedData,
        *,
        split: str,
        settings: AttributionSettings,
        limit: int | None = None,
        size: int = SHARD_SIZE,
    ) -> Self:
        """Cut the windows of a split, at the length that the model reads, into shards of `size`.

        Args:
            limit: of the windows: so many at most, in shards that lie evenly over the split.

        Raises:
            InputError: the data have no such split, windows of another length or too short a
                flank, or windows shorter than k; or a limit below one shard.
        """
        if limit is not None and limit < size:
            raise InputError("--limit", limit, f"below a shard of {size} windows", "raise it")
        length, flank = model.readout.window, model.readout.required_flank
        if settings.k > length:
            raise InputError("k", settings.k, f"longer than a window of {length} bases", "lower it")
        if data.manifest.flank < flank:
            raise InputError(
                data.folder,
                f"flank {data.manifest.flank}",
                f"the model needs a flank of {flank}",
                f"prepare the data with --flank {flank} or more",
            )
        ids = data.window_ids(length, split)
        if not len(ids):
            raise InputError(data.folder, split, "the split has no windows", "choose another split")
        shards = tuple(
            Shard(
                first_row=first,
                last_row=min(first + size, len(ids)),
                first_id=int(ids[first]),
                last_id=int(ids[min(first + size, len(ids)) - 1]),
            )
            for first in range(0, len(ids), size)
        )
        return cls(
            length=length,
            split=split,
            data=sha256_file(data.folder / MANIFEST),
            model=model_sha256(model),
            settings=settings,
            shards=shards if limit is None else shards[:: -(-len(shards) // (limit // size))],
        )

    def require_true_positives(self, model: WindowModel, data: PreparedData) -> None:
        """Look for a true positive: where there is none, nothing has to be written to find it out.

        Raises:
            InputError: the model finds no labelled base.
        """
        for shard in self.shards:
            windows = data.read_rows(self.length, self.split, shard.first_row, shard.last_row)
            tokens = trim_tokens(model, windows)
            if true_positives(model, tokens, windows.labels, self.settings.batch).any():
                return
        raise self.no_true_positives_error()

    def no_true_positives_error(self) -> InputError:
        """What is said where no window has a true positive."""
        windows = sum(shard.last_row - shard.first_row for shard in self.shards)
        return InputError(
            f"split {self.split}",
            f"{windows} windows",
            "the model finds no labelled base, so there is nothing to attribute",
            "train it longer, lower its threshold, or choose a split with labelled windows",
        )


def model_sha256(model: WindowModel) -> str:
    """sha256 of a model's weights, readout and threshold, whatever file it came from."""
    digest = hashlib.sha256(model.readout.model_dump_json().encode())
    digest.update(repr(float(model.threshold)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.numpy().tobytes())
    return digest.hexdigest()


CAREFUL_AFTER = 2
"""Tries of a shard that came to nothing, before its windows are tried one by one."""


def shard_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / "shards" / f"shard-{index:05d}.parquet"


def shard_is_complete(plan: ShardPlan, index: int, folder: AnyPath) -> bool:
    """Whether a shard's file is there and was made by this plan; reads its footer only."""
    shard = plan.shards[index]
    rows = shard.last_row - shard.first_row
    return shard_file_is_complete(shard_path(folder, index), plan.key, rows)


def missing_shards(plan: ShardPlan, folder: AnyPath) -> list[int]:
    """Numbers of the shards that are still to be computed, in order."""
    return [
        index for index in range(len(plan.shards)) if not shard_is_complete(plan, index, folder)
    ]


def run_shard(
    model: WindowModel, data: PreparedData, plan: ShardPlan, index: int, folder: AnyPath
) -> AnyPath:
    """Compute one shard and write its file, unless it is complete already.

    Every try leaves a line in a note beside the file until the shard is complete. From the third
    on, each window is attributed alone first, so that `suspect` knows which one ends the process.

    Raises:
        InputError: data or model are not those of the plan.
    """
    path = shard_path(folder, index)
    if shard_is_complete(plan, index, folder):
        return path
    remedy = "continue with the same ones, or start anew with --overwrite"
    if sha256_file(data.folder / MANIFEST) != plan.data:
        raise InputError(data.folder, None, "not the data that the plan was made for", remedy)
    if model_sha256(model) != plan.model:
        raise InputError("model", None, "not the model that the plan was made for", remedy)
    shard = plan.shards[index]
    windows = data.read_rows(plan.length, plan.split, shard.first_row, shard.last_row)
    note = _note(folder, index)
    note.parent.mkdir(parents=True, exist_ok=True)
    told = f"{note.read_text() if note.exists() else ''}begun\n"
    note.write_text(told)
    if told.count("begun") > CAREFUL_AFTER:
        for row, identity in enumerate(windows.window_id):
            note.write_text(f"{told}{identity}\n")
            attribute_windows(model, windows.rows(np.array([row])), plan.settings)
        note.write_text(f"{told}all\n")
    table = shard_table(attribute_windows(model, windows, plan.settings))
    for name, column in _places(windows).items():
        table = table.append_column(name, column)
    write_shard_file(table, path, plan.key)
    note.unlink(missing_ok=True)  # another worker may have done the same shard meanwhile
    return path


def suspect_window(index: int, folder: AnyPath) -> int | None:
    """window_id at which the last try of a shard ended, if it went window by window."""
    try:
        last = _note(folder, index).read_text().split()[-1]
    except (OSError, IndexError):
        return None
    return int(last) if last.isdecimal() else None


def _note(folder: AnyPath, index: int) -> AnyPath:
    return shard_path(folder, index).with_suffix(".tries")


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


def read_shard(plan: ShardPlan, index: int, folder: AnyPath) -> WindowAttribution:
    """Read a complete shard back, as `read_shard_table` does."""
    return parse_shard_table(plan, read_shard_table(plan, index, folder))


def read_shard_table(plan: ShardPlan, index: int, folder: AnyPath) -> pa.Table:
    """Read the file of a complete shard, page checksums verified: the columns of `shard_table`, and
    `contig`, `start` and `labels` of the windows.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    shard = plan.shards[index]
    rows = shard.last_row - shard.first_row
    return read_shard_file(shard_path(folder, index), plan.key, rows)


def parse_shard_table(plan: ShardPlan, table: pa.Table) -> WindowAttribution:
    """The attribution that a shard's table holds."""
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


def _places(windows: Windows) -> dict[str, pa.Array]:
    """What a reader of the shard without the data wants to know of its windows: `contig`, `start`
    and `labels`, as `Windows` has them."""
    return {
        "contig": pa.array(windows.contig.tolist(), pa.string()).dictionary_encode(),
        "start": pa.array(windows.start),
        "labels": _tensor(windows.labels),
    }


def _tensor(array: NDArray[Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])


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


def merge_shards(plan: ShardPlan, folder: AnyPath) -> MergeResult:
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
        raise plan.no_true_positives_error()
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
