"""What a tuning job would do, and how long it would take."""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hyena_ray.attribution.settings import AttributionSettings
from hyena_ray.attribution.shards import SHARD_SIZE
from hyena_ray.attribution.timing import time_labelled
from hyena_ray.cluster.folder import check_begun
from hyena_ray.cluster.resources import Cluster, fit_resources
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.timing import makespan, on_workers
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dataset.schema import Windows
from hyena_ray.dry_run import DryRun, Estimate, windows_text
from hyena_ray.genome.splits import SPLITS
from hyena_ray.progress import counted
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.stored_study import finished_in
from hyena_ray.search.trial_fields import TRIALS
from hyena_ray.storage import AnyPath
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.stages import training_stages
from hyena_ray.training.supervised import new_model
from hyena_ray.training.timing import RunTiming, Sample, sample_of, time_run
from hyena_ray.tuning.plan import (
    MAY_CHANGE,
    TuneOptions,
    checked,
    made_of,
    place_trials,
    simulated_data,
    written_by,
)

TIMED_DRAWS = 4
"""Settings from all over the space that are timed."""
TEST_WINDOWS = 1024
"""Among which labelled ones are looked for, to be attributed."""


class _Item(NamedTuple):
    settings: RunSettings
    sample: Sample
    test: Windows
    attribution: AttributionSettings


class _Timing(NamedTuple):
    run: RunTiming
    labelled: float
    """Seconds to attribute a labelled window."""


def plan_tuning(options: TuneOptions) -> DryRun:
    """Do all checks of `tune_task`, and time some settings on workers. Writes nothing: what is
    simulated lies in a temporary folder meanwhile.

    Raises:
        InputError: as `tune_task`.
    """
    space, given, out, draws = checked(options)
    drawn = draws[:: max(1, len(draws) // TIMED_DRAWS)][:TIMED_DRAWS]
    with _data(space, given) as data, connect(
        options.address, dashboard=space.resources.workers > 1
    ) as cluster:  # fmt: skip
        placement = place_trials(space, given, cluster)
        if options.resume and given is not None:
            check_begun(out, made_of(space, given, placement), MAY_CHANGE)
        attribution = space.attribution_settings()
        items = [
            _Item(
                settings,
                sample_of(settings, data),
                data.read(
                    settings.data.length,
                    "test",
                    min(TEST_WINDOWS, data.count(settings.data.length, "test")),
                ),
                attribution,
            )
            for settings in drawn
        ]
        timed = on_workers(
            _time,
            items,
            resources=space.resources,
            concurrent=placement.concurrent,
            threads=placement.threads,
        )
        actors = _actors(space, data, cluster)
    finished = _finished(options, out)
    left = max(0, space.trials - finished)
    windows = {
        f"{length} bases": {split: data.count(length, split) for split in SPLITS}
        for length in space.lengths()
    }
    trials = [
        (_seconds(item.settings, data, of_item) / space.resources.workers, item.settings)
        for item, of_item in zip(items, timed.found, strict=True)
    ]
    mean = statistics.mean(seconds for seconds, _ in trials)
    least = statistics.mean(seconds * _least_share(s, space) for seconds, s in trials)
    after = _after(items, timed.found, data, actors)
    spent = sum(max(t.run.timed for t in of_item) for of_item in timed.found)
    shown = len(windows) > 1
    workers = space.resources.workers
    return DryRun(
        plan={
            "data": f"{data.folder}: {space.task}" if given else "simulated: no --data is given",
            "windows": "" if shown else windows_text(next(iter(windows.values()))),
            **({f"  {name}": windows_text(of) for name, of in windows.items()} if shown else {}),
            "search": ", ".join(space.search),
            "trials": f"{space.trials}, {left} of them to do, each at most "
            f"{counted(space.longest_run(), 'epoch')}",
            "at once": f"{placement.concurrent}, each {space.resources.text} and "
            f"{counted(placement.threads, 'torch thread')}"
            + (f", for each of {workers} workers" if workers > 1 else ""),
            "then": f"score the best on test; attribute it on {counted(actors, 'actor')}: "
            + ", ".join(attribution.methods),
            "cluster": cluster.text,
        },
        values={
            "windows": windows,
            "trials": space.trials,
            "trials_to_do": left,
            "epochs": space.longest_run(),
            "at_once": placement.concurrent,
            "resources": space.resources.model_dump(),
            "threads": placement.threads,
            "actors": actors,
            "cluster": cluster._asdict(),
        },
        writes=written_by(out, data, attribution.methods),
        time=Estimate(
            timed.start + makespan([mean] * left, placement.concurrent) + after,
            f"{spent:.0f} s of steps, scores and attributions of {len(items)} settings of the "
            "space, untrained, on workers. The longer time is that of a search that stops no trial "
            "early, and of a best model that finds every labelled window",
            timed.start + makespan([least] * left, placement.concurrent) + after,
        ),
        simulated=data.manifest.simulated,
    )


@contextmanager
def _data(space: SearchSpace, given: PreparedData | None) -> Iterator[PreparedData]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
        simulated_data(space, Path(folder) / "data")
        yield PreparedData.open(Path(folder) / "data")


def _time(item: _Item) -> _Timing:
    model = new_model(item.settings).eval()
    return _Timing(
        time_run(item.settings, item.sample), time_labelled(model, item.test, item.attribution)
    )


def _actors(space: SearchSpace, data: PreparedData, cluster: Cluster) -> int:
    test = max(data.count(length, "test") for length in space.lengths())
    shards = math.ceil(test / SHARD_SIZE)
    return fit_resources(
        cluster, space.resources, wanted=None, useful=shards, streams=False, name="--actors"
    ).concurrent


def _finished(options: TuneOptions, out: AnyPath) -> int:
    """Trials that an earlier start has finished."""
    table = out / TRIALS
    return finished_in(table) if options.resume and table.exists() else 0


def _seconds(settings: RunSettings, data: PreparedData, timings: list[_Timing]) -> float:
    """Of a whole trial, which does not score the test."""
    length = settings.data.length
    train = min(data.count(length, "train"), settings.data.limit or sys.maxsize)
    return statistics.mean(
        timing.run.seconds(settings, train=train, validation=data.count(length, "val"), test=0)
        for timing in timings
    )


def _least_share(settings: RunSettings, space: SearchSpace) -> float:
    """Of the epochs of many trials with these settings, those that are run where each cut lets one
    in `reduction_factor` go on."""
    epochs = sum(stage.epochs for stage in training_stages(settings.training))
    cut, share, run = float(space.scheduler.grace_period), 1.0, 0.0
    begin = 0.0
    while cut < epochs:
        run += share * (cut - begin)
        begin, share = cut, share / space.scheduler.reduction_factor
        cut *= space.scheduler.reduction_factor
    return (run + share * (epochs - begin)) / epochs


def _after(
    items: list[_Item], timings: list[list[_Timing]], data: PreparedData, actors: int
) -> float:
    """Seconds of what follows the search."""
    seconds = []
    for item, of_item in zip(items, timings, strict=True):
        length = item.settings.data.length
        positive = sum(
            count.positive
            for count in data.manifest.counts
            if (count.length, count.split) == (length, "test")
        )
        for timing in of_item:
            scored = data.count(length, "test") * timing.run.scored
            seconds.append(scored + positive * timing.labelled / actors)
    return statistics.mean(seconds)
