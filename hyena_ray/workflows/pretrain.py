"""Pretrain a HyenaDNA backbone on a genome, and compare its perplexity with Markov models.

Training starts from random weights or from others. DIR/backbone is what --backbone and
model.backbone of other jobs take.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from hyena_ray.errors import Problems
from hyena_ray.genome.contigs import open_genome
from hyena_ray.outcomes import DryRun, Outcome
from hyena_ray.progress import State, count_noun, shortened_list
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST
from hyena_ray.runs.run import Output, Run, check_resume, start
from hyena_ray.settings import READ, WHERE, Option, load_yaml
from hyena_ray.training.settings import Objective, PretrainSettings
from hyena_ray.workflows.run_options import with_absolute_backbone
from hyena_ray.workflows.workflow import (
    TIMED,
    GenomeFile,
    Resumes,
    RunsOnActors,
    Workflow,
    YamlFile,
    assignments_to,
    changes_from,
    outputs_in,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hyena_ray.cluster.resources import Cluster, Placement, Resources, TrialResources
    from hyena_ray.cluster.streams import Shared
    from hyena_ray.cluster.workers import Report
    from hyena_ray.model.provenance import Provenance
    from hyena_ray.training.data_parallel import Workers
    from hyena_ray.training.genome_stream import PackedBases, WindowStream
    from hyena_ray.training.pretrain_genome import Genome
    from hyena_ray.training.pretrain_record import PretrainRecord
    from hyena_ray.training.pretraining import StepReport

logger = logging.getLogger(__name__)

BACKBONE = "backbone"
"""Name of the folder with the weights."""
OUTPUTS = {"backbone": BACKBONE, "summary": MANIFEST}
"""Name of every output, and its path in the folder of the run."""
RETRIES = 3
"""Times that the workers are started again from the last checkpoint after one died."""
STALL_SECONDS = 1800.0
"""Seconds without a report of the workers until the job gives up."""
REPORT_SECONDS = 1.0
"""Seconds between two reports of a worker to the driver."""


class PretrainJob(Resumes, RunsOnActors):
    """Settings of a pretraining job."""

    genome: Annotated[GenomeFile, Option("FILE|NAME", READ)]
    """Genome to read: FASTA (plain, gzip, bgzip), 2bit, or the name of an assembly such as hg38,
    which is downloaded once, by a dry run too."""
    leave_out: Annotated[tuple[str, ...], Option("C,C", READ, default="none")] = ()
    """Contigs that nothing is read from, such as those of tests."""
    held_out: Annotated[tuple[str, ...], Option("C,C", READ, default="last 5 % of each")] = ()
    """Contigs that are scored and not trained on."""
    backbone: Annotated[str | None, Option("DIR|ID", READ, default="random weights")] = None
    """Weights to start from: a folder, or the id of a repository on the hub."""
    objective: Annotated[Objective | None, Option(default="next_base")] = None
    """Predict the next base, as HyenaDNA was trained; or masked bases, for a backbone whose states
    are read from both sides."""
    config: Annotated[YamlFile | None, Option("YAML")] = None
    """YAML file of settings."""
    changes: Annotated[
        tuple[str, ...],
        assignments_to(PretrainSettings),
        Option("KEY=VALUE", flag="set", repeated=True),
    ] = ()
    """One setting, which overrides those of --config; may be given again."""
    workers: Annotated[int, Option("N", WHERE), Field(ge=1)] = 1
    """Processes that train together, each on its part of every step."""

    @property
    def group(self) -> TrialResources:
        """Resources of the group of workers.

        Raises:
            InputError: The workers would share a GPU.
        """
        from hyena_ray.cluster.resources import TrialResources

        values = {"cpu": self.cpu, "gpu": self.gpu, "workers": self.workers}
        return TrialResources.parse(values, "--gpu, --workers")


class PretrainPlan(Plan):
    """Settings and inputs that determine the result of a pretraining."""

    KIND: ClassVar[str] = "pretrain"
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset({"threads"})
    STARTS_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = {BACKBONE: (BACKBONE,)}

    settings: PretrainSettings
    """Settings of backbone, objective and training; `model.backbone` says what the initial weights
    are, not where."""
    genome: str
    """sha256 of the genome's file."""
    leave_out: tuple[str, ...]
    """Contigs that nothing is read from, sorted."""
    held_out: tuple[str, ...]
    """Contigs that are scored and not trained on, sorted."""
    threads: int
    """torch threads of a worker; a resumed run keeps those of its first start."""


class Pretraining(NamedTuple):
    """A pretraining that passed every check but for the cluster's; nothing was written."""

    job: PretrainJob
    settings: PretrainSettings
    output: Output
    genome: Genome
    stream: WindowStream
    """Windows to train on."""
    held_out: dict[str, NDArray[np.uint8]]
    """Base codes of the windows that are scored, shape (W, L), by contig."""
    provenance: Provenance
    """What the weights will have seen."""
    weights: str | None
    """What the initial weights are; None for random ones."""
    steps_done: int
    """Steps that an interrupted run has finished."""

    def plan(self, threads: int) -> PretrainPlan:
        """Return the plan of the run.

        Args:
            threads: torch threads of a worker.
        """
        return PretrainPlan(
            settings=self.settings.updated({"model.backbone": self.weights}, "plan"),
            genome=self.genome.sha256,
            leave_out=tuple(sorted(self.job.leave_out)),
            held_out=tuple(sorted(self.job.held_out)),
            threads=threads,
        )

    @property
    def stages(self) -> dict[str, str]:
        """Steps of every stage, and their windows in words."""
        lines = {}
        for number, stage in enumerate(self.stream.stages):
            windows = self.stream.count(number)
            epochs = (stage.last - stage.first) * stage.rows / windows
            lines[f"steps {stage.first + 1} to {stage.last}"] = (
                f"{stage.rows} windows of {stage.length} bases a step, {epochs:.2f} epochs of "
                f"{windows:,}"
            )
        return lines


def validate(job: PretrainJob) -> Pretraining:
    """Check settings, folder and weights, and read the genome.

    Warns where the weights to start from have seen what is held out.

    Args:
        job: Settings of the job.

    Raises:
        InputError: One of them cannot be used.
    """
    with Problems() as problems:
        settings = problems.collect(_pretrain_settings, job)
        backbone = None if settings is None else settings.model.backbone
        inputs = (job.genome, job.config, backbone)
        output = problems.collect(job.output, PretrainPlan.KIND, inputs)
        problems.collect(open_genome, job.genome)  # before torch is imported
        problems.collect(lambda: job.group)
    assert settings is not None
    assert output is not None
    from hyena_ray.model.pretrained import weights_by_content
    from hyena_ray.model.provenance import Provenance, public_name, read_provenance
    from hyena_ray.training.genome_stream import WindowStream
    from hyena_ray.training.leaks import held_out_leak
    from hyena_ray.training.preflight import check_arithmetic
    from hyena_ray.training.pretrain_genome import held_out_windows, read_genome
    from hyena_ray.training.pretraining import check_start

    check_arithmetic(settings.training.precision, "settings", gpu=job.resources.has_gpu)
    check_start(settings, None, "")
    before = read_provenance(settings.model.backbone)
    genome = read_genome(job.genome, settings, leave_out=job.leave_out, held_out=job.held_out)
    windows = dict(held_out_windows(genome, settings))
    provenance = Provenance(
        objective=settings.objective,
        genome=genome.name,
        genome_sha256=genome.sha256,
        simulated=genome.simulated,
        contigs=genome.contigs,
        began_from=None
        if settings.model.backbone is None
        else public_name(settings.model.backbone),
        before=before,
    )
    stream = WindowStream(genome.train, settings)
    weights = weights_by_content(settings.model.backbone, settings.model.revision)
    pretraining = Pretraining(
        job, settings, output, genome, stream, windows, provenance, weights, 0
    )
    if leak := held_out_leak(provenance):
        logger.warning("%s: %s", settings.model.backbone, leak)
    if job.resume:
        plan = check_resume(output, pretraining.plan(1))
        done = check_start(settings, output.folder, plan.fingerprint)
        pretraining = pretraining._replace(steps_done=done)
    return pretraining


def _pretrain_settings(job: PretrainJob) -> PretrainSettings:
    settings = PretrainSettings()
    if job.config:
        settings = PretrainSettings.parse(load_yaml(job.config), job.config)
    flags = {"objective": job.objective, "model.backbone": job.backbone}
    changes = with_absolute_backbone(changes_from(flags, job.changes))
    settings = settings.updated(changes, "--set")
    settings.check_used(changes, lambda key: f"--set: {key}")
    return settings


def place_workers(pretraining: Pretraining, cluster: Cluster) -> Placement[TrialResources]:
    """Fit the one group of workers into a cluster.

    Args:
        pretraining: The pretraining.
        cluster: Cluster that the workers run on.

    Raises:
        InputError: The cluster cannot hold the workers, or they need GPUs and get none.
    """
    from hyena_ray.cluster.resources import fit_resources
    from hyena_ray.cluster.streams import STREAM_CPU
    from hyena_ray.training.preflight import check_arithmetic

    job = pretraining.job
    placement = fit_resources(
        cluster,
        job.group,
        wanted=None,
        useful=1,
        name="--workers, --cpu, --gpu",
        stream_cpu=STREAM_CPU,
    )
    check_arithmetic(pretraining.settings.training.precision, "settings", gpu=placement.gpu)
    return placement


def dry_run(pretraining: Pretraining) -> DryRun:
    """Count bases, windows and steps, and time one step on a worker of the cluster.

    Args:
        pretraining: The pretraining.

    Raises:
        InputError: The cluster cannot hold the workers.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.training.data_parallel import Workers
    from hyena_ray.workflows.timing import pretraining_seconds

    job, settings, genome = pretraining.job, pretraining.settings, pretraining.genome
    recipe, model, done = settings.training, settings.model, pretraining.steps_done
    batch = pretraining.stream.batch(recipe.steps - 1, Workers(0, job.workers))
    with connect(job.address, dashboard=job.workers > 1) as cluster:
        placement = place_workers(pretraining, cluster)
        resources, threads = placement.resources, placement.threads
        step = run_task(
            lambda: pretraining_seconds(settings, batch), resources, TIMED, threads=threads
        )
    bases = int(genome.train.lengths.sum())
    scored = int(genome.held_out.lengths.sum())
    windows = sum(map(len, pretraining.held_out.values()))
    left_out = [contig.name for contig in genome.contigs if contig.use == "left_out"]
    weights = f"random weights of {model.d_model} channels in {count_noun(model.n_layer, 'layer')}"
    evaluations = recipe.remaining_evaluations(done) if windows else 0
    # A pass over the held-out windows is the forward part, a third, of as many steps.
    scoring = evaluations * windows * settings.longest / recipe.tokens_per_step * step / 3
    return DryRun(
        plan={
            "genome": f"{job.genome}: {bases:,} bases to train on, {scored:,} held out"
            + (f"; left out: {shortened_list(left_out)}" if left_out else ""),
            "backbone": f"{model.backbone or weights}, {settings.objective}",
            "steps": f"{recipe.steps:,}, {done:,} of them done",
            **{f"  {steps}": text for steps, text in pretraining.stages.items()},
            "evaluations": f"{evaluations} to do, each of {windows:,} held-out windows of "
            f"{settings.longest} bases"
            if windows
            else "none: nothing is held out",
            "workers": f"{job.workers}, each {resources.text} and "
            f"{count_noun(threads, 'torch thread')}",
            "cluster": cluster.text,
        },
        values={
            "bases": {"trained": bases, "held_out": scored},
            "left_out": left_out,
            "stages": [stage._asdict() for stage in pretraining.stream.stages],
            "steps": recipe.steps,
            "steps_done": done,
            "held_out_windows": windows,
            "workers": job.workers,
            "resources": resources.model_dump(),
            "threads": threads,
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(pretraining.output.folder, OUTPUTS),
        seconds=(recipe.steps - done) * step + scoring / job.workers,
        timed="one step of the longest windows on one worker",
        simulated=genome.simulated,
    )


def execute(pretraining: Pretraining) -> PretrainRecord:
    """Pretrain, or continue. `manifest.json` is written last.

    Args:
        pretraining: The pretraining.

    Raises:
        InputError: The cluster cannot hold the workers, or another job writes the folder.
        DivergenceError: The loss is NaN or infinite.
        JobError: Workers died once too often, or nothing happened for too long; what finished is
            kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect
    from hyena_ray.training.pretrain_record import PretrainRecord

    job = pretraining.job
    if pretraining.steps_done:
        steps = pretraining.settings.training.steps
        logger.info("resuming after step %d of %d", pretraining.steps_done, steps)
    with connect(job.address, dashboard=job.workers > 1) as cluster:
        placement = place_workers(pretraining, cluster)
        precision = ("settings: training.precision", pretraining.settings.training.precision)
        plan, ran_on = pretraining.plan(placement.threads), check_devices(placement, [precision])
        inputs: dict[str, Any] = {"genome": job.genome}
        if pretraining.settings.model.backbone is not None:
            inputs["backbone"] = pretraining.settings.model.backbone
        with start(pretraining.output, plan, inputs=inputs, ran_on=ran_on) as run:
            if (record := run.finished(PretrainRecord)) is not None:
                logger.info("the pretraining is complete already")
                return record
            return _pretrain_in_run(run, pretraining, placement.resources)


def _pretrain_in_run(
    run: Run[PretrainPlan], pretraining: Pretraining, resources: TrialResources
) -> PretrainRecord:
    import torch

    from hyena_ray.cluster.resources import Resources
    from hyena_ray.cluster.streams import StreamedSteps, share
    from hyena_ray.training.pretrain_record import PretrainRecord
    from hyena_ray.training.pretraining import pretrain, save_backbone
    from hyena_ray.training.trainer import DivergenceError

    settings, provenance = pretraining.settings, pretraining.provenance
    folder, threads, fingerprint = run.folder, run.plan.threads, run.plan.fingerprint
    if not pretraining.held_out:
        logger.warning("nothing is held out: there will be no perplexity")
    for steps, windows in pretraining.stages.items():
        logger.info("%s: %s", steps, windows)
    shared = StreamedSteps(share(pretraining.stream))
    held_out = share(pretraining.held_out)

    def train(workers: Workers, report: Report) -> None:
        torch.set_num_threads(threads)
        reported = 0.0

        def on_step(step: StepReport) -> None:
            nonlocal reported
            due = time.monotonic() - reported > REPORT_SECONDS
            if due or step.step == settings.training.steps or step.evaluation is not None:
                reported = time.monotonic()
                report(step._asdict())

        copies = {name: codes.copy() for name, codes in held_out.get().items()}
        try:
            result = pretrain(
                settings,
                shared.batches,
                copies,
                folder,
                on_step,
                workers,
                fingerprint=fingerprint,
            )
        except DivergenceError as error:
            report({"problem": str(error)})
            return
        if workers.writes:
            save_backbone(result.model, folder / BACKBONE, provenance)
        report({"history": result.history})

    history, rate = _train(train, pretraining, resources)
    # Markov models only count bases, which a GPU does not make faster.
    counting = Resources(cpu=resources.cpu, gpu=0)
    markov = _markov(share(pretraining.genome.train), held_out, settings, counting)
    record = PretrainRecord.make(
        fingerprint=fingerprint,
        simulated=provenance.simulated,
        outputs=OUTPUTS,
        settings=settings,
        provenance=provenance,
        history=tuple(history),
        markov=markov,
        bases_per_second=rate,
    )
    run.finish(record)
    return record


def _train(
    train: Any, pretraining: Pretraining, resources: TrialResources
) -> tuple[Sequence[Mapping[str, Any]], float | None]:
    """Return the history of the finished run, and the bases trained on in a second."""
    from hyena_ray.cluster.monitor import Progress, watchdog
    from hyena_ray.cluster.workers import run_in_own_process
    from hyena_ray.training.pretraining import evaluation_text
    from hyena_ray.training.trainer import DivergenceError

    recipe, done = pretraining.settings.training, pretraining.steps_done
    rows = recipe.tokens_per_step // pretraining.settings.longest
    # In windows of the longest length, whatever the stage: as many bases take the same time.
    begun = State(done=done, windows=done * rows)
    history: Sequence[Mapping[str, Any]] = ()
    first: tuple[float, int] | None = None
    last = first
    with Progress(
        "pretraining", recipe.steps, "steps", windows=recipe.steps * rows, initial=begun
    ) as progress:

        def on_report(report: Mapping[str, Any]) -> None:
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

        with watchdog(STALL_SECONDS, "the pretraining") as dog:
            run_in_own_process(
                train,
                resources,
                pretraining.output.folder / "train",
                name="pretraining",
                tell=on_report,
                retries=RETRIES,
            )
    if first is None or last is None or last[1] == first[1]:
        return history, None
    return history, (last[1] - first[1]) * recipe.tokens_per_step / (last[0] - first[0])


def _markov(
    bases: Shared[PackedBases],
    held_out: Shared[dict[str, NDArray[np.uint8]]],
    settings: PretrainSettings,
    resources: Resources,
) -> dict[str, dict[str, float]]:
    """Return the perplexity of Markov models by order and contig, computed on a worker."""
    from hyena_ray.cluster.pool import run_task

    both = settings.training.reverse_complement

    def count() -> dict[str, dict[str, float]]:
        from hyena_ray.training.markov import markov_perplexities

        orders = markov_perplexities(bases.get(), held_out.get(), both_strands=both)
        return {str(order): by_contig for order, by_contig in orders.items()}

    return run_task(count, resources, "Markov models")


def present(pretraining: Pretraining, record: PretrainRecord) -> Outcome:
    """Say how well the backbone predicts held-out bases.

    Args:
        pretraining: The pretraining.
        record: What it found.
    """
    last = record.history[-1]
    found = {"perplexity": last.perplexity, "markov": record.markov, "train_loss": last.train_loss}
    folder = pretraining.output.folder
    written = outputs_in(folder, record.outputs)
    return Outcome(record.text(), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="pretrain",
    about=__doc__,
    settings=lambda task: PretrainJob,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="perplexity by contig, markov by order and contig, train_loss",
    examples=(
        "pretrain --genome hg19.fa.gz --out pretrained --held-out chr7 --leave-out chr20",
        "pretrain --genome hg19.fa.gz --out masked --objective masked --set training.steps=2000 "
        "--set 'training.lengths=[64, 256]' --workers 2 --dry-run",
    ),
)
