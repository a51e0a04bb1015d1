"""List the k-mers that a model relies on: attribution of its true positives on Ray actors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from hyena_ray.attribution.settings import AttributionSettings, definition
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import Problems
from hyena_ray.outcomes import DryRun, Outcome
from hyena_ray.progress import count_noun
from hyena_ray.runs.record import MANIFEST, Record
from hyena_ray.runs.run import Output, Run, check_resume, start
from hyena_ray.settings import READ, WHERE, Option
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.workflows.workflow import (
    TIMED,
    ReadsModel,
    ReadsSplit,
    Resumes,
    RunsOnActors,
    Workflow,
    assignments_to,
    changes_from,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.attribution.shards import MergeResult, ShardPlan
    from hyena_ray.cluster.resources import Cluster, Placement, Resources

logger = logging.getLogger(__name__)

TOP = 10
"""k-mers of each table that are shown."""


class AttributeSettings(ReadsModel, ReadsSplit, Resumes, RunsOnActors):
    """Settings of an attribution."""

    limit: Annotated[int | None, Option("N", READ, default="all windows"), Field(ge=1)] = None
    """Use at most N windows, sampled evenly across the split."""
    methods: Annotated[tuple[str, ...] | None, Option("M,M", default="the definition's")] = None
    """Attribution methods, each of which gives one table: ig, noisy_ig, smoothgrad,
    input_x_gradient, ism or tp."""
    k: Annotated[int | None, Option("K", default="the definition's, 5")] = None
    """Length of the k-mers, in bases."""
    min_count: Annotated[int | None, Option("N", default="the definition's, 5")] = None
    """Leave out k-mers with fewer occurrences."""
    merge_strands: bool = False
    """Count each k-mer together with its reverse complement."""
    definition: Literal["default", "original"] = "default"
    """Definitions of target, baseline and noise: corrected (default), or as the original work
    published them."""
    seed: Annotated[int | None, Option("N", default="0")] = None
    """Seed of noise and shuffles."""
    changes: Annotated[
        tuple[str, ...],
        assignments_to(AttributionSettings),
        Option("KEY=VALUE", flag="set", repeated=True),
    ] = ()
    """Any other setting of an attribution, such as shuffles=8 or baseline=n; may be given again."""
    actors: Annotated[
        int | None, Option("N", WHERE, default="as many as the cluster holds"), Field(ge=1)
    ] = None
    """Actors that work at once."""

    @field_validator("methods", "k", "min_count", "seed")
    @classmethod
    def _is_valid(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            AttributionSettings.check_each({name: value}, lambda key: option)
        return value


class AttributeRecord(Record):
    """Results of an attribution."""

    KIND: ClassVar[str] = "attribute"

    digest: str
    """sha256 of the k-mer tables."""
    windows: int
    """Windows that were read."""
    attributed: int
    """Windows with a true positive, which were attributed."""
    positions: tuple[int, ...]
    """Sequence positions of a pass through the model: every size that was used, ascending."""
    convergence: dict[str, dict[str, float]]
    """How exact the scores of each gradient method are."""
    kmers: dict[str, tuple[str, ...]]
    """First k-mers of every table."""
    consensus: tuple[str, ...]
    """Methods of the consensus, all that score bases; empty for a single one."""
    agreement: tuple[dict[str, Any], ...] | None
    """How far each pair of methods agrees; None for a single method."""
    notes: tuple[str, ...]
    """Warnings of methods that disagree."""


class Attribution(NamedTuple):
    """An attribution that passed every check but for the cluster's; nothing was written."""

    plan: ShardPlan
    output: Output
    data: PreparedData
    model: AnyPath
    """Absolute path of the model's folder."""
    actors: int | None
    """Actors that work at once; None takes as many as the cluster holds."""
    resources: Resources
    """What an actor takes."""
    address: str | None
    """Ray cluster to join."""


def validate(settings: AttributeSettings) -> Attribution:
    """Check that model, data and settings go together, and cut the work into shards.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They do not, or the model finds no true positive.
    """
    with Problems() as problems:
        data = settings.open_data(problems)
        kind = "base" if data is None else task_named(data.manifest.task).kind
        chosen = problems.collect(_attribution_settings, settings, kind)
        output = problems.collect(settings.output, "attribute", (settings.model, settings.data))
    assert data is not None
    assert chosen is not None
    assert output is not None
    plan = plan_attribution(
        settings.model, data, split=settings.split, settings=chosen, limit=settings.limit
    )
    if settings.resume:
        check_resume(output, plan)
    model = settings.model.absolute()
    return Attribution(
        plan, output, data, model, settings.actors, settings.resources, settings.address
    )


def _attribution_settings(settings: AttributeSettings, kind: Any) -> AttributionSettings:
    flags = {
        "methods": settings.methods,
        "k": settings.k,
        "min_count": settings.min_count,
        "merge_strands": settings.merge_strands or None,
        "seed": settings.seed,
    }
    base = definition(settings.definition, kind)
    own = {key.replace("_", "-") for key in flags}
    changes = changes_from(flags, settings.changes)

    def label(key: str) -> str:
        name = key.partition(".")[0].replace("_", "-")
        given = flags.get(name.replace("-", "_")) is not None
        return f"--{name}" if name in own and given else f"--set: {key}"

    return AttributionSettings.parse(
        {**base.model_dump(mode="json"), **changes}, "--set", label=label
    )


def plan_attribution(
    model_folder: AnyPath,
    data: PreparedData,
    *,
    split: str,
    settings: AttributionSettings,
    limit: int | None = None,
    may_be_empty: bool = False,
) -> ShardPlan:
    """Check that model, data and settings go together, and cut the work. Writes nothing.

    Args:
        model_folder: Folder of the model.
        data: Prepared windows.
        split: Split whose windows are attributed.
        settings: Settings of the attribution.
        limit: Number of windows at most; None takes all.
        may_be_empty: Whether a model that finds no true positive gets empty tables, since the work
            that it took is done.

    Raises:
        InputError: They do not, or the model finds no true positive, and tables may not be empty.
    """
    from hyena_ray.attribution.shards import ShardPlan
    from hyena_ray.training.preflight import load_fitting_model

    model = load_fitting_model(model_folder, data)
    model.classifier.get_input_embeddings()  # refuses a model that has none, before Ray starts
    plan = ShardPlan.make(model, data, split=split, settings=settings, limit=limit)
    if not may_be_empty:
        plan.require_true_positives(model, data)
    return plan


def dry_run(attribution: Attribution) -> DryRun:
    """Count windows and shards, and time one batch of windows on a worker of the cluster.

    Args:
        attribution: The attribution.

    Raises:
        InputError: The cluster cannot hold the actors.
    """
    from hyena_ray.attribution.shards import missing_shards
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect

    plan, data, output = attribution.plan, attribution.data, attribution.output
    with connect(attribution.address) as cluster:
        placement = place_actors(plan, cluster, attribution.actors, attribution.resources)
        actors, resources = placement.concurrent, placement.resources
        seconds = run_task(_one_batch(attribution), resources, TIMED, threads=1)
    left = missing_shards(plan, output.folder) if output.resume else range(len(plan.shards))
    windows, windows_left = plan.windows, sum(plan.shards[index].windows for index in left)
    return DryRun(
        plan={
            "data": f"{data.folder}: {data.manifest.task}, {plan.length} bases",
            "windows": f"{windows:,} of {plan.split}, {windows_left:,} of them to do",
            "methods": ", ".join(plan.settings.methods),
            "shards": f"{len(plan.shards)}, {len(left)} of them to do",
            "actors": f"{placement.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "windows": {plan.split: windows},
            "windows_to_do": windows_left,
            "shards": len(plan.shards),
            "shards_to_do": len(left),
            "actors": actors,
            "resources": resources.model_dump(),
            "threads": 1,
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(output.folder, output_paths(data, plan.settings.methods)),
        seconds=seconds * windows_left / actors,
        timed="one batch of windows, as if every window had a true positive",
        simulated=data.manifest.simulated,
    )


def _one_batch(attribution: Attribution) -> Callable[[], float]:
    """Return what times the attribution of a window, on a batch of true positives."""
    plan, model_folder, data_folder = attribution.plan, attribution.model, attribution.data.folder

    def work() -> float:
        from hyena_ray.workflows.timing import attribution_seconds

        windows = plan.read_windows(PreparedData.open(data_folder), 0)
        return attribution_seconds(model_folder, windows, plan.settings)

    return work


def execute(attribution: Attribution) -> AttributeRecord:
    """Attribute, or continue. `manifest.json` is written last.

    Args:
        attribution: The attribution.

    Raises:
        InputError: The cluster cannot hold the actors, or another job writes the folder.
        ShardError: A shard failed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect

    plan, data = attribution.plan, attribution.data
    inputs = {"model": attribution.model, "data": data.folder}
    with connect(attribution.address) as cluster:
        placement = place_actors(plan, cluster, attribution.actors, attribution.resources)
        ran_on = check_devices(placement)
        with start(attribution.output, plan, inputs=inputs, ran_on=ran_on) as run:
            return attribute_in_run(
                run,
                attribution.model,
                data,
                actors=placement.concurrent,
                resources=placement.resources,
            )


def place_actors(
    plan: ShardPlan, cluster: Cluster, actors: int | None, resources: Resources
) -> Placement[Resources]:
    """Fit actors into the cluster.

    Args:
        plan: Work of the actors.
        cluster: Cluster that they run on.
        actors: Number of actors; None takes as many as fit and have a shard to do.
        resources: What an actor takes.

    Raises:
        InputError: The cluster cannot hold them.
    """
    from hyena_ray.cluster.resources import fit_resources

    return fit_resources(
        cluster,
        resources,
        wanted=actors,
        useful=len(plan.shards),
        name="--cpu, --gpu",
    )


def place_actors_for(windows: int, cluster: Cluster, resources: Resources) -> Placement[Resources]:
    """Fit the actors that would attribute some windows into the cluster.

    Args:
        windows: Number of windows.
        cluster: Cluster that the actors run on.
        resources: Resources of an actor.

    Raises:
        InputError: The cluster cannot hold one.
    """
    from hyena_ray.attribution.shards import SHARD_SIZE
    from hyena_ray.cluster.resources import fit_resources

    return fit_resources(
        cluster,
        resources,
        wanted=None,
        useful=-(-windows // SHARD_SIZE),
        name="--cpu, --gpu",
    )


def attribute_in_run(
    run: Run[ShardPlan],
    model_folder: AnyPath,
    data: PreparedData,
    *,
    actors: int,
    resources: Resources,
) -> AttributeRecord:
    """Compute the shards that are missing, merge all of them, and finish the run.

    Args:
        run: The run.
        model_folder: Absolute path of the model's folder, on storage that every node sees; every
            actor loads the model itself.
        data: Prepared windows.
        actors: Actors that work at once; the result does not depend on it.
        resources: Resources of an actor; `gpu` is a number.

    Raises:
        ShardError: A shard failed on every try.
    """
    from hyena_ray.attribution.shards import (
        merge_shards,
        missing_shards,
        run_shard,
        shard_is_complete,
        suspect_window,
    )
    from hyena_ray.attribution.tracks import write_tracks
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.runs.shard_files import SHARDS

    plan, folder, data_folder = run.plan, run.folder, data.folder
    if (complete := run.finished(AttributeRecord)) is not None:
        logger.info("the attribution is complete already")
        return complete
    Origin.from_data(data).write(folder)
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    todo = missing_shards(plan, folder)
    logger.info(
        "attributing %s: %d of %d shards to do on %s, each %s",
        ", ".join(plan.settings.methods),
        len(todo),
        len(plan.shards),
        count_noun(actors, "actor"),
        resources.text,
    )

    def make() -> Callable[[int], object]:
        import torch

        from hyena_ray.attribution.engine import Attributor
        from hyena_ray.model.devices import default_device
        from hyena_ray.model.saved import load_window_model

        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_window_model(model_folder)
        model.to(default_device())
        attributor, windows = Attributor(model, plan.settings), PreparedData.open(data_folder)
        return lambda index: run_shard(attributor, windows, plan, index, folder)

    def describe(index: int) -> str:
        shard, window = plan.shards[index], suspect_window(index, folder)
        if window is not None:
            return f"window_id {window} of shard {index}"
        return f"shard {index} (window_id {shard.first_id} to {shard.last_id})"

    shards = Shards(
        name="attribution",
        numbers=todo,
        make=make,
        is_done=lambda index: shard_is_complete(plan, index, folder),
        describe=describe,
        windows=lambda index: plan.shards[index].windows,
    )
    run_shards(shards, actors=actors, resources=resources)
    result = merge_shards(plan, folder)
    write_tracks(plan, data, folder)
    record = _record_from(run, data, result)
    run.finish(record)
    return record


def _record_from(run: Run[ShardPlan], data: PreparedData, result: MergeResult) -> AttributeRecord:
    agreement = result.agreement
    return AttributeRecord.make(
        fingerprint=run.plan.fingerprint,
        simulated=data.manifest.simulated,
        outputs=output_paths(data, run.plan.settings.methods),
        digest=result.digest,
        windows=result.windows,
        attributed=result.attributed,
        positions=result.positions,
        convergence=result.convergence,
        kmers={
            name: tuple(table["kmer"][:TOP].to_pylist()) for name, table in result.tables.items()
        },
        consensus=() if agreement is None else result.methods,
        agreement=None if agreement is None else tuple(agreement.to_pylist()),
        notes=result.notes,
    )


def output_paths(data: PreparedData, methods: Iterable[str]) -> dict[str, str]:
    """Return what an attribution writes, relative to its folder.

    Args:
        data: Prepared windows; sequences belong to no genome, and have no tracks.
        methods: Names of the methods.
    """
    from hyena_ray.attribution.methods import METHODS
    from hyena_ray.runs.shard_files import SHARDS

    names = {"k-mers": "kmers", "scores": SHARDS}
    if data.manifest.contigs and any(METHODS[name].scores_bases for name in methods):
        names["tracks"] = "tracks"
    return names | {"summary": MANIFEST}


def kmer_lines(kmers: Mapping[str, Iterable[str]], consensus: Iterable[str]) -> list[str]:
    """Write the first k-mers of every table, and which methods the consensus is of.

    Args:
        kmers: Name of each table and its first k-mers.
        consensus: Methods of the consensus.

    Returns:
        One line for each table.

    Example:
        >>> kmer_lines({"ig": ["CGC"], "consensus": ["CGC", "GCG"]}, ["ig", "ism"])
        ['ig          CGC', 'consensus   CGC GCG (of ig, ism)']
    """
    notes = {"consensus": f" (of {', '.join(consensus)})"}
    width = max(12, *(len(name) + 2 for name in kmers))
    return [
        f"{name:<{width}}{' '.join(first)}{notes.get(name, '')}" for name, first in kmers.items()
    ]


def present(attribution: Attribution, record: AttributeRecord) -> Outcome:
    """Say how exact the scores are, and which k-mers come first.

    Args:
        attribution: The attribution.
        record: What it found.
    """
    lines = [f"{record.attributed} of {record.windows} windows have a true positive"]
    lines += [
        "{name}: {nodes_mean:.0f} gradients per window and strand; error of the sum: median "
        "{completeness_median:.2g}, worst {completeness_worst:.2g}".format(name=name, **summary)
        for name, summary in record.convergence.items()
    ]
    lines += [
        f"{name}: {summary['tracks_mean']:.0%} of the scores are those of the tracks, "
        "the others those of the letters"
        for name, summary in record.convergence.items()
        if summary["tracks_mean"]
    ]
    lines += kmer_lines(record.kmers, record.consensus)
    lines += [
        "{first} and {second}: tau {kendall_tau:.2f}, overlap {rbo:.2f}".format(**row)
        for row in record.agreement or ()
    ]
    lines += [f"warning: {note}" for note in record.notes]
    lines.append(f"digest      {record.digest}")
    shown = (
        *("windows", "attributed", "convergence", "kmers", "consensus", "agreement", "notes"),
        "digest",
    )
    found = {key: getattr(record, key) for key in shown}
    folder = attribution.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(lines), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="attribute",
    about=__doc__,
    settings=lambda task: AttributeSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found=f"windows, attributed, convergence, kmers (the first {TOP} of each table), consensus "
    "(its methods), agreement, notes, digest",
    examples=(
        "attribute --model run/model --data prepared --out kmers --methods ig,tp --k 6",
        "attribute --model run/model --data prepared --out kmers --limit 2560 --dry-run",
    ),
)
