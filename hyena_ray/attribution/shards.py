"""Compute attribution in shards, exactly once.  No Ray here.

The driver, with any scheduler over shard numbers, calls in this order:

    data = PreparedData.open(data_folder)
    model = load_window_model(model_folder)
    plan = ShardPlan.make(model, data, split="test", settings=AttributionSettings())
    plan.begin(folder)                     # writes folder/shards/plan.json, or checks a resumed one
    for index in missing(plan, folder):    # in actors, in any order, any number of times
        run_shard(model, data, plan, index, folder)
    result = merge(plan, folder)           # of merge.py: writes folder/kmers/*.parquet and *.csv

`plan` (hyena_ray/attribution/plan.py) is small and picklable: send it to the actors, and let every
actor open data and model itself, once, on as many threads as the others.  `run_shard` computes
nothing when the file is complete already, and may run twice at once: a file appears whole or not at
all.  `missing` is also the check that all is done.  What a shard holds depends on the plan alone,
not on the number of workers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hyena_ray.attribution.engine import Convergence, WindowAttribution, attribute_windows
from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.plan import ShardPlan, model_sha256
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dataset.sharded import read_shard_file, shard_file_is_complete, write_shard_file
from hyena_ray.errors import InputError
from hyena_ray.files import sha256_file
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import AnyPath

CAREFUL_AFTER = 2
"""Tries of a shard that came to nothing, before its windows are tried one by one."""


def shard_path(folder: AnyPath, index: int) -> AnyPath:
    return folder / "shards" / f"shard-{index:05d}.parquet"


def is_complete(plan: ShardPlan, index: int, folder: AnyPath) -> bool:
    """Whether a shard's file is there and was made by this plan; reads its footer only."""
    shard = plan.shards[index]
    rows = shard.last_row - shard.first_row
    return shard_file_is_complete(shard_path(folder, index), plan.key, rows)


def missing(plan: ShardPlan, folder: AnyPath) -> list[int]:
    """Numbers of the shards that are still to be computed, in order."""
    return [index for index in range(len(plan.shards)) if not is_complete(plan, index, folder)]


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
    if is_complete(plan, index, folder):
        return path
    remedy = "continue with the same ones, or start anew with --overwrite"
    if sha256_file(data.folder / MANIFEST) != plan.data:
        raise InputError(data.folder, None, "not the data that the plan was made for", remedy)
    if model_sha256(model) != plan.model:
        raise InputError("model", None, "not the model that the plan was made for", remedy)
    shard = plan.shards[index]
    windows = data.read_rows(plan.length, plan.split, shard.first_row, shard.last_row)
    note = _note(folder, index)
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


def suspect(index: int, folder: AnyPath) -> int | None:
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
    return shard_of_table(plan, read_shard_table(plan, index, folder))


def read_shard_table(plan: ShardPlan, index: int, folder: AnyPath) -> pa.Table:
    """Read the file of a complete shard, page checksums verified: the columns of `shard_table`, and
    `contig`, `start` and `labels` of the windows.

    Raises:
        InputError: the file is missing, damaged or of another plan.
    """
    shard = plan.shards[index]
    rows = shard.last_row - shard.first_row
    return read_shard_file(shard_path(folder, index), plan.key, rows)


def shard_of_table(plan: ShardPlan, table: pa.Table) -> WindowAttribution:
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
