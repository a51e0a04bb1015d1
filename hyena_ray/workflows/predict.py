"""Score every base of a genome with a trained model, on Ray actors, and call regions.

Writes probabilities.bw, a bigWig track with the probability of every base; regions.bed, the runs of
bases from the threshold on, with 1000 times their mean probability as score and the summit as the
thick part; regions.csv, the same regions with mean, maximum, summit, rank, the fraction that is
soft-masked, and their bases; contigs.csv, what was called on each contig; and, last, manifest.json.
Genome browsers such as IGV open the track and the BED file, whose contigs are sorted by name.

Probabilities are calibrated: of the bases with 0.3, three in ten have a label where the model was
validated. Runs that are close are joined and short ones left out, as the model's task has it.

Every base is scored on the strands that the model reads, in windows as in training, and has the
mean of the windows that hold it. N has no score. The track is rounded to 0.0001; regions and sums
are made before that.

The precision and recall to expect are those on the contigs that the model was scored on, and are
printed; a higher --threshold gives fewer and surer regions, and --precision chooses one. With
--resume a complete prediction gets new regions without being scored again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from hyena_ray.errors import InputError, Problems
from hyena_ray.genome.called_regions import RegionSettings
from hyena_ray.genome.contigs import open_genome
from hyena_ray.genome.source import Source
from hyena_ray.genome.track_files import parse_tracks
from hyena_ray.outcomes import SIMULATED, DryRun, Outcome
from hyena_ray.progress import count_noun
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.run import Output, Run, check_resume, start
from hyena_ray.settings import READ, WHERE, Location, Option
from hyena_ray.storage import AnyPath, remove_folder
from hyena_ray.workflows.workflow import (
    TIMED,
    GenomeFile,
    ReadsModels,
    ReadsTracks,
    Resumes,
    RunsOnActors,
    Workflow,
    model_inputs,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.cluster.resources import Cluster, Placement, Resources
    from hyena_ray.genome.signal_tracks import SignalTrack
    from hyena_ray.prediction.expected_precision import ExpectedPrecision, ReachedPrecision
    from hyena_ray.prediction.pieces import PredictionPlan
    from hyena_ray.prediction.prediction_record import PredictionRecord

logger = logging.getLogger(__name__)

OUTPUTS = {
    "track": "probabilities.bw",
    "regions": "regions.bed",
    "table": "regions.csv",
    "contigs": "contigs.csv",
    "summary": MANIFEST,
}
"""Name of every output, and its path in the folder of the run."""
AT_ONCE_ON_GPU = 4
"""Number of pieces that an actor with a GPU works on concurrently. A small model scores a piece in
0.04 s; meanwhile the others are read, queued, written and handed out."""
UNKNOWN_PRECISION = (
    "unknown: the folder of the model holds no evaluation, no base of it reaches the threshold, or "
    "several models were given"
)


class PredictSettings(ReadsModels, ReadsTracks, Resumes, RunsOnActors):
    """Settings of a prediction."""

    genome: Annotated[GenomeFile, Option("FILE|NAME", READ)]
    """Genome to score: FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly such as hg38,
    which is downloaded once, by a dry run too."""
    contigs: Annotated[tuple[str, ...] | None, Option("C,C", READ, default="all")] = None
    """Contigs to score."""
    contigs_file: Annotated[Location | None, Option("FILE", READ)] = None
    """Text file with the names of more contigs to score, one a line."""
    threshold: Annotated[
        float | None, Option("X", default="the model's own"), Field(ge=0, le=1)
    ] = None
    """Probability from which a base is called; required with several models, which have none of
    their own."""
    precision: Annotated[
        float | None, Option("X", default="that of the threshold"), Field(gt=0, le=1)
    ] = None
    """Choose the lowest threshold from which at least this fraction of the called bases has a
    label, on the validation contigs of the model and at the prevalence of their genome."""
    min_length: Annotated[int | None, Option("N", default="the task's"), Field(ge=1)] = None
    """Leave out regions of fewer bases, after joining."""
    merge_gap: Annotated[int | None, Option("N", default="the task's"), Field(ge=0)] = None
    """Join runs of called bases that at most N other bases separate."""
    overlap: Annotated[int | None, Option("N", default="half a window, or 0"), Field(ge=0)] = None
    """Bases that a window shares with the next one. 0 takes half the time, and is as good where the
    model reads 32 bases on each side of a window. It is the default for trees, Z-HUNT and k-mers,
    which give a base the same score in every window."""
    batch: Annotated[
        int | None,
        Option("N", WHERE, default="128 on a CPU, as many as have about 1 Mb on a GPU"),
        Field(ge=1),
    ] = None
    """Windows of one forward pass, halved if a GPU runs out of memory. The last bits of the scores
    depend on it, so --resume keeps the value of the first start."""
    actors: Annotated[
        int | None, Option("N", WHERE, default="as many as the cluster holds"), Field(ge=1)
    ] = None
    """Actors that work at once."""

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if self.threshold is not None and self.precision is not None:
            raise ValueError(
                "--threshold and --precision cannot be used together: the precision chooses the "
                "threshold; drop one"
            )
        if self.threshold is None and len(self.model) > 1:
            remedy = "score them with `hyena-ray evaluate --data`, and give the threshold it finds"
            if self.precision is not None:
                problem = "is read from the figures of one model, and several are given"
                raise InputError("--precision", f"{self.precision:g}", problem, remedy)
            problem = "is missing: several models have no threshold of their own"
            raise InputError("--threshold", None, problem, remedy)
        return self

    def contig_names(self) -> tuple[str, ...] | None:
        """Return the contigs to score, or None for all.

        Raises:
            InputError: Their file cannot be read.
        """
        if self.contigs_file is None:
            return self.contigs
        source = Source(self.contigs_file, "give --contigs-file a text file")
        lines = source.read_text("a text file").split("\n")
        return (*(self.contigs or ()), *filter(None, map(str.strip, lines)))


class PredictionRun(NamedTuple):
    """A prediction that passed every check but for the cluster's; nothing was written."""

    plan: PredictionPlan
    output: Output
    regions: RegionSettings
    reached: ReachedPrecision | None
    """How the threshold was chosen, where a precision was asked for."""
    models: tuple[AnyPath, ...]
    """Absolute paths of the models."""
    expected: ExpectedPrecision | None
    """Expected precision of the calls; None where the model was not scored."""
    genome: AnyPath
    """File of the genome, or the name of an assembly."""
    tracks: tuple[SignalTrack, ...]
    """Tracks that the models read."""
    actors: int | None
    """Actors that work at once; None takes as many as the cluster holds."""
    resources: Resources
    """What an actor takes."""
    address: str | None
    """Ray cluster to join."""


def validate(settings: PredictSettings) -> PredictionRun:
    """Check model, genome and folder, and cut the genome into pieces.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: One of them cannot be used.
    """
    with Problems() as problems:
        files = parse_tracks(settings.track)
        inputs = (*settings.models, settings.genome, *files.values())
        output = problems.collect(settings.output, "predict", inputs)
        problems.collect(open_genome, settings.genome)  # before the model is loaded
        contigs = problems.collect(settings.contig_names)
    assert output is not None
    from hyena_ray.model.ensemble import load_scorer
    from hyena_ray.model.predictor import open_tracks
    from hyena_ray.prediction.expected_precision import expected_precision, reach_precision
    from hyena_ray.prediction.pieces import plan_prediction, require_base_labels

    model = load_scorer(settings.models)
    require_base_labels(model, settings.models[0])
    tracks = open_tracks(model, settings.track)
    reached, threshold = None, settings.threshold
    if settings.precision is not None:
        reached = reach_precision(settings.models[0], settings.precision, model.threshold)
        threshold = reached.threshold
        logger.info("threshold %s", reached)
    regions = model.regions.changed(threshold, settings.min_length, settings.merge_gap)
    plan = plan_prediction(
        model,
        settings.genome,
        contigs=contigs,
        overlap=settings.overlap,
        batch=settings.batch,
        tracks=tracks,
    )
    if settings.resume:
        check_resume(output, plan)
    return PredictionRun(
        plan,
        output,
        regions,
        reached,
        settings.models,
        # The figures of members say nothing of their mean.
        None
        if len(settings.models) > 1
        else expected_precision(settings.models[0], regions.threshold),
        settings.genome,
        tracks,
        settings.actors,
        settings.resources,
        settings.address,
    )


def dry_run(prediction: PredictionRun) -> DryRun:
    """Count bases, pieces and windows, and time one batch on a worker of the cluster.

    Args:
        prediction: The prediction.

    Raises:
        InputError: The cluster cannot hold the actors.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.genome.signal_tracks import tracks_text
    from hyena_ray.prediction.pieces import count_windows, missing_pieces
    from hyena_ray.workflows.timing import seconds_per_scored_window

    plan, output, models = prediction.plan, prediction.output, prediction.models
    left = missing_pieces(plan, output.folder) if output.resume else range(len(plan.pieces))
    windows = sum(count_windows(plan, index) for index in left)
    batch = plan.batch
    with connect(prediction.address) as cluster:
        placement = place_actors(prediction, cluster)
        actors, resources = placement.concurrent, placement.resources
        seconds = run_task(
            lambda: seconds_per_scored_window(models, batch, windows),
            resources,
            TIMED,
            threads=1,
        )
    bases = sum(piece.bases for piece in plan.pieces)
    contigs = list(dict.fromkeys(span.contig for piece in plan.pieces for span in piece.spans))
    return DryRun(
        plan={
            "genome": f"{prediction.genome}: {bases:,} bases of "
            f"{count_noun(len(contigs), 'contig')}",
            "tracks": tracks_text(prediction.tracks),
            "windows": f"{plan.window} bases, each with {plan.overlap} of the next one",
            "pieces": f"{len(plan.pieces)}, {len(left)} of them to do",
            "threshold": str(prediction.reached or f"{prediction.regions.threshold:.3g}"),
            "regions": f"of {prediction.regions.min_length} bases or more, joined across gaps of "
            f"{prediction.regions.merge_gap}",
            "actors": f"{placement.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "bases": bases,
            "tracks": plan.tracks,
            "contigs": contigs,
            "pieces": len(plan.pieces),
            "pieces_to_do": len(left),
            "actors": actors,
            "resources": resources.model_dump(),
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(output.folder, OUTPUTS),
        seconds=seconds * windows / actors,
        timed="one batch of this model on random bases",
        simulated=plan.simulated,
    )


def place_actors(prediction: PredictionRun, cluster: Cluster) -> Placement[Resources]:
    """Fit actors into the cluster.

    Args:
        prediction: The prediction.
        cluster: Cluster that they run on.

    Raises:
        InputError: The cluster cannot hold them.
    """
    from hyena_ray.cluster.resources import fit_resources

    return fit_resources(
        cluster,
        prediction.resources,
        wanted=prediction.actors,
        useful=len(prediction.plan.pieces),
        name="--cpu, --gpu",
    )


def execute(prediction: PredictionRun) -> PredictionRecord:
    """Score, or continue, and call regions. `manifest.json` is written last.

    A complete prediction that is resumed with other settings of regions gets new regions, and no
    base is scored again.

    Args:
        prediction: The prediction.

    Raises:
        InputError: The cluster cannot hold the actors, or another job writes the folder.
        ShardError: A piece failed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect

    inputs = {**model_inputs(prediction.models), "genome": prediction.genome}
    inputs |= {f"track {track.scale.name}": track.path for track in prediction.tracks}
    with connect(prediction.address) as cluster:
        placement = place_actors(prediction, cluster)
        prediction = prediction._replace(resources=placement.resources)
        ran_on = check_devices(placement)
        with start(prediction.output, prediction.plan, inputs=inputs, ran_on=ran_on) as run:
            return predict_in_run(run, prediction, actors=placement.concurrent)


def predict_in_run(
    run: Run[PredictionPlan], prediction: PredictionRun, *, actors: int
) -> PredictionRecord:
    """Score the pieces that are missing, write track and regions anew, and finish the run.

    Args:
        run: The run.
        prediction: The prediction.
        actors: Actors that work at once; the result does not depend on it.

    Raises:
        ShardError: A piece failed on every try.
    """
    from hyena_ray.cluster.monitor import Progress
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.prediction.pieces import (
        SEQUENCES,
        count_windows,
        make_scorer,
        missing_pieces,
        piece_is_complete,
        run_piece,
        write_sequences,
    )
    from hyena_ray.prediction.prediction_record import PredictionRecord
    from hyena_ray.prediction.results import write_results
    from hyena_ray.runs.shard_files import SHARDS

    plan, folder, models = run.plan, run.folder, prediction.models
    run.reopen()  # the regions are about to be replaced
    (folder / SHARDS).mkdir(parents=True, exist_ok=True)
    todo = missing_pieces(plan, folder)
    logger.info(
        "predicting: %d of %d pieces to do on %s, each %s",
        len(todo),
        len(plan.pieces),
        count_noun(actors, "actor"),
        prediction.resources.text,
    )
    write_sequences(plan, prediction.genome, folder, prediction.tracks)

    def make() -> Callable[[int], object]:
        import torch

        from hyena_ray.model.devices import default_device
        from hyena_ray.model.ensemble import load_scorer

        # One thread whatever the size of the pool: the bits of a score depend on it.
        torch.set_num_threads(1)
        model = load_scorer(models)
        model.to(default_device())
        scorer = make_scorer(model, plan)
        return lambda index: run_piece(scorer, plan, index, folder)

    shards = Shards(
        name="prediction",
        numbers=todo,
        make=make,
        is_done=lambda index: piece_is_complete(plan, index, folder),
        describe=lambda index: plan.pieces[index].label,
        label=lambda index: plan.pieces[index].label,
        unit="pieces",
        windows=lambda index: count_windows(plan, index),
        at_once=AT_ONCE_ON_GPU if prediction.resources.gpu else 1,
    )
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        # Track and regions are written as pieces arrive; the pieces are started in this order.
        results = thread.submit(
            write_results, plan, prediction.regions, prediction.genome, folder, stopped
        )
        try:
            run_shards(shards, actors=actors, resources=prediction.resources)
            with Progress("writing of track and regions"):
                result = results.result()
        finally:
            stopped.set()
    remove_folder(folder / SEQUENCES)
    record = PredictionRecord.make(
        fingerprint=plan.fingerprint,
        simulated=plan.simulated,
        outputs=OUTPUTS,
        genome=plan.genome,
        model=plan.model,
        window=plan.window,
        overlap=plan.overlap,
        regions_settings=prediction.regions,
        reached=prediction.reached,
        expected=prediction.expected,
        **result.model_dump(),
    )
    run.finish(record)
    return record


def present(prediction: PredictionRun, record: PredictionRecord) -> Outcome:
    """Say how much was called.

    Args:
        prediction: The prediction.
        record: What it found.
    """
    called = record.regions_settings
    lines = [SIMULATED] * record.simulated
    lines += [
        f"scored      {record.scored:,} of {record.bases:,} bases on "
        f"{count_noun(record.contigs, 'contig')}; the other {record.bases - record.scored:,} are N",
        f"called      {record.called:,} bases, {record.share:.3%} of them, with a probability of "
        f"at least {called.threshold:.3g}",
        f"regions     {record.regions:,} with {record.in_regions:,} bases, {record.per_mb:.1f} per "
        f"Mb; of {called.min_length} bases or more, joined across gaps of {called.merge_gap}",
    ]
    if record.repeats is not None:
        lines.append(f"repeats     {record.repeats:,} of the regions are soft-masked by half")
    if record.reached is not None:
        lines.append(f"threshold   {record.reached}")
    lines += [
        f"precision   {record.expected or UNKNOWN_PRECISION}",
        f"digest      {record.digest}",
    ]
    shown = (
        *("contigs", "bases", "scored", "called", "share", "regions", "in_regions", "per_mb"),
        *("repeats", "digest"),
    )
    found = {key: getattr(record, key) for key in shown}
    expected = None if record.expected is None else record.expected.model_dump(mode="json")
    reached = None if record.reached is None else record.reached.model_dump(mode="json")
    found |= {"threshold": called.threshold, "reached": reached, "expected": expected}
    folder = prediction.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(lines), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="predict",
    about=__doc__,
    settings=lambda task: PredictSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="contigs, bases, scored, called, share, regions, in_regions, per_mb, repeats, digest, "
    "threshold, reached, expected",
    examples=(
        "predict --model run/model --genome genome.fa.gz --out tracks",
        "predict --model run/model --genome genome.fa.gz --out surer --precision 0.5",
        "predict --model run/model --genome genome.fa.gz --track dnase=dnase.bw --out tracks",
        "predict --model run/model --genome genome.fa.gz --out tracks --dry-run",
        "predict --model first/model,second/model --threshold 0.4 --genome genome.fa.gz "
        "--out tracks",
        "predict --model run/model --genome genome.fa.gz --out tracks --resume --threshold 0.9 "
        "--min-length 10",
    ),
)
