"""Attribution on a pool of actors: k-mer tables and tracks of one split under one model."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch

from hyena_ray.attribution.methods import METHODS
from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.attribution.shards import (
    MergeResult,
    ShardPlan,
    merge_shards,
    missing_shards,
    run_shard,
    shard_is_complete,
    suspect_window,
)
from hyena_ray.attribution.timing import TIMED_SHARDS, AttributionTiming, time_attribution
from hyena_ray.attribution.tracks import write_tracks
from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Cluster, Placement, Resources, fit_resources
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.timing import makespan, on_workers
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dry_run import DryRun, Estimate
from hyena_ray.files import write_json
from hyena_ray.model.saved import load_window_model
from hyena_ray.progress import counted
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.preflight import check_model_fits

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
    resources: Resources
    resume: bool
    overwrite: bool
    address: str | None
    """Ray cluster; see `connect`."""


class Attributed(NamedTuple):
    """A finished attribution."""

    found: MergeResult
    simulated: bool
    written: dict[str, AnyPath]


class _Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    data: PreparedData
    out: AnyPath
    plan: ShardPlan


def attribute(options: AttributeOptions) -> Attributed:
    """Do a whole attribution, or what is left of one. `manifest.json` is written last.

    Raises:
        InputError: bad options or files, no true positive, or more actors than the cluster holds;
            nothing was written.
        ShardError, StalledError: what finished is kept, and resuming goes on.
    """
    data, out, plan = _checked(options)
    with connect(options.address) as cluster:
        placement = place_actors(plan, cluster, options.actors, options.resources)
        with only_writer(out, overwrite=options.overwrite):
            plan.check_begun(out)  # before anything is written
            Origin.of(data).write(out)
            found = attribute_on_actors(
                plan,
                options.model,
                data,
                out,
                actors=placement.concurrent,
                resources=options.resources,
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
    return Attributed(found, data.manifest.simulated, written_by(out, data, plan.settings.methods))


def plan_job(options: AttributeOptions) -> DryRun:
    """Do all checks of `attribute`, and time some windows on workers. Writes nothing.

    Raises:
        InputError: as `attribute`.
    """
    data, out, plan = _checked(options)
    folder, model_folder = data.folder, options.model.absolute()

    def work(plan: ShardPlan) -> AttributionTiming:
        model = load_window_model(model_folder)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return time_attribution(model, PreparedData.open(folder), plan)

    with connect(options.address) as cluster:
        placement = place_actors(plan, cluster, options.actors, options.resources)
        actors = placement.concurrent
        if options.resume:
            plan.check_begun(out)
        todo = missing_shards(plan, out) if options.resume else list(range(len(plan.shards)))
        timed = on_workers(work, [plan], resources=options.resources, concurrent=actors, threads=1)
    (timings,) = timed.found
    sizes = {"all": plan.shards, "todo": [plan.shards[index] for index in todo]}
    windows = {
        name: sum(shard.last_row - shard.first_row for shard in shards)
        for name, shards in sizes.items()
    }
    each = [
        statistics.mean(t.seconds(shard.last_row - shard.first_row) for t in timings)
        for shard in sizes["todo"]
    ]
    share = statistics.mean(t.share for t in timings)
    spent = max(t.timed for t in timings)
    return DryRun(
        plan={
            "data": f"{data.folder}: {data.manifest.task}, {plan.length} bases",
            "windows": f"{windows['all']:,} of {plan.split}, {windows['todo']:,} of them to do; "
            f"about {share:.0%} have a true positive",
            "methods": ", ".join(plan.settings.methods),
            "shards": f"{len(plan.shards)}, {len(todo)} of them to do",
            "actors": f"{actors} at once, each {options.resources.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "windows": {plan.split: windows["all"]},
            "windows_to_do": windows["todo"],
            "shards": len(plan.shards),
            "shards_to_do": len(todo),
            "actors": actors,
            "resources": options.resources.model_dump(),
            "threads": 1,
            "cluster": cluster._asdict(),
        },
        writes=written_by(out, data, plan.settings.methods),
        time=Estimate(
            timed.start + makespan(each, actors) if each else 0.0,
            f"{spent:.1f} s of this model on windows of {min(TIMED_SHARDS, len(plan.shards))} "
            f"shards, on {counted(len(timings), 'worker')} at once",
        ),
        simulated=data.manifest.simulated,
    )


def _checked(options: AttributeOptions) -> _Checked:
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
    return _Checked(data, out, plan)


def written_by(out: AnyPath, data: PreparedData, methods: Iterable[str]) -> dict[str, AnyPath]:
    """What an attribution leaves, to where it lies.

    Args:
        out: takes it.
        data: that is attributed; sequences stand in no genome, and have no tracks.
        methods: names, of which others than those of `METHODS` are passed over.
    """
    names = {"k-mers": "kmers"}
    scored = any(name in METHODS and METHODS[name].scores_bases for name in methods)
    if data.manifest.contigs and scored:
        names["tracks"] = "tracks"
    return {what: out / name for what, name in (names | {"summary": MANIFEST}).items()}


def place_actors(
    plan: ShardPlan, cluster: Cluster, actors: int | None, resources: Resources
) -> Placement:
    """Fit actors into the cluster: `actors`, or as many as fit and have a shard to do.

    Raises:
        InputError: the cluster cannot hold them.
    """
    return fit_resources(
        cluster, resources, wanted=actors, useful=len(plan.shards), streams=False, name="--actors"
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
    plan.require_true_positives(model, data)
    return plan


def attribute_on_actors(
    plan: ShardPlan,
    model_folder: AnyPath,
    data: PreparedData,
    out: AnyPath,
    *,
    actors: int,
    resources: Resources,
) -> MergeResult:
    """Compute the shards of a plan that are missing in `out`, and merge all of them into tables
    and tracks.

    Args:
        plan: of `plan_attribution`.
        model_folder: the model; every actor loads it itself.
        data: prepared windows.
        out: takes `shards/`, `kmers/` and `tracks/`; on storage that every node sees.
        actors: at once; the result does not depend on it.
        resources: of one actor.

    Raises:
        InputError: another plan in `out`, or no true positive.
        ShardError: a shard failed on every try.
    """
    plan.begin(out)
    todo = missing_shards(plan, out)
    logger.info(
        "attributing %s: %d of %d shards to do on %s",
        ", ".join(plan.settings.methods),
        len(todo),
        len(plan.shards),
        counted(actors, "actor"),
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
        shard, window = plan.shards[index], suspect_window(index, out)
        if window is not None:
            return f"window_id {window} of shard {index}"
        return f"shard {index} (window_id {shard.first_id} to {shard.last_id})"

    shards = Shards(
        name="attribution",
        numbers=todo,
        make=make,
        is_done=lambda index: shard_is_complete(plan, index, out),
        describe=describe,
        windows=lambda index: plan.shards[index].last_row - plan.shards[index].first_row,
    )
    run_shards(shards, actors=actors, resources=resources)
    found = merge_shards(plan, out)
    write_tracks(plan, data, out)
    return found
