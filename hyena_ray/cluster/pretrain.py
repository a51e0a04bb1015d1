"""Pretraining on workers of Ray Train, fed by Ray Data."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.train import TrainingFailedError
from ray.util.queue import Queue

from hyena_ray.cluster.folder import begin, check_output, only_writer
from hyena_ray.cluster.progress import Progress, State
from hyena_ray.cluster.resources import Resources, TrialResources, place
from hyena_ray.cluster.start import connect, reason_of
from hyena_ray.cluster.steps import STREAM_CPU, StreamedSteps
from hyena_ray.cluster.watchdog import watchdog
from hyena_ray.cluster.workers import Report, run_on_workers
from hyena_ray.errors import InputError, JobError
from hyena_ray.files import write_json
from hyena_ray.model.provenance import Provenance
from hyena_ray.pretraining.genome import Genome, held_out_windows, read_genome
from hyena_ray.pretraining.loop import StepReport, check_start, pretrain, text_of
from hyena_ray.pretraining.markov import markov_perplexities
from hyena_ray.pretraining.objectives import save_backbone
from hyena_ray.pretraining.packed import PackedBases
from hyena_ray.pretraining.record import BACKBONE, RECORD, PretrainRecord
from hyena_ray.pretraining.settings import PretrainSettings
from hyena_ray.pretraining.stream import WindowStream
from hyena_ray.storage import AnyPath
from hyena_ray.training.epoch import DivergenceError
from hyena_ray.training.workers import Workers

logger = logging.getLogger(__name__)

PACKAGES = ("hyena-ray", "torch", "ray", "transformers", "numpy")
RETRIES = 3
"""Times that the workers are started again, and go on from the last checkpoint, after one died."""
STALL_SECONDS = 1800.0
"""Without a report of the workers until the job gives up: they start, or do a step and a look."""
TELL_SECONDS = 1.0
"""Between two reports of a worker to the driver."""


class PretrainOptions(NamedTuple):
    """What the command line of the pretraining job says."""

    genome: AnyPath
    """FASTA file."""
    out: AnyPath
    settings: PretrainSettings
    leave_out: tuple[str, ...]
    held_out: tuple[str, ...]
    """Contigs; none holds out a share of each."""
    workers: int
    each: Resources
    """Of a worker."""
    inputs: tuple[AnyPath, ...]
    """Other files that are read."""
    resume: bool
    overwrite: bool
    address: str | None
    """Ray cluster; see `connect`."""


def pretrain_on_genome(options: PretrainOptions) -> PretrainRecord:
    """Do a whole pretraining, or what is left of one. `manifest.json` is written last.

    Raises:
        InputError: bad options, files or settings, or more workers than the cluster holds; nothing
            was written.
        DivergenceError: the loss is NaN or infinite.
        JobError: workers died once too often, or nothing happened for too long; what finished is
            kept, and --resume goes on.
    """
    out = check_output(
        options.out,
        None,
        inputs=[options.genome, *options.inputs],
        resume=options.resume,
        overwrite=options.overwrite,
    )
    settings = options.settings
    done = check_start(settings, out if options.resume else None)
    if done:
        logger.info("going on after step %d of %d", done, settings.training.steps)
    genome = read_genome(
        options.genome, settings, leave_out=options.leave_out, held_out=options.held_out
    )
    resources = TrialResources(**options.each.model_dump(), workers=options.workers)
    with connect(options.address, dashboard=options.workers > 1) as cluster:
        placement = place(
            cluster,
            options.each,
            wanted=None,
            useful=1,
            streams=True,
            stream_cpu=STREAM_CPU,
            name="--workers, --cpu, --gpu",
            workers=options.workers,
        )
        with only_writer(out, overwrite=options.overwrite):
            plan = {
                "settings": settings.model_dump(mode="json"),
                "genome": genome.sha256,
                "leave_out": sorted(options.leave_out),
                "held_out": sorted(options.held_out),
                "threads": placement.threads,
            }
            threads = begin(out, plan, may_change=("threads",))["threads"]
            if (out / RECORD).exists():
                logger.info("the pretraining is complete already")
                return PretrainRecord.read(out)
            return _run(options, genome, out, resources, threads, done)


def _run(
    options: PretrainOptions,
    genome: Genome,
    out: AnyPath,
    resources: TrialResources,
    threads: int,
    done: int,
) -> PretrainRecord:
    settings = options.settings
    provenance = Provenance(
        objective=settings.objective,
        genome=options.genome.name,
        genome_sha256=genome.sha256,
        contigs=genome.contigs,
        began_from=settings.model.backbone,
    )
    windows = dict(held_out_windows(genome, settings))
    if not windows:
        logger.warning("nothing is held out: there will be no perplexity")
    stream = WindowStream(genome.train, settings)
    for stage, of in enumerate(stream.stages):
        logger.info(
            "steps %d to %d: %d windows of %d bases a step, %.2f epochs of %d",
            of.first + 1,
            of.last,
            of.rows,
            of.length,
            (of.last - of.first) * of.rows / stream.count(stage),
            stream.count(stage),
        )
    shared = StreamedSteps(ray.put(stream))
    held_out = ray.put(windows)

    def train(workers: Workers, report: Report) -> None:
        torch.set_num_threads(threads)
        told = 0.0

        def tell(step: StepReport) -> None:
            nonlocal told
            last = step.step == settings.training.steps
            if last or step.look is not None or time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                report(step._asdict())

        found: dict[str, NDArray[np.uint8]] = ray.get(held_out)
        copies = {name: codes.copy() for name, codes in found.items()}
        try:
            result = pretrain(settings, shared.batches, copies, out, tell, workers)
        except DivergenceError as error:
            report({"problem": str(error)})
            return
        if workers.writes:
            save_backbone(result.model, out / BACKBONE, provenance)
        report({"history": result.history})

    history, rate = _train(train, settings, resources, out, done)
    markov = _markov(ray.put(genome.train), held_out, settings, options.each)
    record = PretrainRecord.parse(
        {
            "settings": settings.model_dump(mode="json"),
            "provenance": provenance.model_dump(mode="json"),
            "history": history,
            "markov": markov,
            "bases_per_second": rate,
            "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        },
        out / RECORD,
    )
    write_json(out / RECORD, record.model_dump(mode="json"))
    return record


def _train(
    train: Any, settings: PretrainSettings, resources: TrialResources, out: AnyPath, done: int
) -> tuple[Sequence[Mapping[str, Any]], float | None]:
    """The history of the finished run, and bases trained on in a second."""
    recipe = settings.training
    rows = recipe.tokens_per_step // settings.longest
    # In windows of the longest length, whatever the stage: so many bases take the same time.
    begun = State(done=done, windows=done * rows)
    history: Sequence[Mapping[str, Any]] = ()
    first: tuple[float, int] | None = None
    last = first
    with Progress(
        "pretraining", recipe.steps, "steps", windows=recipe.steps * rows, begun=begun
    ) as progress:

        def tell(report: Mapping[str, Any]) -> None:
            nonlocal history, first, last
            dog.progress()
            if "problem" in report:
                raise DivergenceError(report["problem"])
            if "history" in report:
                history = report["history"]
                return
            step = int(report["step"])
            progress.update(State(done=step, windows=step * rows, loss=report["loss"]))
            last = time.monotonic(), step
            first = first or last
            if report["look"] is not None:
                logger.info("%s", text_of(report["look"]))

        try:
            with watchdog(STALL_SECONDS, "the pretraining") as dog:
                _run_apart(train, resources, out / "train", tell)
        except TrainingFailedError as error:
            raise _failure(error) from error
    if first is None or last is None or last[1] == first[1]:
        return history, None
    return history, (last[1] - first[1]) * recipe.tokens_per_step / (last[0] - first[0])


def _run_apart(train: Any, resources: TrialResources, folder: AnyPath, tell: Report) -> None:
    """`run_on_workers` in a process of its own: it waits in two threads, and a driver that is told
    to end while one of them is inside Ray would sometimes do so without its exit code.

    Raises:
        TrainingFailedError: as `run_on_workers`.
    """
    reports = Queue(actor_options={"num_cpus": 0})

    def drive() -> None:
        try:
            run_on_workers(
                train, resources, folder, name="pretraining", tell=reports.put, retries=RETRIES
            )
        finally:
            reports.put(None)

    ended = ray.remote(num_cpus=0)(drive).options(name="pretraining").remote()
    while (report := reports.get()) is not None:
        tell(report)
    ray.get(ended)


def _failure(error: TrainingFailedError) -> Exception:
    """What a worker was stopped by, in one line."""
    causes = getattr(getattr(error, "cause", error), "worker_failures", {}).values()
    for cause in causes:
        if isinstance(cause, InputError | JobError):
            return cause
    reason = reason_of(next(iter(causes), error))
    return JobError(f"workers failed ({reason}); what was finished is kept, --resume goes on")


def _markov(
    bases: ray.ObjectRef[PackedBases],
    held_out: ray.ObjectRef[dict[str, NDArray[np.uint8]]],
    settings: PretrainSettings,
    each: Resources,
) -> dict[str, dict[str, float]]:
    """On a worker, since the driver may have no CPU."""
    both = settings.training.reverse_complement

    def count(
        bases: PackedBases, windows: dict[str, NDArray[np.uint8]]
    ) -> dict[str, dict[str, float]]:
        found = markov_perplexities(bases, windows, both_strands=both)
        return {str(order): of for order, of in found.items()}

    task = ray.remote(num_cpus=each.cpu)(count).options(name="Markov models")
    with Progress("Markov models"):
        done: dict[str, dict[str, float]] = ray.get(task.remote(bases, held_out))
    return done
