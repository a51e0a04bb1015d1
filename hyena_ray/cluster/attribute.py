"""Attribution on a pool of actors: k-mer tables of one split under one model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from hyena_ray.attribution.plan import ShardPlan
from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import MergeResult, is_complete, merge, missing, run_shard
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Resources, place
from hyena_ray.cluster.start import Cluster
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.model.window import WindowModel, load_window_model

logger = logging.getLogger(__name__)


def check_model_fits(model: WindowModel, data: PreparedData, folder: Path) -> None:
    """Refuse data that a model cannot read.

    Raises:
        InputError: no windows of the model's length, or too short a flank.
    """
    readout, manifest = model.readout, data.manifest
    if readout.window not in manifest.lengths:
        prepared = ", ".join(map(str, manifest.lengths))
        raise InputError(
            folder,
            f"window of {readout.window} bases",
            f"the data in {data.folder} has windows of {prepared} bases",
            f"prepare data with --lengths {readout.window}, or give another model",
        )
    if readout.flank > manifest.flank:
        raise InputError(
            folder,
            f"flank of {readout.flank} bases",
            f"the data in {data.folder} has {manifest.flank} on each side",
            f"prepare data with --flank {readout.flank}, or give another model",
        )


def plan_attribution(
    model_folder: Path, data: PreparedData, *, split: str, settings: AttributionSettings
) -> ShardPlan:
    """Check that model, data and settings go together, and cut the work. Writes nothing.

    Raises:
        InputError: they do not.
    """
    model = load_window_model(model_folder)
    check_model_fits(model, data, model_folder)
    return ShardPlan.make(model, data, split=split, settings=settings)


def attribute_on_actors(
    plan: ShardPlan,
    model_folder: Path,
    data: PreparedData,
    out: Path,
    cluster: Cluster,
    *,
    actors: int | None,
    each: Resources,
) -> MergeResult:
    """Compute the shards of a plan that are missing in `out`, and merge all of them.

    Args:
        plan: of `plan_attribution`.
        model_folder: the model; every actor loads it itself.
        data: prepared windows.
        out: takes `shards/` and `kmers/`; on storage that every node sees.
        cluster: where the actors run.
        actors: at once; None takes as many as the cluster holds. The result does not depend on it.
        each: resources of one actor.

    Raises:
        InputError: too many actors, another plan in `out`, or no true positive.
        ShardError: a shard failed on every try.
    """
    placement = place(
        cluster, each, wanted=actors, useful=len(plan.shards), streams=False, name="--actors"
    )
    plan.begin(out)
    todo = missing(plan, out)
    logger.info(
        "attributing %s: %d of %d shards to do on %d actors",
        ", ".join(plan.settings.methods),
        len(todo),
        len(plan.shards),
        placement.concurrent,
    )
    data_folder = data.folder

    def make() -> Callable[[int], object]:
        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_window_model(model_folder)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        windows = PreparedData.open(data_folder)
        return lambda index: run_shard(model, windows, plan, index, out)

    def describe(index: int) -> str:
        shard = plan.shards[index]
        return f"shard {index} (window_id {shard.first_id} to {shard.last_id})"

    shards = Shards(
        name="attribution",
        numbers=todo,
        make=make,
        is_done=lambda index: is_complete(plan, index, out),
        describe=describe,
    )
    run_shards(shards, actors=placement.concurrent, each=each)
    return merge(plan, out)
