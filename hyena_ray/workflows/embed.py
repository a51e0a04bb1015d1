"""Embed regions of a genome, or prepared windows, with hidden states of a model, on Ray actors.

Writes embeddings/, Parquet files with the columns contig, start and end (0-based, half-open), name
(the fourth column of BED, or the id of a window) and embedding, a list of float32 of fixed size;
and, last, manifest.json. pandas, pyarrow and polars read the folder as one table, in the order of
the regions: contig by contig as the file first names them, and in its order on each.

An embedding is the last hidden state of a trained model, or of a backbone by itself: the mean over
the bases of a region, or with --per base one for each base. Regions are read in windows as in
training, centred on the region, with the bases of the genome around it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.region_files import read_regions
from hyena_ray.genome.source import check_is_file
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.model.settings import Per, Strands
from hyena_ray.outcomes import SIMULATED, DryRun, Outcome
from hyena_ray.progress import count_noun
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.run import Output, Run, check_resume, start
from hyena_ray.settings import READ, WHERE, Location, Option
from hyena_ray.storage import AnyPath, location, remove_folder
from hyena_ray.workflows.workflow import (
    TIMED,
    DataFolder,
    GenomeFile,
    ModelFolder,
    ReadsSplit,
    ReadsTracks,
    Resumes,
    RunsOnActors,
    Workflow,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Cluster, Placement, Resources
    from hyena_ray.genome.region_files import Regions
    from hyena_ray.genome.signal_tracks import SignalTrack
    from hyena_ray.model.window import WindowModel
    from hyena_ray.prediction.embedding_shards import EmbeddingPlan, EmbedRecord

logger = logging.getLogger(__name__)

OUTPUTS = {"embeddings": "embeddings", "summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""


class EmbedSettings(ReadsTracks, ReadsSplit, Resumes, RunsOnActors):
    """Settings of an embedding."""

    model: Annotated[ModelFolder | None, Option("DIR", READ)] = None
    """Trained model: the folder model/ of a run; or give --backbone."""
    backbone: Annotated[str | None, Option("DIR|ID", READ)] = None
    """Backbone by itself: the folder of a checkpoint, or a hub id with --revision."""
    revision: Annotated[str | None, Option("COMMIT", READ)] = None
    """Commit, tag or branch of the hub id."""
    regions: Annotated[Location | None, Option("FILE", READ)] = None
    """Regions of --genome: BED, narrowPeak or broadPeak (plain or gzip), or bigBed."""
    genome: Annotated[GenomeFile | None, Option("FILE|NAME", READ)] = None
    """Genome of --regions: FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly such as
    hg38, which is downloaded once, by a dry run too."""
    data: Annotated[DataFolder | None, Option("DIR", READ)] = None  # type: ignore[assignment]
    """Prepared data whose windows are embedded, instead of --regions: the folder that `hyena-ray
    prepare` wrote."""
    per: Per = "sequence"
    """What gets an embedding: every region or window (sequence), the mean over its bases, N
    included; or every base of them (base)."""
    strands: Annotated[Strands | None, Option(default="as the model was trained, else both")] = None
    """Strands to read: the mean of both, or the given one, which for a region is the forward strand
    of the genome."""
    window: Annotated[
        int | None, Option("N", default="1024 for regions, the length of --data"), Field(ge=1)
    ] = None
    """Bases of a window of --backbone; a trained model has its own."""
    batch: Annotated[
        int | None,
        Option("N", WHERE, default="128 on a CPU, as many as have about 1 Mb on a GPU"),
        Field(ge=1),
    ] = None
    """Windows of one forward pass, halved if a GPU runs out of memory. The last bits of the
    embeddings depend on it, so --resume keeps the value of the first start."""
    actors: Annotated[
        int | None, Option("N", WHERE, default="as many as the cluster holds"), Field(ge=1)
    ] = None
    """Actors that work at once."""

    @field_validator("regions")
    @classmethod
    def _is_file(cls, path: AnyPath | None) -> AnyPath | None:
        if path is not None:
            check_is_file(path, "give --regions a BED file")
        return path

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.model is None) == (self.backbone is None):
            problem = "is missing" if self.model is None else "cannot be used with --backbone"
            raise InputError("--model", self.model, problem, "give one of --model and --backbone")
        if self.model is not None:
            for option, value in (("--revision", self.revision), ("--window", self.window)):
                if value is not None:
                    problem = "is of --backbone, which is not given"
                    raise InputError(option, value, problem, "leave it out")
        if self.data is None:
            for option, path in (("--regions", self.regions), ("--genome", self.genome)):
                if path is None:
                    remedy = "give --regions with --genome, or prepared data with --data"
                    raise InputError(option, None, "is missing", remedy)
            return self
        others = {
            "--regions": self.regions,
            "--genome": self.genome,
            "--track": ",".join(self.track) or None,
        }
        for option, given in others.items():
            if given is not None:
                raise InputError(option, given, "cannot be used with --data", "give one of both")
        return self


class Embedding(NamedTuple):
    """An embedding that passed every check but for the cluster's; nothing was written."""

    plan: EmbeddingPlan
    output: Output
    load: Callable[[], WindowModel]
    """Loads the model, in any process."""
    inputs: dict[str, AnyPath]
    """Everything that is read, and where it is."""
    data: PreparedData | None
    """Prepared data; None for regions."""
    regions: Regions | None
    """Regions; None for prepared data."""
    tracks: tuple[SignalTrack, ...]
    """Tracks that the model reads."""
    actors: int | None
    """Actors that work at once; None takes as many as the cluster holds."""
    resources: Resources
    """What an actor takes."""
    address: str | None
    """Ray cluster to join."""


def validate(settings: EmbedSettings) -> Embedding:
    """Check that model and sequences go together, and cut the work into shards.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: They do not, or one of them cannot be used.
    """
    model_is_at = settings.model if settings.model is not None else settings.backbone
    with Problems() as problems:
        files = parse_tracks(settings.track)
        read = (settings.genome, settings.regions, settings.data, *files.values())
        output = problems.collect(settings.output, "embed", (model_is_at, *read))
        data = None if settings.data is None else settings.open_data(problems)
        regions = None
        if settings.regions is not None and settings.genome is not None:
            problems.collect(open_genome, settings.genome)  # before the model is loaded
            regions = problems.collect(read_regions, settings.regions)
    assert output is not None
    from hyena_ray.model.embedding import require_hidden_states
    from hyena_ray.model.predictor import open_tracks
    from hyena_ray.model.pretrained import weights_by_content
    from hyena_ray.model.saved import model_sha256
    from hyena_ray.prediction.embedding_shards import (
        EmbeddingSettings,
        plan_regions,
        plan_windows,
    )
    from hyena_ray.training.preflight import load_fitting_model

    load = _loader(settings, data)
    if settings.model is not None and data is not None:
        model = load_fitting_model(settings.model, data)
    else:
        model = load()
    if settings.model is not None:
        require_hidden_states(model, "--model", settings.model)
        digests = {"model": model_sha256(model)}
    else:
        digests = {"backbone": str(weights_by_content(settings.backbone, settings.revision))}
    how = EmbeddingSettings(digests, settings.per, settings.strands, settings.batch)
    weights = location(str(model_is_at))
    inputs = {next(iter(digests)): weights.absolute() if weights.is_dir() else weights}
    tracks: tuple[SignalTrack, ...] = ()
    if data is not None:
        inputs["data"] = data.folder
        plan = plan_windows(model, how, data, settings.split)
    else:
        assert regions is not None
        assert settings.genome is not None
        tracks = open_tracks(model, settings.track)
        inputs |= {"genome": settings.genome, "regions": regions.path}
        inputs |= {f"track {track.scale.name}": track.path for track in tracks}
        plan = plan_regions(model, how, settings.genome, regions, tracks)
    if settings.resume:
        check_resume(output, plan)
    return Embedding(
        plan,
        output,
        load,
        inputs,
        data,
        regions,
        tracks,
        settings.actors,
        settings.resources,
        settings.address,
    )


def _loader(settings: EmbedSettings, data: PreparedData | None) -> Callable[[], WindowModel]:
    """Return what loads the model in any process, whatever folder that works in."""
    window, revision = settings.window, settings.revision
    if settings.model is not None:
        folder = settings.model.absolute()

        def load_model() -> WindowModel:
            from hyena_ray.model.saved import load_window_model

            return load_window_model(folder)

        return load_model
    backbone = location(str(settings.backbone))
    source = str(backbone.absolute()) if backbone.is_dir() else str(settings.backbone)
    if data is not None and window is None:
        window, *others = data.manifest.lengths
        if others:
            lengths = ", ".join(map(str, data.manifest.lengths))
            problem = f"is missing: the data has windows of {lengths} bases"
            raise InputError("--window", None, problem, "give one of these lengths")

    def load_alone() -> WindowModel:
        from hyena_ray.model.embedding import load_backbone

        return load_backbone(source, revision, window)

    return load_alone


def dry_run(embedding: Embedding) -> DryRun:
    """Count sequences, windows and shards, and time one batch on a worker of the cluster.

    Args:
        embedding: The embedding.

    Raises:
        InputError: The cluster cannot hold the actors.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.prediction.embedding_shards import missing_shards

    plan, output, load, batch = (
        embedding.plan,
        embedding.output,
        embedding.load,
        embedding.plan.batch,
    )

    def timed() -> float:
        from hyena_ray.workflows.timing import seconds_per_embedded_window

        return seconds_per_embedded_window(load, batch)

    left = missing_shards(plan, output.folder) if output.resume else range(len(plan.shards))
    windows = sum(plan.shards[index].windows for index in left)
    with connect(embedding.address) as cluster:
        placement = place_actors(embedding, cluster)
        actors, resources = placement.concurrent, placement.resources
        seconds = run_task(timed, resources, TIMED, threads=1)
    sequences, bases = plan.shards[-1].last, sum(shard.bases for shard in plan.shards)
    rows = sum(map(plan.rows, range(len(plan.shards))))
    return DryRun(
        plan={
            "sequences": f"{sequences:,} with {bases:,} bases",
            "embeddings": f"{rows:,}, one for each {plan.per}, of {plan.channels} numbers",
            "windows": f"{plan.window} bases, with {plan.flank} on each side; {windows:,} to do",
            "strands": plan.strands,
            "shards": f"{len(plan.shards)}, {len(left)} of them to do",
            "actors": f"{placement.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "sequences": sequences,
            "bases": bases,
            "rows": rows,
            "channels": plan.channels,
            "windows_to_do": windows,
            "shards": len(plan.shards),
            "shards_to_do": len(left),
            "actors": actors,
            "resources": resources.model_dump(),
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(output.folder, OUTPUTS),
        seconds=seconds * windows / actors,
        timed="one batch of this model on random bases",
        simulated=plan.simulated,
    )


def place_actors(embedding: Embedding, cluster: Cluster) -> Placement[Resources]:
    """Fit actors into the cluster.

    Args:
        embedding: The embedding.
        cluster: Cluster that they run on.

    Raises:
        InputError: The cluster cannot hold them.
    """
    from hyena_ray.cluster.resources import fit_resources

    return fit_resources(
        cluster,
        embedding.resources,
        wanted=embedding.actors,
        useful=len(embedding.plan.shards),
        name="--cpu, --gpu",
    )


def execute(embedding: Embedding) -> EmbedRecord:
    """Embed, or continue. `manifest.json` is written last.

    Args:
        embedding: The embedding.

    Raises:
        InputError: The cluster cannot hold the actors, or another job writes the folder.
        ShardError: A shard failed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect

    with connect(embedding.address) as cluster:
        placement = place_actors(embedding, cluster)
        embedding = embedding._replace(resources=placement.resources)
        ran_on = check_devices(placement)
        with start(embedding.output, embedding.plan, inputs=embedding.inputs, ran_on=ran_on) as run:
            return embed_in_run(run, embedding, actors=placement.concurrent)


def embed_in_run(run: Run[EmbeddingPlan], embedding: Embedding, *, actors: int) -> EmbedRecord:
    """Compute the shards that are missing, and finish the run.

    Args:
        run: The run.
        embedding: The embedding.
        actors: Actors that work at once; the result does not depend on it.

    Raises:
        ShardError: A shard failed on every try.
    """
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.prediction.embedding_shards import (
        SEQUENCES,
        EmbedRecord,
        make_embedder,
        missing_shards,
        run_shard,
        shard_is_complete,
        write_region_sequences,
        write_window_sequences,
    )

    plan, folder, load = run.plan, run.folder, embedding.load
    if (complete := run.finished(EmbedRecord)) is not None:
        logger.info("the embeddings are complete already")
        return complete
    todo = missing_shards(plan, folder)
    logger.info(
        "embedding: %d of %d shards to do on %s, each %s",
        len(todo),
        len(plan.shards),
        count_noun(actors, "actor"),
        embedding.resources.text,
    )
    if embedding.data is not None:
        write_window_sequences(plan, embedding.data, folder)
    else:
        assert embedding.regions is not None
        genome = embedding.inputs["genome"]
        write_region_sequences(plan, genome, embedding.regions, embedding.tracks, folder)

    def make() -> Callable[[int], object]:
        import torch

        from hyena_ray.model.devices import default_device

        # One thread whatever the size of the pool: the bits of an embedding depend on it.
        torch.set_num_threads(1)
        embedder = make_embedder(load().to(default_device()), plan)
        return lambda index: run_shard(embedder, plan, index, folder)

    shards = Shards(
        name="embedding",
        numbers=todo,
        make=make,
        is_done=lambda index: shard_is_complete(plan, index, folder),
        describe=plan.label,
        windows=lambda index: plan.shards[index].windows,
    )
    run_shards(shards, actors=actors, resources=embedding.resources)
    remove_folder(folder / SEQUENCES)
    record = EmbedRecord.make(
        fingerprint=plan.fingerprint,
        simulated=plan.simulated,
        outputs=OUTPUTS,
        inputs=plan.inputs,
        sequences=plan.shards[-1].last,
        bases=sum(shard.bases for shard in plan.shards),
        rows=sum(map(plan.rows, range(len(plan.shards)))),
        channels=plan.channels,
        per=plan.per,
        strands=plan.strands,
        window=plan.window,
        flank=plan.flank,
    )
    run.finish(record)
    return record


def present(embedding: Embedding, record: EmbedRecord) -> Outcome:
    """Say how much was embedded.

    Args:
        embedding: The embedding.
        record: What it wrote.
    """
    lines = [SIMULATED] * record.simulated
    lines += [
        f"embedded    {count_noun(record.sequences, 'sequence')} with {record.bases:,} bases, in "
        f"windows of {record.window} with {record.flank} on each side",
        f"embeddings  {record.rows:,}, one for each {record.per}, of {record.channels} numbers; "
        + ("the mean of both strands" if record.strands == "both" else "of the forward strand"),
    ]
    shown = ("sequences", "bases", "rows", "channels", "per", "strands", "window", "flank")
    found = {key: getattr(record, key) for key in shown}
    folder = embedding.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(lines), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="embed",
    about=__doc__,
    settings=lambda task: EmbedSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="sequences, bases, rows, channels, per, strands, window, flank",
    examples=(
        "embed --model run/model --genome genome.fa.gz --regions peaks.bed --out embedded",
        "embed --model run/model --data prepared --split test --per base --out embedded",
        "embed --backbone pretrained/backbone --window 512 --genome hg38 --regions peaks.bed "
        "--out embedded",
        "embed --model run/model --genome genome.fa.gz --regions peaks.bed --out embedded "
        "--dry-run",
    ),
)
