"""What a prediction would do, and how long it would take."""

from __future__ import annotations

import statistics

import torch

from hyena_ray.cluster.predict import PredictOptions, checked, place_actors, written_by
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.timing import makespan, on_workers
from hyena_ray.dry_run import DryRun, Estimate
from hyena_ray.model.saved import load_window_model
from hyena_ray.prediction.pieces import count_windows, missing_pieces
from hyena_ray.prediction.timing import PredictionTiming, time_windows
from hyena_ray.progress import counted


def plan_job(options: PredictOptions) -> DryRun:
    """Do all checks of `predict`, and time some windows on workers. Writes nothing.

    Raises:
        InputError: as `predict`.
    """
    settings, out, plan = checked(options)
    model_folder = options.model.absolute()

    def work(batch: int) -> PredictionTiming:
        model = load_window_model(model_folder)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        return time_windows(model, batch=batch)

    with connect(options.address) as cluster:
        actors = place_actors(options, plan, cluster)
        if options.resume:
            plan.check_begun(out)
        todo = missing_pieces(plan, out) if options.resume else list(range(len(plan.pieces)))
        timed = on_workers(
            work, [plan.batch], resources=options.resources, concurrent=actors, threads=1
        )
    (timings,) = timed.found
    window = statistics.mean(timing.window for timing in timings)
    each = [window * count_windows(plan, index) for index in todo]
    scored = sum(piece.end - piece.start for piece in plan.pieces)
    contigs = list(dict.fromkeys(piece.contig for piece in plan.pieces))
    return DryRun(
        plan={
            "genome": f"{options.genome}: {scored:,} bases of {counted(len(contigs), 'contig')}",
            "windows": f"{plan.window} bases, each with {plan.overlap} of the next one",
            "pieces": f"{len(plan.pieces)}, {len(todo)} of them to do",
            "threshold": f"{settings.threshold:.3g}",
            "actors": f"{actors} at once, each {options.resources.text} and 1 torch thread",
            "cluster": cluster.text,
        },
        values={
            "bases": scored,
            "contigs": contigs,
            "pieces": len(plan.pieces),
            "pieces_to_do": len(todo),
            "actors": actors,
            "resources": options.resources.model_dump(),
            "cluster": cluster._asdict(),
        },
        writes=written_by(out),
        time=Estimate(
            timed.start + makespan(each, actors) if each else 0.0,
            f"{max(timing.timed for timing in timings):.1f} s of this model on random bases, on "
            f"{counted(len(timings), 'worker')} at once",
        ),
        simulated=plan.simulated,
    )
