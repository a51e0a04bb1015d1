"""What a pretraining would do, and how long it would take."""

from __future__ import annotations

from hyena_ray.cluster.folder import check_begun
from hyena_ray.cluster.plan_pretrain import (
    MAY_CHANGE,
    PretrainOptions,
    checked,
    made_of,
    place_workers,
    written_by,
)
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.timing import on_workers
from hyena_ray.dry_run import DryRun, Estimate
from hyena_ray.progress import counted, listed
from hyena_ray.training.genome_stream import Batch
from hyena_ray.training.pretrain_record import RECORD
from hyena_ray.training.pretrain_timing import (
    PretrainSample,
    PretrainTiming,
    sample_of,
    time_pretraining,
)

STARTS = 6
"""Processes that start one after the other before the first step, each with its imports: two queues
of reports, what waits for Ray Train, its controller, the workers, the tasks that cut windows."""


def plan_job(options: PretrainOptions) -> DryRun:
    """Do all checks of `pretrain_on_genome`, and time steps of every length on workers. Writes
    nothing.

    Raises:
        InputError: as `pretrain_on_genome`.
    """
    run, settings = checked(options), options.settings
    sample = sample_of(settings, run.stream, run.held_out, options.workers)

    def work(sample: PretrainSample) -> PretrainTiming:
        # Copies: what lies in the object store cannot be written to, of which torch warns.
        own = (Batch(of.inputs.copy(), of.targets.copy(), of.weight) for of in sample.batches)
        return time_pretraining(settings, sample._replace(batches=tuple(own)))

    with connect(options.address, dashboard=options.workers > 1) as cluster:
        plan = made_of(options, run.genome, place_workers(options, cluster))
        complete = False
        if options.resume:
            plan = check_begun(run.out, plan, MAY_CHANGE) or plan
            complete = (run.out / RECORD).exists()
        threads = int(plan["threads"])
        timed = on_workers(
            work, [sample], resources=options.resources, concurrent=options.workers, threads=threads
        )
    (timings,) = timed.found
    bases = int(run.genome.train.lengths.sum())
    scored = int(run.genome.held_out.lengths.sum())
    windows = sum(map(len, run.held_out.values()))
    # Every step waits for the slowest worker.
    seconds = max(
        timing.seconds(
            settings, done=run.done, bases=bases, windows=windows, workers=options.workers
        )
        for timing in timings
    )
    left_out = [contig.name for contig in run.genome.contigs if contig.use == "left_out"]
    recipe, model = settings.training, settings.model
    start = f"random weights of {model.d_model} channels in {counted(model.n_layer, 'layer')}"
    return DryRun(
        plan={
            "genome": f"{options.genome}: {bases:,} bases to train on, {scored:,} held out"
            + (f"; left out: {listed(left_out)}" if left_out else ""),
            "backbone": f"{model.backbone or start}, {settings.objective}",
            "steps": f"{recipe.steps:,}, {run.done:,} of them done",
            **{f"  {steps}": text for steps, text in run.stages().items()},
            "looks": f"{recipe.remaining_evaluations(run.done)} to do, each at {windows:,} "
            f"held-out windows of {settings.longest} bases"
            if windows
            else "at nothing: nothing is held out",
            "workers": f"{options.workers}, each {options.resources.text} and "
            f"{counted(threads, 'torch thread')}",
            "cluster": cluster.text,
        },
        values={
            "bases": {"trained": bases, "held_out": scored},
            "left_out": left_out,
            "stages": [stage._asdict() for stage in run.stream.stages],
            "steps": recipe.steps,
            "steps_done": run.done,
            "held_out_windows": windows,
            "workers": options.workers,
            "resources": options.resources.model_dump(),
            "threads": threads,
            "cluster": cluster._asdict(),
        },
        writes=written_by(run.out),
        time=Estimate(
            0.0 if complete else STARTS * timed.start + seconds,
            f"{max(timing.timed for timing in timings):.0f} s of steps of every length, of scores "
            f"and of k-mer counts, untrained, on {counted(len(timings), 'worker')} at once"
            + ("; what workers tell each other is not in it" if options.workers > 1 else ""),
        ),
        simulated=run.genome.simulated,
    )
