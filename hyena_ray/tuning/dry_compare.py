"""What a comparison would do, and how long it would take."""

from __future__ import annotations

import statistics

from hyena_ray.cluster.folder import check_begun, data_plan
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.timing import makespan, on_workers
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dry_run import DryRun, Estimate, windows_text
from hyena_ray.genome.splits import SPLITS
from hyena_ray.progress import counted
from hyena_ray.training.run import run_view
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.timing import RunTiming, sample_of, time_run
from hyena_ray.tuning.compare import CompareOptions, Run, checked, place_runs
from hyena_ray.tuning.comparison import written_by


def plan_comparison(options: CompareOptions) -> DryRun:
    """Do all checks of `compare`, and time a few steps of each preset on workers. Writes nothing.

    Raises:
        InputError: as `compare`.
    """
    data, chosen, runs, out = checked(options)
    first = {run.preset: run.settings for run in reversed(runs)}
    items = [
        (settings, sample_of(settings, run_view(settings, data))) for settings in first.values()
    ]
    with connect(options.address) as cluster:
        placement = place_runs(options, runs, data, cluster)
        if options.resume:
            check_begun(out, {"data": data_plan(data)})
        timed = on_workers(
            lambda item: time_run(*item),
            items,
            resources=options.resources,
            concurrent=placement.concurrent,
            threads=placement.threads,
        )
    timings = dict(zip(first, timed.found, strict=True))
    todo = [
        run
        for run in runs
        if not (options.resume and (out / "runs" / run.name / MANIFEST).exists())
    ]
    # A process for every run.
    seconds = [timed.start + _seconds(run, data, timings[run.preset]) for run in todo]
    windows = {
        name: _windows(settings, run_view(settings, data)) for name, settings in first.items()
    }
    lines = {f"  {name}": windows_text(counts) for name, counts in windows.items()}
    spent = max(timing.timed for of_preset in timed.found for timing in of_preset)
    return DryRun(
        plan={
            "data": f"{data.folder}: {data.manifest.task}, split {data.manifest.split}",
            "windows": "of each run",
            **lines,
            "left out": ", ".join(preset.name for preset in chosen.left_out) or "no preset",
            "runs": f"{len(runs)}, {len(todo)} of them to do: "
            f"{counted(len(first), 'preset')}, {counted(len(options.seeds), 'seed')}"
            + (f", {data.manifest.folds} folds" if data.manifest.folds else ""),
            "at once": f"{placement.concurrent}, each {options.resources.text} and "
            f"{counted(placement.threads, 'torch thread')}",
            "cluster": cluster.text,
        },
        values={
            "windows": windows,
            "runs": [run.name for run in runs],
            "runs_to_do": [run.name for run in todo],
            "left_out": {preset.name: preset.data.options for preset in chosen.left_out},
            "at_once": placement.concurrent,
            "resources": options.resources.model_dump(),
            "threads": placement.threads,
            "cluster": cluster._asdict(),
        },
        writes=written_by(out),
        time=Estimate(
            makespan(seconds, placement.concurrent),
            f"up to {spent:.1f} s of steps and scores of each preset on workers, no epoch left out",
        ),
        simulated=data.manifest.simulated,
    )


def _windows(settings: RunSettings, data: PreparedData) -> dict[str, int]:
    """By split."""
    counts = {split: data.count(settings.data.length, split) for split in SPLITS}
    if settings.data.limit is not None:
        counts["train"] = min(counts["train"], settings.data.limit)
    return counts


def _seconds(run: Run, data: PreparedData, timings: list[RunTiming]) -> float:
    counts = _windows(run.settings, run_view(run.settings, data))
    train, validation, test = (counts[split] for split in SPLITS)
    return statistics.mean(
        timing.seconds(run.settings, train=train, validation=validation, test=test)
        for timing in timings
    )
