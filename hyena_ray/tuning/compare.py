"""Run presets on the same data, each with several seeds, and put them into one table.

Every run is a shard of the pool: done when its manifest.json is there, whatever died meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hyena_ray.cluster.folder import begin, check_output, data_plan, only_writer
from hyena_ray.cluster.pool import Shards, run_shards
from hyena_ray.cluster.resources import Cluster, Placement, Resources, fit_resources
from hyena_ray.cluster.start import connect
from hyena_ray.cluster.windows import Handle, Key, fits, share_windows
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.storage import AnyPath
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.run import EVALUATION, RunRecord, check_begun, complete_run, run_view
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import new_model
from hyena_ray.training.trainer import DivergenceError
from hyena_ray.tuning.comparison import Facts, Outcome, row_of, write_comparison, written_by
from hyena_ray.tuning.presets import Preset, Selection, select_presets

logger = logging.getLogger(__name__)

STALL_SECONDS = 86_400.0
"""A run tells the pool nothing before its end, and the longest take hours."""
DIVERGED = "diverged"
"""The one key in the manifest of a run that diverged: why."""


class CompareOptions(NamedTuple):
    """What the command line of the comparison says."""

    data: AnyPath
    """Prepared folder."""
    out: AnyPath
    presets: str
    """See `select_presets`."""
    folder: Path
    """Of the files of presets."""
    seeds: tuple[int, ...]
    changes: Mapping[str, Any]
    """Dotted settings that all runs are given."""
    resources: Resources
    """Of one run."""
    resume: bool = False
    overwrite: bool = False
    address: str | None = None
    """Ray cluster; see `connect`."""


class Run(NamedTuple):
    """One of a comparison."""

    preset: str
    settings: RunSettings
    """With seed, and fold where there are folds."""

    @property
    def name(self) -> str:
        """Its folder, below `runs/`."""
        fold = self.settings.data.fold
        seed = f"seed={self.settings.training.seed}"
        return f"{self.preset}/{seed}" if fold is None else f"{self.preset}/{seed},fold={fold}"


class Compared(NamedTuple):
    """A finished comparison."""

    text: str
    """The table."""
    rows: list[dict[str, Any]]
    """One of each preset, as comparison.parquet has them."""
    simulated: bool
    written: dict[str, AnyPath]


class Checked(NamedTuple):
    """What passed every check but for the cluster's; nothing was written."""

    data: PreparedData
    chosen: Selection
    runs: list[Run]
    out: AnyPath


def compare(options: CompareOptions) -> Compared:
    """Do a whole comparison, or what is left of one. `manifest.json` is written last.

    A resumed one may have other presets and seeds; what was run before is taken as it is.

    Raises:
        InputError: bad options, files or settings, or more resources than the cluster has; nothing
            was written.
        ShardError, StalledError: what finished is kept, and resuming goes on.
    """
    data, chosen, runs, out = checked(options)
    with connect(options.address) as cluster:
        placement = place_runs(options, runs, data, cluster)
        with only_writer(out, overwrite=options.overwrite):
            plan = {"data": data_plan(data), "threads": placement.threads}
            threads = begin(out, plan, may_change=("threads",))["threads"]
            Origin.of(data).write(out)
            # Of a comparison of fewer runs, where this one goes on.
            (out / MANIFEST).unlink(missing_ok=True)
            _run_all(runs, data, out, cluster, placement.concurrent, threads, options.resources)
            return _finish(options, chosen, runs, data, out)


def checked(options: CompareOptions) -> Checked:
    """All checks but the cluster's. Writes nothing.

    Raises:
        InputError: bad options, files or settings.
    """
    data = PreparedData.open(options.data)
    chosen = select_presets(options.presets, options.folder, data)
    runs = _runs(options, chosen.presets, data)
    out = check_output(options.out, data, resume=options.resume, overwrite=options.overwrite)
    if options.resume:
        for run in runs:
            check_begun(out / "runs" / run.name, run.settings)
    data.check({run.settings.data.length for run in runs})
    return Checked(data, chosen, runs, out)


def place_runs(
    options: CompareOptions, runs: list[Run], data: PreparedData, cluster: Cluster
) -> Placement:
    """How many runs at once.

    Raises:
        InputError: the cluster cannot hold one.
    """
    return fit_resources(
        cluster,
        options.resources,
        wanted=None,
        useful=len(runs),
        streams=not _fit(data, runs, cluster),
        name="--cpu, --gpu",
    )


def _runs(options: CompareOptions, presets: list[Preset], data: PreparedData) -> list[Run]:
    """Every preset with every seed, and every fold, checked before any work is done."""
    for key in sorted({"training.seed", "data.fold"} & options.changes.keys()):
        raise InputError("--set", key, "differs from run to run", "use --seeds, or leave it out")
    gpu, runs = options.resources.gpu > 0, []
    for preset in presets:
        place = f"preset {preset.name}"
        settings = preset.run_settings(gpu=gpu).updated(options.changes, "--set")
        for seed in options.seeds:
            for fold in range(data.manifest.folds) or (None,):
                run = settings.updated({"training.seed": seed, "data.fold": fold}, place)
                check_run_fits(run, data, place, gpu=gpu)
                runs.append(Run(preset.name, run))
        # What only shows when the model is made, such as a backbone that is not there.
        new_model(settings)
    return runs


def _keys(runs: list[Run], fold: int | None) -> list[Key]:
    lengths = {run.settings.data.length for run in runs if run.settings.data.fold == fold}
    return [(length, split) for length in sorted(lengths) for split in ("train", "val")]


class _View(NamedTuple):
    """What the runs of one fold, or all runs, see of the data, and how much room it may take."""

    data: PreparedData
    keys: list[Key]
    room: Cluster


def _views(data: PreparedData, runs: list[Run], cluster: Cluster) -> dict[int | None, _View]:
    settings = {run.settings.data.fold: run.settings for run in runs}
    room = cluster._replace(object_store=cluster.object_store / len(settings))
    return {
        fold: _View(run_view(one, data), _keys(runs, fold), room) for fold, one in settings.items()
    }


def _fit(data: PreparedData, runs: list[Run], cluster: Cluster) -> bool:
    """Whether all windows find room in shared memory, those of every fold for itself."""
    return all(fits(*view) for view in _views(data, runs, cluster).values())


def _run_all(
    runs: list[Run],
    data: PreparedData,
    out: AnyPath,
    cluster: Cluster,
    concurrent: int,
    threads: int,
    resources: Resources,
) -> None:
    folders = [out / "runs" / run.name for run in runs]
    windows: dict[int | None, dict[Key, Handle]] = {
        fold: share_windows(*view) for fold, view in _views(data, runs, cluster).items()
    }
    data_folder = data.folder

    def make() -> Callable[[int], object]:
        torch.set_num_threads(threads)
        prepared = PreparedData.open(data_folder)
        return lambda index: work(prepared, index)

    def work(prepared: PreparedData, index: int) -> None:
        settings = runs[index].settings
        length, shared = settings.data.length, windows[settings.data.fold]
        try:
            complete_run(
                settings,
                run_view(settings, prepared),
                shared[length, "train"].open(settings.data.limit),
                shared[length, "val"].open(),
                folders[index],
                lambda report: None,
                test=True,
            )
        except DivergenceError as error:
            write_json(folders[index] / MANIFEST, {DIVERGED: str(error)})

    shards = Shards(
        name="comparison",
        numbers=range(len(runs)),
        make=make,
        is_done=lambda index: (folders[index] / MANIFEST).exists(),
        describe=lambda index: f"run {runs[index].name}",
        label=lambda index: f"run {runs[index].name}",
        unit="runs",
        in_own_process=True,
    )
    logger.info("comparing %d runs, %d at once, in %s", len(runs), concurrent, out)
    run_shards(shards, actors=concurrent, resources=resources, stall_seconds=STALL_SECONDS)


def _outcome(folder: AnyPath) -> Outcome:
    if DIVERGED in read_json(folder / MANIFEST):
        return Outcome(None)
    genome = read_json(folder / EVALUATION)["genome"]
    return Outcome(RunRecord.read(folder), None if genome is None else genome["average_precision"])


def _finish(
    options: CompareOptions, chosen: Selection, runs: list[Run], data: PreparedData, out: AnyPath
) -> Compared:
    """Write the tables, and then the manifest."""
    outcomes = {run.name: _outcome(out / "runs" / run.name) for run in runs}
    rows = [
        row_of(preset, [outcomes[run.name] for run in runs if run.preset == preset.name])
        for preset in chosen.presets
    ]
    facts = Facts(
        data=data.folder,
        split=data.manifest.split,
        simulated=data.manifest.simulated,
        seeds=options.seeds,
        folds=data.manifest.folds,
        changes=options.changes,
        left_out={preset.name: preset.data.options for preset in chosen.left_out},
    )
    text = write_comparison(out, rows, facts)
    manifest = {
        "state": "complete",
        "simulated": facts.simulated,
        "data": sha256_file(data.folder / MANIFEST),
        "runs": list(outcomes),
        "left_out": facts.left_out,
        "diverged": {
            name: read_json(out / "runs" / name / MANIFEST)[DIVERGED]
            for name, outcome in outcomes.items()
            if outcome.record is None
        },
    }
    write_json(out / MANIFEST, manifest)
    return Compared(text, rows, facts.simulated, written_by(out))
