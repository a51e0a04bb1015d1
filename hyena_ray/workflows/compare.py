"""Run presets on the same data, each with several seeds, and put them into one table.

Every run is a shard of the pool: done when it is complete, whatever died meanwhile. Presets are
named settings from search_spaces/presets/; TASK/all takes every one that the data can serve.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import field_validator

from hyena_ray.cluster.resources import OBJECT_STORE, READER_CPU
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.files import read_json, sha256_file, write_json
from hyena_ray.outcomes import DryRun, Outcome, windows_by_split
from hyena_ray.progress import count_noun, shortened_list
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import MANIFEST, Record
from hyena_ray.runs.run import Output, Run, check_resume, read_plan, start
from hyena_ray.settings import Option
from hyena_ray.storage import AnyPath
from hyena_ray.training.feed_choice import FeedChoice, Room, asked_feed, choose_feed, windows_bytes
from hyena_ray.training.settings import Feed, RunSettings
from hyena_ray.workflows.comparison_differences import (
    DIFFERENCES,
    Difference,
    Scored,
    differences_from,
    differences_markdown,
    write_differences,
)
from hyena_ray.workflows.comparison_ensembles import (
    ENSEMBLE,
    ENSEMBLES,
    ensemble_row,
    score_ensembles,
)
from hyena_ray.workflows.comparison_table import (
    TABLES,
    Row,
    RunFigures,
    comparison_markdown,
    ignored_changes,
    preset_row,
    write_tables,
)
from hyena_ray.workflows.presets import Preset, Selection, check_preset_names, select_presets
from hyena_ray.workflows.run_options import BACKBONE, with_absolute_backbone
from hyena_ray.workflows.train import SAMPLE, TrainPlan, TrainRecord, train_in_run
from hyena_ray.workflows.workflow import (
    TIMED,
    ReadsData,
    Resumes,
    RunsOnActors,
    Workflow,
    assignments_to,
    changes_from,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.cluster.feeds import SharedData
    from hyena_ray.cluster.resources import Cluster, Placement, Resources

logger = logging.getLogger(__name__)

STALL_SECONDS = 86_400.0
"""Seconds without a finished run until the job gives up: the longest runs take hours."""
DIVERGED = "diverged.json"
"""Name of the file that says why a run diverged, in place of its manifest."""
RUNS = "runs"
"""Name of the folder of all runs."""
OUTPUTS = {
    **TABLES,
    "runs": RUNS,
    "summary": MANIFEST,
}
"""Name of every output, and its path in the folder of the run."""


class CompareSettings(ReadsData, Resumes, RunsOnActors):
    """Settings of a comparison."""

    presets: Annotated[tuple[str, ...], Option("TASK/NAME,..")]
    """Presets to run; TASK/all takes all that the data can serve."""
    seeds: Annotated[tuple[int, ...], Option("N,N")] = (0, 1, 2)
    """Seeds: every preset is run with each."""
    ensemble: bool = False
    """Add a row for the mean of the probabilities of all presets: for each seed, of its runs."""
    reference: Annotated[str | None, Option("TASK/NAME", default="the first preset")] = None
    """Preset, or `ensemble`, that every other row is compared with by paired intervals."""
    changes: Annotated[
        tuple[str, ...],
        assignments_to(RunSettings),
        Option("KEY=VALUE", flag="set", repeated=True),
    ] = ()
    """One setting of all runs; may be given again."""

    @field_validator("presets")
    @classmethod
    def _are_presets(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_preset_names(names, "--presets")
        return names

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("give different whole numbers, such as 0,1,2")
        return seeds


class ComparePlan(Plan):
    """Settings and inputs that determine the result of a comparison."""

    KIND: ClassVar[str] = "compare"
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset(
        {"presets", "seeds", "threads", "feed", "ensemble", "reference"}
    )

    data: str
    """sha256 of the manifest of the prepared data."""
    presets: tuple[str, ...]
    """Presets; a resumed comparison may have others."""
    seeds: tuple[int, ...]
    """Seeds; a resumed comparison may have others."""
    changes: dict[str, Any]
    """Settings that all runs are given, by dotted key; `model.backbone` says what the initial
    weights are, not where."""
    ensemble: bool
    """Whether an ensemble is scored; a resumed comparison may have another."""
    reference: str
    """Row that the others are compared with; a resumed comparison may have another."""
    threads: int
    """torch threads of a run; a resumed comparison keeps those of its first start."""
    feed: Feed
    """How training windows reach the runs; a resumed comparison keeps that of its first start."""


class CompareRecord(Record):
    """Results of a comparison; its table is in `comparison.parquet`."""

    KIND: ClassVar[str] = "compare"

    data: str
    """sha256 of the manifest of the prepared data."""
    runs: tuple[str, ...]
    """Names of all runs: their folders in `runs/`."""
    left_out: dict[str, str]
    """Presets that need other data, and the options of prepare that they need."""
    diverged: dict[str, str]
    """Runs that diverged, and why."""


class PlannedRun(NamedTuple):
    """One run of a comparison."""

    preset: str
    """Name of the preset, TASK/NAME."""
    settings: RunSettings
    """Settings with the seed, and the fold where the data has folds."""

    @property
    def name(self) -> str:
        """Folder of the run, in `runs/`."""
        return f"{self.preset}/{self.variant}"

    @property
    def variant(self) -> str:
        """Seed of the run, and the fold where the data has folds."""
        fold = self.settings.data.fold
        seed = f"seed={self.settings.training.seed}"
        return seed if fold is None else f"{seed},fold={fold}"


class Comparison(NamedTuple):
    """A comparison that passed every check but for the cluster's; nothing was written."""

    data: PreparedData
    selection: Selection
    runs: list[PlannedRun]
    output: Output
    seeds: tuple[int, ...]
    ensemble: bool
    """Whether an ensemble of the runs of each seed is scored."""
    reference: str
    """Name of the row that the others are compared with."""
    changes: dict[str, Any]
    """Settings that all runs are given, by dotted key."""
    resources: Resources
    """Resources of a run; whether it has a GPU may only be known once the runs are placed."""
    address: str | None
    """Ray cluster to join."""

    def plan(self, threads: int, feed: Feed) -> ComparePlan:
        """Return the plan of the comparison.

        Args:
            threads: torch threads of a run.
            feed: How training windows reach the runs.
        """
        from hyena_ray.model.pretrained import weights_by_content

        changes = self.changes
        if BACKBONE in changes:
            revision = changes.get("model.revision")
            changes = changes | {BACKBONE: weights_by_content(changes[BACKBONE], revision)}
        return ComparePlan(
            data=sha256_file(self.data.folder / MANIFEST),
            presets=tuple(preset.name for preset in self.selection.presets),
            seeds=self.seeds,
            ensemble=self.ensemble,
            reference=self.reference,
            changes=changes,
            threads=threads,
            feed=feed,
        )

    def train_plans(self, plan: ComparePlan) -> list[TrainPlan]:
        """Return the plan of every run.

        Args:
            plan: Plan of the comparison.

        Raises:
            InputError: The initial weights of a run are missing.
        """
        from hyena_ray.model.pretrained import weights_by_content

        weights = cache(weights_by_content)
        return [
            TrainPlan.make(
                run.settings,
                weights(run.settings.model.backbone, run.settings.model.revision),
                plan.data,
                threads=plan.threads,
                feed=plan.feed,
            )
            for run in self.runs
        ]

    def choose_feed(self, cluster: Cluster) -> FeedChoice:
        """Choose how training windows reach the runs, or keep what the first start has chosen.

        Args:
            cluster: Cluster that the runs are placed on.

        Raises:
            InputError: Windows are to be shared and do not fit, or runs ask for different feeds.
        """
        started = read_plan(self.output.folder, ComparePlan) if self.output.resume else None
        views = _views(self).values()
        return choose_feed(
            asked_feed(run.settings for run in self.runs),
            sum(windows_bytes(*view) for view in views),
            Room(cluster.object_store, OBJECT_STORE),
            None if started is None else started.feed,
        )

    def folder_of(self, run: PlannedRun) -> AnyPath:
        """Return the folder of a run.

        Args:
            run: One run of the comparison.
        """
        return self.output.folder / RUNS / run.name

    def is_done(self, run: PlannedRun) -> bool:
        """Tell whether a run is complete, or has diverged.

        Args:
            run: One run of the comparison.
        """
        folder = self.folder_of(run)
        return (folder / MANIFEST).exists() or (folder / DIVERGED).exists()


def validate(settings: CompareSettings) -> Comparison:
    """Check data, presets, settings and folder, and build a model of every preset.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: One of them cannot be used.
    """
    with Problems() as problems:
        data = problems.collect(PreparedData.open, settings.data)
        changes = problems.collect(changes_from, {}, settings.changes)
        changes = None if changes is None else with_absolute_backbone(changes)
        inputs = (settings.data, (changes or {}).get(BACKBONE))
        output = problems.collect(settings.output, ComparePlan.KIND, inputs)
        for key in sorted({"training.seed", "data.fold"} & (changes or {}).keys()):
            problems.collect(_refuse_varied, key)
        selection = None
        if data is not None:
            selection = problems.collect(select_presets, settings.presets, data)
            if selection is not None:
                problems.collect(_check_reference, settings, selection)
        for preset in () if selection is None or changes is None else selection.presets:
            run = problems.collect(preset.run_settings, gpu=False)
            if run is not None:
                problems.collect(run.updated, changes or {}, "--set")
    assert data is not None
    assert changes is not None
    assert output is not None
    assert selection is not None
    runs = _checked_runs(settings, selection.presets, data, changes)
    comparison = Comparison(
        data,
        selection,
        runs,
        output,
        settings.seeds,
        settings.ensemble,
        settings.reference or selection.presets[0].name,
        changes,
        settings.resources,
        settings.address,
    )
    asked = asked_feed(run.settings for run in runs)
    if settings.resume:
        check_resume(output, comparison.plan(1, "shared" if asked == "auto" else asked))
    data.check({run.settings.data.length for run in runs})
    return comparison


def _check_reference(settings: CompareSettings, selection: Selection) -> None:
    allowed = [preset.name for preset in selection.presets] + [ENSEMBLE] * settings.ensemble
    if settings.reference not in (None, *allowed):
        problem = f"is not a row of the table; allowed are {shortened_list(allowed)}"
        remedy = "add it to --presets" if settings.reference != ENSEMBLE else "add --ensemble"
        raise InputError("--reference", settings.reference, problem, remedy)


def _refuse_varied(key: str) -> None:
    raise InputError("--set", key, "differs from run to run", "use --seeds, or leave it out")


def plan_runs(
    presets: Sequence[Preset],
    seeds: Sequence[int],
    data: PreparedData,
    changes: Mapping[str, Any],
    *,
    gpu: bool,
) -> list[PlannedRun]:
    """Return a run for every combination of preset, seed and fold.

    Args:
        presets: Presets to run.
        seeds: Seeds of each preset.
        data: Prepared windows.
        changes: Settings that all runs are given, by dotted key.
        gpu: Whether each run has a GPU.
    """
    runs = []
    for preset in presets:
        place = f"preset {preset.name}"
        base = preset.run_settings(gpu=gpu).updated(changes, "--set")
        for seed in seeds:
            for fold in range(data.manifest.folds) or (None,):
                run = base.updated({"training.seed": seed, "data.fold": fold}, place)
                runs.append(PlannedRun(preset.name, run))
    return runs


def _checked_runs(
    settings: CompareSettings,
    presets: Sequence[Preset],
    data: PreparedData,
    changes: Mapping[str, Any],
) -> list[PlannedRun]:
    """Plan and check all runs, as runs without a GPU unless one is asked for."""
    from hyena_ray.training.preflight import build_untrained, check_run_fits

    gpu = settings.resources.has_gpu
    runs = plan_runs(presets, settings.seeds, data, changes, gpu=bool(gpu))
    for run in runs:
        check_run_fits(run.settings, data, f"preset {run.preset}", gpu=gpu)
    settings_of = {run.preset: run.settings for run in runs}
    _check_changes(changes, settings_of)
    for first in settings_of.values():
        # Building the model shows problems that nothing else does, such as a missing backbone.
        build_untrained(first, data.manifest.scales)
    return runs


def _check_changes(changes: Mapping[str, Any], settings_of: Mapping[str, RunSettings]) -> None:
    """Refuse settings that have no effect on any preset, and log on which others have none.

    Args:
        changes: Settings that all runs are given, by dotted key.
        settings_of: Settings of a run of each preset, by its name.
    """
    with Problems() as problems:
        for key, ignoring in ignored_changes(changes, settings_of).items():
            if len(ignoring) == len(settings_of):
                settings = settings_of[ignoring[0]]
                problems.collect(settings.check_used, [key], lambda name: f"--set: {name}")
            elif ignoring:
                logger.info("--set %s has no effect on %s", key, ", ".join(ignoring))


class _View(NamedTuple):
    """What the runs of one fold, or all runs, see of the data."""

    data: PreparedData
    lengths: list[int]


def _views(comparison: Comparison) -> dict[int | None, _View]:
    from hyena_ray.training.train_and_test import run_view

    runs = comparison.runs
    settings = {run.settings.data.fold: run.settings for run in runs}
    views = {}
    for fold, first in settings.items():
        lengths = {run.settings.data.length for run in runs if run.settings.data.fold == fold}
        views[fold] = _View(run_view(first, comparison.data), sorted(lengths))
    return views


def place_runs(
    comparison: Comparison, cluster: Cluster, feed: Feed
) -> tuple[Comparison, Placement[Resources]]:
    """Fit runs into a cluster. By default, small runs share a GPU.

    Args:
        comparison: The comparison.
        cluster: Cluster that the runs are placed on.
        feed: How training windows reach the runs; a stream takes CPUs of its own.

    Returns:
        The comparison with its runs planned for a GPU or for the CPU, and their placement.

    Raises:
        InputError: The cluster cannot hold a run, or a run needs a GPU and gets none.
    """
    from hyena_ray.cluster.resources import fit_resources
    from hyena_ray.training.footprint import training_bytes
    from hyena_ray.training.preflight import check_arithmetic

    windows = max(windows_bytes(*view) for view in _views(comparison).values())
    placement = fit_resources(
        cluster,
        comparison.resources,
        wanted=None,
        useful=len(comparison.runs),
        name="--cpu, --gpu",
        stream_cpu=READER_CPU if feed == "stream" else 0.0,
        gpu_bytes=lambda: (
            windows
            + training_bytes(
                (run.settings for run in comparison.runs), comparison.data.manifest.scales
            )
        ),
    )
    runs = plan_runs(
        comparison.selection.presets,
        comparison.seeds,
        comparison.data,
        comparison.changes,
        gpu=placement.gpu,
    )
    for run in runs:
        check_arithmetic(run.settings.training.precision, f"preset {run.preset}", gpu=placement.gpu)
    return comparison._replace(runs=runs, resources=placement.resources), placement


def dry_run(comparison: Comparison) -> DryRun:
    """Count runs and windows, and time one step of the first preset on a worker.

    Args:
        comparison: The comparison.

    Raises:
        InputError: The cluster cannot hold a run.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.training.train_and_test import run_view
    from hyena_ray.workflows.timing import training_seconds

    data, seeds = comparison.data, comparison.seeds
    with connect(comparison.address) as cluster:
        feed = comparison.choose_feed(cluster)
        comparison, placement = place_runs(comparison, cluster, feed.feed)
        runs = comparison.runs
        timed = runs[0].settings
        view = run_view(timed, data)
        rows = min(SAMPLE, view.count(timed.data.length, "train"))
        sample = view.read_rows(timed.data.length, "train", 0, rows)
        step = run_task(
            lambda: training_seconds(timed, sample, data.manifest.scales)[0],
            comparison.resources,
            TIMED,
            threads=placement.threads,
        )
    first = {run.preset: run.settings for run in reversed(runs)}
    resume = comparison.output.resume
    todo = [run for run in runs if not (resume and comparison.is_done(run))]
    windows = {name: _windows(settings, data) for name, settings in first.items()}
    steps = sum(_steps(run.settings, windows[run.preset]["train"]) for run in todo)
    folds = f", {data.manifest.folds} folds" if data.manifest.folds else ""
    left_out = comparison.selection.left_out
    return DryRun(
        plan={
            "data": f"{data.folder}: {data.manifest.task}, split {data.manifest.split}",
            "windows": "of each run",
            **{f"  {name}": windows_by_split(counts) for name, counts in windows.items()},
            "left out": ", ".join(preset.name for preset in left_out) or "no preset",
            "runs": f"{len(runs)}, {len(todo)} of them to do: "
            f"{count_noun(len(first), 'preset')}, {count_noun(len(seeds), 'seed')}{folds}",
            "placed": f"{placement.text}, on {count_noun(placement.threads, 'torch thread')}",
            "feed": feed.text,
            "cluster": cluster.text,
        },
        values={
            "windows": windows,
            "runs": [run.name for run in runs],
            "runs_to_do": [run.name for run in todo],
            "left_out": {preset.name: preset.data.options for preset in left_out},
            "at_once": placement.concurrent,
            "resources": comparison.resources.model_dump(),
            "threads": placement.threads,
            "feed": feed._asdict(),
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(comparison.output.folder, OUTPUTS),
        seconds=steps * step / placement.concurrent,
        timed=f"one step of {runs[0].preset}, as if the presets were alike",
        simulated=data.manifest.simulated,
    )


def _windows(settings: RunSettings, data: PreparedData) -> dict[str, int]:
    """Return the number of windows by split."""
    from hyena_ray.dataset.negative_draws import epoch_windows
    from hyena_ray.genome.splits import SPLITS, TRAIN
    from hyena_ray.training.train_and_test import run_view

    view = run_view(settings, data)
    counts = {split: view.count(settings.data.length, split) for split in SPLITS}
    chosen = settings.data
    counts[TRAIN] = epoch_windows(view, chosen.length, TRAIN, chosen.limit, chosen.negatives)
    return counts


def _steps(settings: RunSettings, windows: int) -> int:
    """Return the optimiser steps of a whole run."""
    recipe = settings.training
    return settings.total_epochs * -(-windows // (recipe.batch_size * recipe.accumulation))


class Compared(NamedTuple):
    """What a comparison found."""

    record: CompareRecord
    """The manifest."""
    rows: list[Row]
    """Rows of the table."""
    differences: list[Difference]
    """Differences from the reference; none where nothing stands beside it."""
    text: str
    """Both as Markdown."""


def execute(comparison: Comparison) -> Compared:
    """Run all presets, or those that are left, and write the table.

    A resumed comparison may have other presets and seeds; complete runs are taken as they are.

    Args:
        comparison: The comparison.

    Raises:
        InputError: The cluster cannot hold a run, or another job writes the folder.
        ShardError: A run failed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect
    from hyena_ray.dataset.origin import Origin

    data = comparison.data
    with connect(comparison.address) as cluster:
        feed = comparison.choose_feed(cluster)
        comparison, placement = place_runs(comparison, cluster, feed.feed)
        precisions = (
            (f"preset {run.preset}: training.precision", run.settings.training.precision)
            for run in comparison.runs
        )
        plan = comparison.plan(placement.threads, feed.feed)
        ran_on = check_devices(placement, precisions)
        inputs = {"data": data.folder}
        if comparison.output.resume:
            for planned, own in zip(comparison.runs, comparison.train_plans(plan), strict=True):
                # A preset may have changed since.
                check_resume(Output(comparison.folder_of(planned), resume=True), own)
        with start(comparison.output, plan, inputs=inputs, ran_on=ran_on) as run:
            Origin.from_data(data).write(run.folder)
            run.reopen()  # a comparison of fewer runs may have been complete
            logger.info("feed: %s", feed.text)
            plans = comparison.train_plans(run.plan)
            _reopen_damaged(comparison, plans)
            _run_all(comparison, placement, plans)
            ensembles = _score_ensembles(comparison, placement) if comparison.ensemble else {}
            return _finish(comparison, run, ensembles)


def _reopen_damaged(comparison: Comparison, plans: list[TrainPlan]) -> None:
    """Let complete runs be made again that lack files, or have damaged ones."""
    for planned, plan in zip(comparison.runs, plans, strict=True):
        folder = comparison.folder_of(planned)
        if (folder / MANIFEST).exists():
            with start(Output(folder, resume=True), plan) as run:
                run.finished(TrainRecord)


def _run_all(
    comparison: Comparison, placement: Placement[Resources], plans: list[TrainPlan]
) -> None:
    from hyena_ray.cluster.feeds import share_data
    from hyena_ray.cluster.pool import Shards, run_shards
    from hyena_ray.training.train_and_test import run_view

    runs, data_folder = comparison.runs, comparison.data.folder
    # The same in all runs, whatever their presets.
    threads, feed = plans[0].threads, plans[0].feed
    folders = [comparison.folder_of(run) for run in runs]
    shared: dict[int | None, SharedData] = {
        fold: share_data(*view, feed) for fold, view in _views(comparison).items()
    }

    def make() -> Callable[[int], object]:
        import torch

        torch.set_num_threads(threads)
        prepared = PreparedData.open(data_folder)
        return lambda index: work(prepared, index)

    def work(prepared: PreparedData, index: int) -> None:
        from hyena_ray.model.devices import default_device, device_name
        from hyena_ray.training.trainer import DivergenceError

        settings, folder = runs[index].settings, folders[index]
        train, validation = shared[settings.data.fold]
        inputs = {"data": data_folder}
        device = device_name(default_device())
        try:
            output, plan = Output(folder, resume=True), plans[index]
            with start(output, plan, inputs=inputs, ran_on=device) as run:
                train_in_run(
                    run,
                    settings,
                    run_view(settings, prepared),
                    train[settings.data.length].open(
                        settings.data.limit, negatives=settings.data.negatives
                    ),
                    validation.get(),
                    test=True,
                )
        except DivergenceError as error:
            write_json(folder / DIVERGED, {"reason": str(error)})

    shards = Shards(
        name="comparison",
        numbers=range(len(runs)),
        make=make,
        is_done=lambda index: comparison.is_done(runs[index]),
        describe=lambda index: f"run {runs[index].name}",
        label=lambda index: f"run {runs[index].name}",
        unit="runs",
        in_own_process=True,
    )
    logger.info("comparing %d runs, %s, in %s", len(runs), placement.text, comparison.output.folder)
    run_shards(
        shards,
        actors=placement.concurrent,
        resources=placement.resources,
        stall_seconds=STALL_SECONDS,
    )


def _figures(folder: AnyPath) -> RunFigures:
    if (folder / DIVERGED).exists():
        return RunFigures(None)
    return RunFigures(TrainRecord.read(folder))


def _score_ensembles(comparison: Comparison, placement: Placement[Resources]) -> dict[str, AnyPath]:
    """Score an ensemble of the runs of each seed, and fold, that did not diverge."""
    groups: dict[str, dict[str, AnyPath]] = {}
    for preset, scored in _finished(comparison).items():
        for variant, folder in scored.items():
            groups.setdefault(variant, {})[preset] = folder
    folds = {run.variant: run.settings.data.fold for run in comparison.runs}
    data, folder = comparison.data.folder, comparison.output.folder
    return score_ensembles(groups, folds, data, folder, placement)


def _finished(comparison: Comparison) -> dict[str, Scored]:
    """Return the folders of the runs of every preset that did not diverge."""
    finished: dict[str, dict[str, AnyPath]] = {run.preset: {} for run in comparison.runs}
    for run in comparison.runs:
        folder = comparison.folder_of(run)
        if not (folder / DIVERGED).exists():
            finished[run.preset][run.variant] = folder
    return dict(finished)


def _finish(
    comparison: Comparison, run: Run[ComparePlan], ensembles: Mapping[str, AnyPath]
) -> Compared:
    """Write the tables, and then the manifest."""
    labels = comparison.data.manifest.label_source
    figures = {planned.name: _figures(comparison.folder_of(planned)) for planned in comparison.runs}
    rows = [
        preset_row(
            preset,
            [figures[planned.name] for planned in comparison.runs if planned.preset == preset.name],
            labels,
        )
        for preset in comparison.selection.presets
    ]
    scored = _finished(comparison)
    if ensembles:
        rows.append(ensemble_row(ensembles, labels))
        scored[ENSEMBLE] = ensembles
    elif comparison.ensemble:
        logger.warning("no ensemble was scored: no seed has two runs that did not diverge")
    text = comparison_markdown(rows, comparison)
    differences = differences_from(comparison.reference, scored)
    outputs = dict(OUTPUTS)
    if differences:
        text += differences_markdown(comparison.reference, differences)
        write_differences(run.folder, differences)
        outputs["differences"] = DIFFERENCES
    elif len(scored) > 1:
        logger.warning("no run of %s can stand beside others", comparison.reference)
    write_tables(run.folder, rows, text)
    record = CompareRecord.make(
        fingerprint=run.plan.fingerprint,
        simulated=comparison.data.manifest.simulated,
        outputs=outputs | ({ENSEMBLES: ENSEMBLES} if ensembles else {}),
        data=run.plan.data,
        runs=tuple(figures),
        left_out={preset.name: preset.data.options for preset in comparison.selection.left_out},
        diverged={
            planned.name: read_json(comparison.folder_of(planned) / DIVERGED)["reason"]
            for planned in comparison.runs
            if figures[planned.name].record is None
        },
    )
    run.finish(record)
    return Compared(record, rows, differences, text)


def present(comparison: Comparison, compared: Compared) -> Outcome:
    """Show the table.

    Args:
        comparison: The comparison.
        compared: What it found.
    """
    record, folder = compared.record, comparison.output.folder
    found = {
        "presets": compared.rows,
        "differences": [each._asdict() for each in compared.differences],
    }
    written = outputs_in(folder, record.outputs)
    return Outcome(compared.text, found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="compare",
    about=__doc__,
    settings=lambda task: CompareSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="presets, a list with the columns of comparison.parquet; differences, those of "
    "differences.csv",
    examples=(
        "compare --data prepared --presets zdna/two_stage,zdna/lora_full --out compared",
        "compare --data prepared --presets zdna/all --seeds 0 --out compared",
        "compare --data prepared --presets zdna/trees,zdna/bilstm --ensemble --out compared",
        "compare --data prepared --presets zdna/all --out compared --dry-run",
    ),
)
