"""Attribution of a split, exactly once: the plan, its shards, and their merge into k-mer tables.

The driver, with any scheduler over shard numbers, calls in this order:

    data = PreparedData.open(data_folder)
    model = load_window_model(model_folder)
    plan = ShardPlan.make(model, data, split="test", settings=AttributionSettings())
    attributor = Attributor(model, plan.settings)
    for index in missing_shards(plan, folder):  # in actors, in any order, any number of times
        run_shard(attributor, data, plan, index, folder)
    result = merge_shards(plan, folder)         # writes folder/kmers/*.parquet and *.csv

Work is cut by the order of window ids into shards of a size that the plan fixes, never by the
number of workers, and the merge reads the shards in order: counts are integers and sums are
float64, so tables are the same to the last bit however the work was distributed. That is why the
reduction is ours and no library's. A shard is one file that appears whole or not at all, and
carries the key of its plan. The plan is small and can be pickled: send it to the actors, and let
every actor open data and model once, with as many threads as the others. Whether a folder belongs
to a plan is for the caller to check, before the first shard.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from hyena_ray.attribution.consensus import agreement, consensus_ranking, disagreements
from hyena_ray.attribution.engine import Attributor, Convergence, WindowAttribution
from hyena_ray.attribution.kmers import KmerConfig, KmerCounts, KmerSums, count_kmers, fold_kmers
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.tables import kmer_table, true_positive_table
from hyena_ray.attribution.targets import pass_positions, trim_tokens, true_positives
from hyena_ray.dataset.reader import PreparedData, sample_evenly
from hyena_ray.dataset.schema import Windows
from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.model.saved import model_sha256
from hyena_ray.model.window import WindowModel
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.shard_files import (
    read_shard_file,
    shard_file_is_complete,
    write_shard_file,
)
from hyena_ray.runs.table_file import explained, write_tables
from hyena_ray.settings import Settings
from hyena_ray.storage import AnyPath

SHARD_SIZE = 256
"""Windows of a shard: seconds of work, so that little is lost with a worker, and few files."""
READ_ROWS = 4096
"""Windows of prepared data that are in memory at once, where a few of many are attributed."""
CAREFUL_AFTER = 2
"""Failed attempts at a shard after which its windows are attempted one by one."""
COMPLETENESS_LIMIT = 0.01
"""Median completeness error above which Integrated Gradients are reported as not converged."""

_log = logging.getLogger(__name__)


class Shard(Settings):
    """Consecutive windows of a plan, in the order of their ids."""

    first: int
    """Number of its first window among those of the plan."""
    last: int
    """One past the number of its last window."""
    first_id: int
    """Id of the first window."""
    last_id: int
    """Id of the last window itself."""

    @property
    def windows(self) -> int:
        """Number of windows."""
        return self.last - self.first


class ShardPlan(Plan):
    """Everything that the scores of an attribution depend on, and how the work is cut.

    Where data and model are stored is not part of it; what they contain is.
    """

    KIND: ClassVar[str] = "attribute"

    length: int
    """Bases of a window."""
    split: str
    """Split whose windows are attributed."""
    split_windows: int
    """Number of windows of the split."""
    windows: int
    """Number of windows of the plan, spread evenly over those of the split."""
    data: str
    """sha256 of the manifest of the prepared data."""
    model: str
    """sha256 of weights, readout and threshold; see `model_sha256`."""
    settings: AttributionSettings
    """Methods and their settings."""
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    """Shards in the order of their windows."""

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
        """Cut the windows of a split, at the length that the model reads, into shards.

        Args:
            model: Model that is attributed.
            data: Prepared data.
            split: Split whose windows are attributed.
            settings: Methods and their settings.
            limit: Use at most this many windows, sampled evenly across the split; None uses all.
            size: Windows of a shard.

        Raises:
            InputError: The data do not have the split, or windows of that length; the flank is too
                short, or windows are shorter than k.
        """
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
        every = data.window_ids(length, split)
        if not len(every):
            raise InputError(data.folder, split, "the split has no windows", "choose another split")
        ids = every if limit is None else every[sample_evenly(len(every), limit)]
        shards = tuple(
            Shard(
                first=first,
                last=min(first + size, len(ids)),
                first_id=int(ids[first]),
                last_id=int(ids[min(first + size, len(ids)) - 1]),
            )
            for first in range(0, len(ids), size)
        )
        return cls(
            length=length,
            split=split,
            split_windows=len(every),
            windows=len(ids),
            data=sha256_file(data.folder / MANIFEST),
            model=model_sha256(model),
            settings=settings,
            shards=shards,
        )

    def read_windows(self, data: PreparedData, index: int) -> Windows:
        """Read the windows of a shard.

        Args:
            data: Prepared data of the plan.
            index: Number of the shard.

        Returns:
            The windows, in the order of their ids.

        Raises:
            InputError: A file is damaged, or is not what the data's manifest says.
        """
        shard = self.shards[index]
        rows = sample_evenly(self.split_windows, self.windows)[shard.first : shard.last]
        # Windows between the sampled ones are read too, but not all of them at once.
        parts = np.split(rows, np.flatnonzero(np.diff(rows // READ_ROWS)) + 1)
        windows = [
            data.read_rows(self.length, self.split, int(part[0]), int(part[-1]) + 1).rows(
                part - part[0]
            )
            for part in parts
        ]
        return Windows(*map(np.concatenate, zip(*windows, strict=True)))

    def require_true_positives(self, model: WindowModel, data: PreparedData) -> None:
        """Look for a window with a true positive, before anything is written.

        Args:
            model: Model of the plan.
            data: Prepared data of the plan.

        Raises:
            InputError: The model predicts no labelled base.
        """
        positions = pass_positions(model, self.settings)
        for index in range(len(self.shards)):
            windows = self.read_windows(data, index)
            tokens = trim_tokens(model, windows)
            if true_positives(model, tokens, windows.labels, positions).any():
                return
        raise self.no_true_positives_error()

    def no_true_positives_error(self) -> InputError:
        """Return the refusal of a split in which no window has a true positive."""
        return InputError(
            f"split {self.split}",
            f"{self.windows} windows",
            "the model finds no labelled base, so there is nothing to attribute",
            "train it longer, lower its threshold, or choose a split with labelled windows",
        )


def shard_path(folder: AnyPath, index: int) -> AnyPath:
    """Return the path of a shard's file.

    Args:
        folder: Folder of the attribution.
        index: Number of the shard.
    """
    return folder / "shards" / f"shard-{index:05d}.parquet"


def shard_is_complete(plan: ShardPlan, index: int, folder: AnyPath) -> bool:
    """Return whether a shard's file exists and was made by this plan; reads its footer only.

    Args:
        plan: Plan of the attribution.
        index: Number of the shard.
        folder: Folder of the attribution.
    """
    rows = plan.shards[index].windows
    return shard_file_is_complete(shard_path(folder, index), plan.fingerprint, rows)


def missing_shards(plan: ShardPlan, folder: AnyPath) -> list[int]:
    """Return the numbers of the shards that are still to be computed, in order.

    Args:
        plan: Plan of the attribution.
        folder: Folder of the attribution.
    """
    numbers = range(len(plan.shards))
    return [index for index in numbers if not shard_is_complete(plan, index, folder)]


def run_shard(
    attributor: Attributor, data: PreparedData, plan: ShardPlan, index: int, folder: AnyPath
) -> AnyPath:
    """Compute one shard and write its file, unless it is complete already.

    It may run twice at the same time. Every attempt adds a line to a note next to the file until
    the shard is complete; from the third attempt on, each window is attributed alone first, so that
    `suspect_window` knows which one ends the process.

    Args:
        attributor: Attributor with the model and settings of the plan.
        data: Prepared data of the plan.
        plan: Plan of the attribution.
        index: Number of the shard.
        folder: Folder of the attribution.

    Returns:
        Path of the file.

    Raises:
        InputError: Data or model are not those of the plan.
    """
    path = shard_path(folder, index)
    if shard_is_complete(plan, index, folder):
        return path
    remedy = "continue with the same ones, or start anew with --overwrite"
    if sha256_file(data.folder / MANIFEST) != plan.data:
        raise InputError(data.folder, None, "not the data that the plan was made for", remedy)
    if attributor.model_sha256 != plan.model:
        raise InputError("model", None, "not the model that the plan was made for", remedy)
    windows = plan.read_windows(data, index)
    note = _note_path(folder, index)
    note.parent.mkdir(parents=True, exist_ok=True)
    attempts = f"{note.read_text() if note.exists() else ''}started\n"
    note.write_text(attempts)
    if attempts.count("started") > CAREFUL_AFTER:
        for row, window_id in enumerate(windows.window_id):
            note.write_text(f"{attempts}{window_id}\n")
            attributor(windows.rows(np.array([row])))
        note.write_text(f"{attempts}all\n")
    table = shard_table(attributor(windows))
    for name, column in _window_columns(windows).items():
        table = table.append_column(name, column)
    write_shard_file(table, path, plan.fingerprint)
    note.unlink(missing_ok=True)  # another worker may have finished the same shard meanwhile
    return path


def suspect_window(index: int, folder: AnyPath) -> int | None:
    """Return the id of the window at which the last attempt at a shard ended.

    Args:
        index: Number of the shard.
        folder: Folder of the attribution.

    Returns:
        The id, or None where the last attempt did not go window by window.
    """
    try:
        last = _note_path(folder, index).read_text().split()[-1]
    except (OSError, IndexError):
        return None
    return int(last) if last.isdecimal() else None


def _note_path(folder: AnyPath, index: int) -> AnyPath:
    return shard_path(folder, index).with_suffix(".tries")


def shard_table(attribution: WindowAttribution) -> pa.Table:
    """Return the table of an attribution, one row for each window.

    Args:
        attribution: Attribution of the windows of a shard.

    Returns:
        Columns `window_id`, `bases`, `true_positive`, `positions`; one column for each method with
        its per-base scores (float32, NaN without a true positive); and `completeness_METHOD`,
        `error_METHOD` and `nodes_METHOD` for methods that integrate from a baseline.
    """
    columns: dict[str, pa.Array] = {
        "window_id": pa.array(attribution.window_id),
        "bases": _tensor_column(attribution.bases),
        "true_positive": _tensor_column(attribution.true_positive.astype(np.uint8)),
        "positions": pa.array(np.full(len(attribution.bases), attribution.positions)),
    }
    columns |= {name: _tensor_column(scores) for name, scores in attribution.scores.items()}
    for name, convergence in attribution.integrals.items():
        for field, values in convergence._asdict().items():
            columns[f"{field}_{name}"] = pa.array(values)
    return pa.table(columns)


def read_shard(plan: ShardPlan, index: int, folder: AnyPath) -> WindowAttribution:
    """Read the attribution of a complete shard.

    Args:
        plan: Plan of the attribution.
        index: Number of the shard.
        folder: Folder of the attribution.

    Raises:
        InputError: The file is missing, damaged or of another plan.
    """
    return parse_shard_table(plan, read_shard_table(plan, index, folder))


def read_shard_table(plan: ShardPlan, index: int, folder: AnyPath) -> pa.Table:
    """Read the table of a complete shard, page checksums verified.

    Args:
        plan: Plan of the attribution.
        index: Number of the shard.
        folder: Folder of the attribution.

    Returns:
        The columns of `shard_table`, and `contig`, `start` and `labels` of the windows.

    Raises:
        InputError: The file is missing, damaged or of another plan.
    """
    rows = plan.shards[index].windows
    return read_shard_file(shard_path(folder, index), plan.fingerprint, rows)


def parse_shard_table(plan: ShardPlan, table: pa.Table) -> WindowAttribution:
    """Return the attribution that a shard's table holds.

    Args:
        plan: Plan of the attribution.
        table: Table as `read_shard_table` returns it.
    """
    methods = [name for name in plan.settings.methods if name in table.column_names]
    return WindowAttribution(
        window_id=table["window_id"].to_numpy(),
        bases=_tensor_values(table["bases"]),
        true_positive=_tensor_values(table["true_positive"]).astype(bool),
        scores={name: _tensor_values(table[name]) for name in methods},
        integrals={
            name: Convergence(
                *(table[f"{field}_{name}"].to_numpy() for field in Convergence._fields)
            )
            for name in methods
            if METHODS[name].path
        },
        positions=table["positions"][0].as_py(),
    )


def _window_columns(windows: Windows) -> dict[str, pa.Array]:
    """Return what a reader of the shard needs to know of its windows without the prepared data."""
    return {
        "contig": pa.array(windows.contig.tolist(), pa.string()).dictionary_encode(),
        "start": pa.array(windows.start),
        "labels": _tensor_column(windows.labels),
    }


def _tensor_column(array: NDArray[Any]) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _tensor_values(column: pa.ChunkedArray) -> NDArray[Any]:
    return np.concatenate([chunk.to_numpy_ndarray() for chunk in column.chunks])


class MergeResult(NamedTuple):
    """K-mer tables of a complete attribution, and figures about it."""

    tables: dict[str, pa.Table]
    """Written tables by name (a method, or `consensus`), best k-mer first."""
    digest: str
    """sha256 of the content of all tables; equal for equal plans on one platform."""
    windows: int
    """Number of windows."""
    attributed: int
    """Number of windows with a true positive."""
    convergence: dict[str, dict[str, float]]
    """`Convergence.summary` of the attributed windows for each method that integrates from a
    baseline; its Parquet file holds it too, as metadata `convergence`."""
    methods: tuple[str, ...]
    """Methods that score bases; the consensus is of all of them, where there are several."""
    agreement: pa.Table | None
    """Similarity of the methods' rankings; None for a single method."""
    notes: tuple[str, ...]
    """Warnings of methods that disagree. Like the methods of the consensus, they are in the
    metadata of its Parquet file and of that of the agreement."""
    positions: tuple[int, ...]
    """Distinct numbers of sequence positions of a pass, ascending. There is more than one only if a
    GPU ran out of memory; then the digest may differ from that of other runs."""


def merge_shards(plan: ShardPlan, folder: AnyPath) -> MergeResult:
    """Add up the shards of a plan in order, and write `kmers/METHOD.parquet` and `.csv`.

    With more than one method that scores bases there are also `consensus` and `agreement`. Tables
    in which no k-mer can be listed are empty and say why, since hours of work are behind them.
    Memory is that of one shard and the tables.

    Args:
        plan: Plan of the attribution.
        folder: Folder of the attribution, with all shards.

    Returns:
        The tables and figures about them.

    Raises:
        InputError: A shard is missing or damaged.
    """
    settings = plan.settings
    config = KmerConfig(k=settings.k, merge_strands=settings.merge_strands)
    sums: dict[str, KmerSums] = {
        name: KmerSums.zero(config) for name in settings.methods if METHODS[name].scores_bases
    }
    counts = KmerCounts.zero(config)
    integrals: dict[str, list[Convergence]] = {}
    windows = attributed = 0
    positions: set[int] = set()
    factor = 1.0 if settings.kmer_score == "sum" else 1.0 / settings.k
    for shard in _read_shards(plan, folder):
        for name, scores in shard.scores.items():
            sums[name] += fold_kmers(shard.bases, scores * factor, config, shard.true_positive)
        counts = counts.plus(count_kmers(shard.bases, shard.true_positive, config))
        chosen = np.flatnonzero(shard.true_positive.any(axis=1))
        for name, integral in shard.integrals.items():
            integrals.setdefault(name, []).append(integral.rows(chosen))
        windows += len(shard.window_id)
        positions.add(shard.positions)
        attributed += len(chosen)
    convergence = {
        name: Convergence(*map(np.concatenate, zip(*parts, strict=True))).summary(
            settings.tolerance
        )
        for name, parts in integrals.items()
        if attributed
    }
    _warn_unconverged(convergence, settings.tolerance)
    tables = {
        name: kmer_table(method_sums, min_count=settings.min_count, by=settings.ranking)
        for name, method_sums in sums.items()
    }
    similarity = None
    notes: tuple[str, ...] = ()
    if len(sums) > 1:
        ranked = {name: tables[name] for name in sums}
        similarity = agreement(ranked, column=settings.ranking, may_be_empty=True)
        notes = disagreements(similarity)
        metadata = {"methods": json.dumps(list(sums)), "notes": json.dumps(notes)}
        similarity = similarity.replace_schema_metadata(metadata)
        tables["consensus"] = consensus_ranking(
            ranked,
            by=settings.consensus,
            positive_only=settings.positive_only,
            column=settings.ranking,
            may_be_empty=True,
        ).replace_schema_metadata(metadata)
    if "tp" in settings.methods:
        tables["tp"] = true_positive_table(counts, min_count=settings.min_count)
    for name, summary in convergence.items():
        tables[name] = tables[name].replace_schema_metadata({"convergence": json.dumps(summary)})
    reasons = {name: _why_empty(plan, attributed, name) for name in tables}
    for name, table in tables.items():
        if not table.num_rows:
            tables[name] = explained(table, reasons[name])
    if similarity is not None and not similarity.num_rows:
        similarity = explained(similarity, _why_empty(plan, attributed, "agreement"))
    notes += tuple(dict.fromkeys(reasons[name] for name in tables if not tables[name].num_rows))
    for note in notes:
        _log.warning("%s", note)
    also_written = {} if similarity is None else {"agreement": similarity}
    write_tables(tables | also_written, folder / "kmers")
    return MergeResult(
        tables=tables,
        digest=tables_sha256(tables),
        windows=windows,
        attributed=attributed,
        convergence=convergence,
        methods=tuple(sums),
        agreement=similarity,
        notes=notes,
        positions=tuple(sorted(positions)),
    )


def _why_empty(plan: ShardPlan, attributed: int, table: str) -> str:
    """Say why no k-mer is listed, and what to do, if a table has none."""
    settings = plan.settings
    where = f"split {plan.split}, {attributed} of {plan.windows} windows with true positives"
    if not attributed:
        return f"{where}: the model finds no labelled base, so that there is nothing to attribute"
    if table == "consensus" and settings.positive_only:
        return (
            f"{where}: no {settings.k}-mer of the tables scores above zero under every method; "
            "read the methods' own tables"
        )
    inside = "" if table == "tp" else " inside true positives"
    return (
        f"{where}: no {settings.k}-mer occurs {settings.min_count} times{inside}; choose a split "
        "with more of them, a smaller k, or a lower min_count"
    )


def tables_sha256(tables: dict[str, pa.Table]) -> str:
    """Return the sha256 of names, columns and exact values; files differ by library versions.

    Args:
        tables: Tables by name.
    """
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


def _read_shards(plan: ShardPlan, folder: AnyPath) -> Iterator[WindowAttribution]:
    for index in range(len(plan.shards)):
        yield read_shard(plan, index, folder)


def _warn_unconverged(convergence: dict[str, dict[str, float]], tolerance: float | None) -> None:
    for name, summary in convergence.items():
        title = METHODS[name].title
        if summary["not_converged"]:
            _log.warning(
                "%s of %d of %d windows is not within its tolerance of %g; raise max_steps",
                title,
                summary["not_converged"],
                summary["windows"],
                tolerance,
            )
        if summary["completeness_median"] > COMPLETENESS_LIMIT:
            _log.warning(
                "%s has not converged: median completeness error %.2g; give more steps, a "
                "tolerance, or a baseline other than zero",
                title,
                summary["completeness_median"],
            )
