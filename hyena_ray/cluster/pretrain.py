"""Pretraining on workers of Ray Train, fed by Ray Data."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.train import TrainingFailedError
from ray.util.queue import Queue

from hyena_ray.cluster.folder import begin, only_writer
from hyena_ray.cluster.plan_pretrain import (
    MAY_CHANGE,
    Checked,
    PretrainOptions,
    checked,
    made_of,
    place_workers,
)
from hyena_ray.cluster.progress import Progress, State
from hyena_ray.cluster.resources import Resources, TrialResources
from hyena_ray.cluster.start import connect, reason_of
from hyena_ray.cluster.steps import StreamedSteps
from hyena_ray.cluster.watchdog import watchdog
from hyena_ray.cluster.workers import Report, run_on_workers
from hyena_ray.errors import InputError, JobError
from hyena_ray.files import write_json
from hyena_ray.storage import AnyPath
from hyena_ray.training.data_parallel import Workers
from hyena_ray.training.genome_stream import PackedBases
from hyena_ray.training.markov import markov_perplexities
from hyena_ray.training.pretrain_record import BACKBONE, RECORD, PretrainRecord
from hyena_ray.training.pretraining import StepReport, evaluation_text, pretrain, save_backbone
from hyena_ray.training.settings import PretrainSettings
from hyena_ray.training.trainer import DivergenceError

logger = logging.getLogger(__name__)

PACKAGES = ("hyena-ray", "torch", "ray", "transformers", "numpy")
RETRIES = 3
"""Times that the workers are started again, and go on from the last checkpoint, after one died."""
STALL_SECONDS = 1800.0
"""Without a report of the workers until the job gives up: they start, or do a step and a look."""
TELL_SECONDS = 1.0
"""Between two reports of a worker to the driver."""


def pretrain_on_genome(options: PretrainOptions) -> PretrainRecord:
    """Do a whole pretraining, or what is left of one. `manifest.json` is written last.

    Raises:
        InputError: bad options, files or settings, or more workers than the cluster holds; nothing
            was written.
        DivergenceError: the loss is NaN or infinite.
        JobError: workers died once too often, or nothing happened for too long; what finished is
            kept, and --resume goes on.
    """
    run = checked(options)
    if run.done:
        logger.info("going on after step %d of %d", run.done, options.settings.training.steps)
    resources = TrialResources(**options.resources.model_dump(), workers=options.workers)
    with connect(options.address, dashboard=options.workers > 1) as cluster:
        plan = made_of(options, run.genome, place_workers(options, cluster))
        with only_writer(run.out, overwrite=options.overwrite):
            threads = begin(run.out, plan, MAY_CHANGE)["threads"]
            if (run.out / RECORD).exists():
                logger.info("the pretraining is complete already")
                return PretrainRecord.read(run.out)
            return _run(run, options.settings, resources, threads)


def _run(
    run: Checked, settings: PretrainSettings, resources: TrialResources, threads: int
) -> PretrainRecord:
    out, provenance = run.out, run.provenance(settings)
    if not run.held_out:
        logger.warning("nothing is held out: there will be no perplexity")
    for steps, windows in run.stages().items():
        logger.info("%s: %s", steps, windows)
    shared = StreamedSteps(ray.put(run.stream))
    held_out = ray.put(run.held_out)

    def train(workers: Workers, report: Report) -> None:
        torch.set_num_threads(threads)
        told = 0.0

        def tell(step: StepReport) -> None:
            nonlocal told
            last = step.step == settings.training.steps
            if last or step.evaluation is not None or time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                report(step._asdict())

        found: dict[str, NDArray[np.uint8]] = ray.get(held_out)
        copies = {name: codes.copy() for name, codes in found.items()}
        try:
            result = pretrain(
                settings,
                shared.batches,
                copies,
                out,
                tell,
                workers,
                fingerprint=settings.fingerprint(),
            )
        except DivergenceError as error:
            report({"problem": str(error)})
            return
        if workers.writes:
            save_backbone(result.model, out / BACKBONE, provenance)
        report({"history": result.history})

    history, rate = _train(train, settings, resources, out, run.done)
    markov = _markov(ray.put(run.genome.train), held_out, settings, resources)
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
            if report["evaluation"] is not None:
                logger.info("%s", evaluation_text(report["evaluation"]))

        try:
            with watchdog(STALL_SECONDS, "the pretraining") as dog:
                run_apart(train, resources, out / "train", tell)
        except TrainingFailedError as error:
            raise _failure(error) from error
    if first is None or last is None or last[1] == first[1]:
        return history, None
    return history, (last[1] - first[1]) * recipe.tokens_per_step / (last[0] - first[0])


def run_apart(train: Any, resources: TrialResources, folder: AnyPath, tell: Report) -> None:
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
    resources: Resources,
) -> dict[str, dict[str, float]]:
    """On a worker, since the driver may have no CPU."""
    both = settings.training.reverse_complement

    def count(
        bases: PackedBases, windows: dict[str, NDArray[np.uint8]]
    ) -> dict[str, dict[str, float]]:
        found = markov_perplexities(bases, windows, both_strands=both)
        return {str(order): of for order, of in found.items()}

    task = ray.remote(num_cpus=resources.cpu)(count).options(name="Markov models")
    with Progress("Markov models"):
        done: dict[str, dict[str, float]] = ray.get(task.remote(bases, held_out))
    return done
