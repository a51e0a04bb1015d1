"""Attribution on a pool of actors: k-mer tables and tracks of one split under one model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from hyena_ray.attribution.merge import MergeResult, merge
from hyena_ray.attribution.plan import ShardPlan
from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.attribution.shards import is_complete, missing, run_shard, suspect
from hyena_ray.attribution.tracks import write_tracks
from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Placement, Resources, place
from hyena_ray.cluster.start import Cluster, connect
from hyena_ray.dataset.manifest import NAME as MANIFEST
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.fit import check_model_fits

logger = logging.getLogger(__name__)


class AttributeOptions(NamedTuple):
    """What the command line of the attribution job says."""

    model: AnyPath
    """Folder of the model."""
    data: AnyPath
    """Prepared folder."""
    out: AnyPath
    split: str
    limit: int | None
    """Windows at most; None takes all."""
    definition: str
    """One of `DEFINITIONS`."""
    changes: Mapping[str, Any]
    """Settings that are not the definition's."""
    actors: int | None
    """At once; None takes as many as the cluster holds."""
    each: Resources
    resume: bool
    overwrite: bool
    address: str | None
    """Ray cluster; see `connect`."""


def attribute(options: AttributeOptions) -> MergeResult:
    """Do a whole attribution, or what is left of one. `manifest.json` is written last.

    Raises:
        InputError: bad options or files, no true positive, or more actors than the cluster holds;
            nothing was written.
        ShardError, StalledError: what finished is kept, and resuming goes on.
    """
    data = PreparedData.open(options.data)
    out = check_output(
        options.out,
        data,
        inputs=[options.model],
        resume=options.resume,
        overwrite=options.overwrite,
        begun_by="shards/plan.json",
    )
    settings = definition(options.definition, task_named(data.manifest.task).kind)
    settings = settings.updated(options.changes, "command line")
    plan = plan_attribution(
        options.model, data, split=options.split, settings=settings, limit=options.limit
    )
    with connect(options.address) as cluster:
        placement = place_actors(plan, cluster, options.actors, options.each)
        with only_writer(out, overwrite=options.overwrite):
            Origin.of(data).write(out)
            found = attribute_on_actors(
                plan, options.model, data, out, actors=placement.concurrent, each=options.each
            )
            manifest = {
                "state": "complete",
                "simulated": data.manifest.simulated,
                "plan": plan.key,
                "digest": found.digest,
                "windows": found.windows,
                "attributed": found.attributed,
                "convergence": found.convergence,
            }
            write_json(out / MANIFEST, manifest)
    return found


def place_actors(
    plan: ShardPlan, cluster: Cluster, actors: int | None, each: Resources
) -> Placement:
    """Fit actors into the cluster: `actors`, or as many as fit and have a shard to do.

    Raises:
        InputError: the cluster cannot hold them.
    """
    return place(
        cluster, each, wanted=actors, useful=len(plan.shards), streams=False, name="--actors"
    )


def plan_attribution(
    model_folder: AnyPath,
    data: PreparedData,
    *,
    split: str,
    settings: AttributionSettings,
    limit: int | None = None,
) -> ShardPlan:
    """Check that model, data and settings go together, and cut the work. Writes nothing.

    Raises:
        InputError: they do not, or the model finds no true positive.
    """
    model = load_window_model(model_folder)
    check_model_fits(model, model_folder, data)
    plan = ShardPlan.make(model, data, split=split, settings=settings, limit=limit)
    plan.check_found(model, data)
    return plan


def attribute_on_actors(
    plan: ShardPlan,
    model_folder: AnyPath,
    data: PreparedData,
    out: AnyPath,
    *,
    actors: int,
    each: Resources,
) -> MergeResult:
    """Compute the shards of a plan that are missing in `out`, and merge all of them into tables
    and tracks.

    Args:
        plan: of `plan_attribution`.
        model_folder: the model; every actor loads it itself.
        data: prepared windows.
        out: takes `shards/`, `kmers/` and `tracks/`; on storage that every node sees.
        actors: at once; the result does not depend on it.
        each: resources of one actor.

    Raises:
        InputError: another plan in `out`, or no true positive.
        ShardError: a shard failed on every try.
    """
    plan.begin(out)
    todo = missing(plan, out)
    logger.info(
        "attributing %s: %d of %d shards to do on %d actors",
        ", ".join(plan.settings.methods),
        len(todo),
        len(plan.shards),
        actors,
    )
    # Not the driver's working directory: a worker may have another.
    model_folder = model_folder.absolute()
    data_folder = data.folder

    def make() -> Callable[[int], object]:
        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_window_model(model_folder)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        windows = PreparedData.open(data_folder)
        return lambda index: run_shard(model, windows, plan, index, out)

    def describe(index: int) -> str:
        shard, window = plan.shards[index], suspect(index, out)
        if window is not None:
            return f"window_id {window} of shard {index}"
        return f"shard {index} (window_id {shard.first_id} to {shard.last_id})"

    shards = Shards(
        name="attribution",
        numbers=todo,
        make=make,
        is_done=lambda index: is_complete(plan, index, out),
        describe=describe,
        windows=lambda index: plan.shards[index].last_row - plan.shards[index].first_row,
    )
    run_shards(shards, actors=actors, each=each)
    found = merge(plan, out)
    write_tracks(plan, data, out)
    return found
