"""Search settings with Ray Tune and Optuna, test the best model, and list the k-mers it relies on.

Without --data all of this is done on a small simulated genome, which says nothing about real DNA.
What --backbone, --preset and --set give is the same in all trials, and is not searched.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, cast

from pydantic import Field, create_model

from hyena_ray.cluster.resources import (
    OBJECT_STORE,
    CpuCount,
    GpuCount,
    Placement,
    TrialResources,
)
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.files import atomic_folder, sha256_file
from hyena_ray.model.settings import READOUT
from hyena_ray.outcomes import SIMULATED, DryRun, Outcome, windows_by_split
from hyena_ray.progress import count_noun
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import EVALUATED, MANIFEST, Record
from hyena_ray.runs.run import Output, Run, check_resume, default_folder, read_plan, start
from hyena_ray.search.space import SearchSpace
from hyena_ray.search.study_file import check_study_file
from hyena_ray.search.trial_fields import METRICS, SETTINGS, STUDY_FILE, TRIALS
from hyena_ray.settings import READ, WHERE, WRITE, Location, Option
from hyena_ray.storage import local_copy
from hyena_ray.tasks import TASKS
from hyena_ray.training.feed_choice import FeedChoice, Room, asked_feed, choose_feed, windows_bytes
from hyena_ray.training.settings import SHOWN_METRICS, Feed
from hyena_ray.workflows import attribute
from hyena_ray.workflows.presets import load_preset
from hyena_ray.workflows.run_options import BACKBONE, TakesRunSettings
from hyena_ray.workflows.searched_space import (
    load_space,
    place_trials,
    simulate_data,
    space_by_content,
    space_file,
)
from hyena_ray.workflows.workflow import (
    TIMED,
    DataFolder,
    Joins,
    Resumes,
    Workflow,
    YamlFile,
    outputs_in,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hyena_ray.cluster.resources import Cluster
    from hyena_ray.search.trackers import Tracker
    from hyena_ray.training.evaluation import Evaluation
    from hyena_ray.training.settings import RunSettings

logger = logging.getLogger(__name__)

ATTRIBUTION = "attribution"
"""Name of the folder of the best model's attribution, a run of its own."""
TOP = 10
"""k-mers of each table that the summary names."""


class TuneSettings(TakesRunSettings, Resumes, Joins):
    """Settings of a search."""

    task: str
    """Name of the task."""
    data: Annotated[DataFolder | None, Option("DIR", READ, default="simulated")] = None
    """Prepared data: the folder that `hyena-ray prepare` wrote."""
    space: Annotated[YamlFile | None, Option("YAML", default="the task's own")] = None
    """Search space."""
    trials: Annotated[int | None, Option("N", default="the space's number"), Field(ge=1)] = None
    """Settings to try."""
    tracker: Annotated[tuple[str, ...], Option("KIND=WHERE", WRITE, repeated=True)] = ()
    """Also report every trial to mlflow=URI or wandb=PROJECT; may be given again."""
    cpu: Annotated[CpuCount | None, Option("X", WHERE, default="the space's, 1")] = None
    """CPUs of each process: a trial, one of its workers, or an actor."""
    gpu: Annotated[
        GpuCount | None,
        Option("X", WHERE, default="the space's, 1 if the cluster has GPUs, or a share of one"),
    ] = None
    """GPUs of each process: a whole number, or a fraction of one; 0 hides all GPUs."""
    out: Annotated[
        Location | None, Option("DIR", WRITE, default="a new one in ~/ray_results/hyena_ray/")
    ] = None  # type: ignore[assignment]
    """Output folder of the run."""


class TunePlan(Plan):
    """Settings and inputs that determine the result of a search."""

    KIND: ClassVar[str] = "tune"
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset({"trials", "threads", "feed"})
    STARTS_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "data": ("data",),
        "model": ("model",),
    }

    space: dict[str, Any]
    """The search space, without what does not decide a result: the number of trials, their
    concurrency, resources and patience. `model.backbone` says what the initial weights are."""
    trials: int
    """Settings to try; a resumed search may try more."""
    data: str | None
    """sha256 of the manifest of the prepared data; None for simulated data."""
    threads: int
    """torch threads of a trial; a resumed search keeps those of its first start."""
    feed: Feed
    """How training windows reach the trials; a resumed search keeps that of its first start."""


class TuneRecord(Record):
    """Results of a search."""

    KIND: ClassVar[str] = "tune"

    task: str
    """Name of the task."""
    data: str
    """sha256 of the manifest of the prepared data."""
    trials: dict[str, int]
    """Number of trials in each state."""
    best_trial: int
    """Number of the best trial in the study, from 0."""
    settings: dict[str, Any]
    """Searched settings of the best trial."""
    validation: dict[str, float]
    """Metrics of the best trial, which chose it, and its epoch and threshold."""
    test: dict[str, float]
    """Metrics of the best model on the test data, which chose nothing."""
    regions: str
    """Regions found and false calls of the best model on the test data, in words; empty for
    sequences."""
    attribution: str
    """sha256 of the k-mer tables."""
    kmers: dict[str, tuple[str, ...]]
    """First k-mers of every table."""
    consensus: tuple[str, ...]
    """Attribution methods of the consensus; empty for a single one."""
    notes: tuple[str, ...]
    """Warnings of methods that disagree."""
    seconds: dict[str, float]
    """Wall time of each step since the last start."""

    def text(self) -> str:
        """Return the result in words."""
        lines = [SIMULATED] if self.simulated else []
        states = ", ".join(f"{number} {state}" for state, number in self.trials.items())
        lines += [f"trials      {states}", f"best        trial {self.best_trial}"]
        lines += [f"            {key} = {value}" for key, value in self.settings.items()]
        for name, metrics in (("validation", self.validation), ("test", self.test)):
            shown = "  ".join(
                f"{key} {metrics[key]:.3f}" for key in SHOWN_METRICS if key in metrics
            )
            lines.append(f"{name:<12}{shown}")
        if self.regions:
            lines.append(f"            {self.regions}")
        lines.append(f"top {TOP} k-mers")
        lines += attribute.kmer_lines(self.kmers, self.consensus)
        lines += [f"warning: {note}" for note in self.notes]
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        return "\n".join([*lines, f"took        {took}"])


class Search(NamedTuple):
    """A search that passed every check but for the cluster's; nothing was written."""

    space: SearchSpace
    data: PreparedData | None
    """Prepared windows; None for those that are simulated."""
    output: Output
    trackers: tuple[Tracker, ...]
    """Experiment trackers that follow the search."""
    address: str | None
    """Ray cluster to join."""

    def plan(self, threads: int, feed: Feed) -> TunePlan:
        """Return the plan of the run.

        Args:
            threads: torch threads of a trial.
            feed: How training windows reach the trials.
        """
        return TunePlan(
            space=space_by_content(self.space),
            trials=self.space.trials,
            data=None if self.data is None else sha256_file(self.data.folder / MANIFEST),
            threads=threads,
            feed=feed,
        )

    def choose_feed(self, cluster: Cluster) -> FeedChoice:
        """Choose how training windows reach the trials, or keep what the first start has chosen.

        Args:
            cluster: Cluster that the trials run on.

        Raises:
            InputError: Windows are to be shared, and do not fit.
        """
        needed = 0 if self.data is None else windows_bytes(self.data, self.space.lengths())
        started = read_plan(self.output.folder, TunePlan) if self.output.resume else None
        return choose_feed(
            asked_feed(self.space.covering_settings()),
            needed,
            Room(cluster.object_store, OBJECT_STORE),
            None if started is None else started.feed,
        )


def settings_for(task: str) -> type[TuneSettings]:
    """Return the class of settings of a task.

    Args:
        task: Name of the task.
    """
    return cast(type[TuneSettings], create_model(f"Tune_{task}", __base__=TuneSettings))


def _check_lengths(searched: tuple[int, ...], data: PreparedData, path: Path) -> None:
    """Refuse searched window lengths that the data lack, all of them at once."""
    prepared = data.manifest.lengths
    missing = [length for length in searched if length not in prepared]
    if missing and len(searched) > 1:
        raise InputError(
            f"{path}: data.length",
            ", ".join(map(str, missing)),
            f"is searched, and the data in {data.folder} has windows of "
            f"{', '.join(map(str, prepared))} bases",
            f"prepare with --lengths {','.join(map(str, sorted({*searched, *prepared})))}, or give "
            f"--set data.length={prepared[0]}",
        )


def validate(settings: TuneSettings) -> Search:
    """Check space, data and folder, and build a model of every kind in the space.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: One of them cannot be used.
    """
    path = space_file(settings.task, settings.space, simulated=settings.data is None)
    resources = {
        "trials": settings.trials,
        "resources.cpu": settings.cpu,
        "resources.gpu": settings.gpu,
    }
    with Problems() as problems:
        space = problems.collect(load_space, path, settings.task, settings, resources)
        data = None
        if settings.data is not None:
            data = problems.collect(PreparedData.open, settings.data)
        trackers = problems.collect(_trackers, settings)
        output = problems.collect(_output, settings)
        if data is not None and data.manifest.task != settings.task:
            problems.collect(_refuse_other_task, data, settings.task)
        elif data is not None and settings.preset is not None:
            problems.collect(load_preset(settings.preset).check_data, data)
    assert space is not None
    assert trackers is not None
    assert output is not None
    from hyena_ray.training.preflight import build_untrained, check_run_fits

    draws = space.covering_settings(path)
    if data is not None:
        _check_lengths(space.lengths(), data, path)
        for draw in draws:
            check_run_fits(draw, data, str(path), gpu=space.resources.has_gpu)
        data.check(space.lengths())
    elif shares := next(filter(None, (draw.data.negatives for draw in draws)), None):
        problem = "simulated data have no kinds of negatives to choose from"
        remedy = "give --data, prepared with --negatives of these kinds"
        raise InputError(f"{path}: data.negatives", shares, problem, remedy)
    elif tracks := next(filter(None, (draw.readout.signal_tracks for draw in draws)), None):
        problem = "simulated data have no tracks but those that are measured from the letters"
        remedy = "give --data, prepared with --track"
        raise InputError(f"{path}: readout.tracks", ",".join(tracks), problem, remedy)
    scales = () if data is None else data.manifest.scales
    # Building the model shows problems that nothing else does: a missing backbone, or one whose
    # longest input holds the longest windows not.
    longest = sorted(draws, key=lambda draw: draw.window_readout().causal_tokens)
    for draw in {draw.model.backbone: draw for draw in longest}.values():
        build_untrained(draw, scales)
    asked = asked_feed(draws)
    search = Search(space, data, output, trackers, settings.address)
    if settings.resume:
        check_study_file(output.folder)
        check_resume(output, search.plan(1, "shared" if asked == "auto" else asked))
    return search


def _trackers(settings: TuneSettings) -> tuple[Tracker, ...]:
    if not settings.tracker:
        return ()
    from hyena_ray.search.trackers import parse_trackers  # imports Ray Tune

    return parse_trackers(settings.tracker)


def _refuse_other_task(data: PreparedData, task: str) -> None:
    raise InputError(
        "--data",
        data.folder,
        f"is prepared for {data.manifest.task}, and this job tunes {task}",
        f"give data of {task}, or run hyena-ray tune {data.manifest.task}",
    )


def _output(settings: TuneSettings) -> Output:
    if settings.out is not None:
        inputs = (settings.data, settings.space, settings.given().get(BACKBONE))
        return settings.output(TunePlan.KIND, inputs)
    if settings.resume or settings.overwrite:
        raise InputError("--out", None, "is missing", "say which run to resume or overwrite")
    return Output(default_folder(settings.task))


def dry_run(search: Search) -> DryRun:
    """Count windows, trials and epochs, and time a step and an attributed window on a worker.

    Args:
        search: The search.

    Raises:
        InputError: The cluster cannot hold the trials.
    """
    from hyena_ray.cluster.pool import run_task
    from hyena_ray.cluster.start import connect
    from hyena_ray.dataset.negative_draws import epoch_windows
    from hyena_ray.genome.splits import SPLITS, TRAIN
    from hyena_ray.workflows.timing import attribution_seconds, training_seconds

    space, folder = search.space, search.output.folder
    attribution = space.attribution_settings()
    drawn = space.covering_settings()[0]
    length, recipe = drawn.data.length, drawn.training
    with _data(search) as data, connect(
        search.address, dashboard=space.resources.workers > 1
    ) as cluster:  # fmt: skip
        feed = search.choose_feed(cluster)
        placement = place_trials(space, search.data, cluster, feed.feed)
        resources = placement.resources
        counts = {
            size: {split: data.count(size, split) for split in SPLITS} for size in space.lengths()
        }
        epoch = epoch_windows(data, length, TRAIN, drawn.data.limit, drawn.data.negatives)
        rows = min(SAMPLE, counts[length]["train"])
        sample = data.read_rows(length, "train", 0, rows)
        test = data.read(length, "test", min(TEST_WINDOWS, counts[length]["test"]))
        threads = placement.threads
        step = run_task(
            lambda: training_seconds(drawn, sample, data.manifest.scales)[0],
            resources,
            TIMED,
            threads=threads,
        )
        actors = attribute.place_actors_for(counts[length]["test"], cluster, space.resources.of_one)
        window = run_task(
            lambda: attribution_seconds(drawn, test, attribution, data.manifest.scales),
            actors.resources,
            TIMED,
            threads=1,
        )
        labelled = sum(count.positive for count in data.manifest.counts_of(length, "test"))
        simulated, outputs = data.manifest.simulated, _outputs(data)
        title = f"{data.folder}: {space.task}" if search.data else "simulated: no --data is given"
    left, known = space.trials - _trials_done(search), len(space.points())
    epochs = space.longest_run()
    steps = -(-epoch // (recipe.batch_size * recipe.accumulation))
    trial = epochs * steps * step / resources.workers
    windows = {f"{size} bases": by_split for size, by_split in counts.items()}
    return DryRun(
        plan={
            "data": title,
            "windows": " ",
            **{f"  {name}": windows_by_split(by_split) for name, by_split in windows.items()},
            "search": ", ".join(space.search),
            "first": count_noun(known, "known setting") if known else "",
            "trials": f"{space.trials}, {left} of them to do, each at most "
            f"{count_noun(epochs, 'epoch')}",
            "placed": f"{placement.text}, on {count_noun(placement.threads, 'torch thread')}",
            "feed": feed.text,
            "then": "score the best on test; attribute it on "
            f"{count_noun(actors.concurrent, 'actor')}, each {actors.resources.text}: "
            + ", ".join(attribution.methods),
            "cluster": cluster.text,
        },
        values={
            "windows": windows,
            "trials": space.trials,
            "trials_to_do": left,
            "epochs": epochs,
            "at_once": placement.concurrent,
            "resources": resources.model_dump(),
            "threads": placement.threads,
            "feed": feed._asdict(),
            "actors": actors.concurrent,
            "cluster": cluster._asdict(),
        },
        outputs=outputs_in(folder, outputs),
        seconds=trial * left / placement.concurrent + labelled * window / actors.concurrent,
        timed="one step and one attributed window of the first settings of the space; as if no "
        "trial were stopped early",
        simulated=simulated,
    )


SAMPLE = 256
"""Windows that a dry run takes its batches from."""
TEST_WINDOWS = 1024
"""Test windows among which a dry run looks for labelled ones."""


@contextmanager
def _data(search: Search) -> Iterator[PreparedData]:
    """Yield the prepared data; what is simulated is in a temporary folder meanwhile."""
    if search.data is not None:
        yield search.data
        return
    with tempfile.TemporaryDirectory(prefix="hyena_ray-") as folder:
        simulate_data(search.space, Path(folder) / "data")
        yield PreparedData.open(Path(folder) / "data")


def _trials_done(search: Search) -> int:
    """Return the number of trials that an earlier start has finished."""
    from hyena_ray.search.stored_study import finished_in

    table = search.output.folder / TRIALS
    return finished_in(table) if search.output.resume and table.exists() else 0


def execute(search: Search) -> TuneRecord:
    """Search, test the best model and attribute it, or continue.

    Args:
        search: The search.

    Raises:
        InputError: The cluster cannot hold the trials, or another job writes the folder.
        UnfinishedError: Trials crashed on every try; what finished is kept.
        StalledError: Nothing was finished for too long; what finished is kept.
        ShardError: A shard of the attribution failed on every try; what finished is kept.
    """
    from hyena_ray.cluster.pool import check_devices
    from hyena_ray.cluster.start import connect

    with connect(search.address, dashboard=search.space.resources.workers > 1) as cluster:
        feed = search.choose_feed(cluster)
        placement = place_trials(search.space, search.data, cluster, feed.feed)
        precisions = (
            ("search space: training.precision", draw.training.precision)
            for draw in search.space.covering_settings()
        )
        plan = search.plan(placement.threads, feed.feed)
        ran_on = check_devices(placement, precisions)
        with start(search.output, plan, inputs=_inputs(search), ran_on=ran_on) as run:
            logger.info("writing to %s", run.folder)
            logger.info("feed: %s", feed.text)
            return _Steps(run, search, cluster, placement).do()


class _Steps:
    """The steps of a search; each is skipped or continued where an earlier start has done it."""

    def __init__(
        self,
        run: Run[TunePlan],
        search: Search,
        cluster: Cluster,
        placement: Placement[TrialResources],
    ) -> None:
        self.run, self.folder = run, run.folder
        self.search, self.space = search, search.space
        self.cluster = cluster
        self.placement = placement._replace(threads=run.plan.threads)
        self.seconds: dict[str, float] = {}

    def do(self) -> TuneRecord:
        record = self.run.finished(TuneRecord)
        if record is not None and sum(record.trials.values()) >= self.space.trials:
            logger.info("the run is complete already")
            return record
        self.run.reopen()  # more trials are wanted than before
        with self._timed("prepare"):
            data = self.search.data or self._simulated()
            Origin.from_data(data).write(self.folder)
        with self._timed("tune"):
            best, trials = self._tune(data)
        settings = self.space.run_settings(best.user_attrs[SETTINGS])
        with self._timed("test"):
            test = self._test(data, settings)
            test.write(self.folder)
        with self._timed("attribute"):
            attributed = self._attribute(data)
        record = TuneRecord.make(
            fingerprint=self.run.plan.fingerprint,
            simulated=data.manifest.simulated,
            outputs=_outputs(data),
            task=self.space.task,
            data=sha256_file(data.folder / MANIFEST),
            trials=trials,
            best_trial=best.number,
            settings=best.user_attrs[SETTINGS],
            validation=best.user_attrs[METRICS],
            test=test.figures(),
            regions="" if test.regions is None else str(test.regions),
            attribution=attributed.digest,
            kmers=attributed.kmers,
            consensus=attributed.consensus,
            notes=attributed.notes,
            seconds=self.seconds,
        )
        self.run.finish(record)
        return record

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - started, 1)

    def _simulated(self) -> PreparedData:
        logger.warning("no --data: %s", SIMULATED)
        folder = self.folder / "data"
        if not (folder / MANIFEST).exists():
            simulate_data(self.space, folder)
        return PreparedData.open(folder)

    def _tune(self, data: PreparedData) -> tuple[FrozenTrial, dict[str, int]]:
        from hyena_ray.cluster.feeds import share_data
        from hyena_ray.search.stored_study import (
            STATES,
            StoredStudy,
            best_trial,
            own_trials,
            study_errors,
            write_trials,
        )
        from hyena_ray.search.tune_experiment import run_trials

        with study_errors(self.folder):
            stored = StoredStudy(self.folder, self.space)
            study = stored.study
            try:
                shared = share_data(data, self.space.lengths(), self.run.plan.feed)
                run_trials(
                    self.space,
                    stored,
                    shared,
                    self.folder,
                    self.placement,
                    self.search.trackers,
                    fingerprint=self.run.plan.fingerprint,
                )
            except BaseException:
                with suppress(OSError):  # a full disk, which the first error is about
                    write_trials(study, self.space, self.folder / TRIALS)
                raise
            write_trials(study, self.space, self.folder / TRIALS)
            best = best_trial(study)
        with (
            local_copy(self.folder / "trials" / f"{best.number:04d}" / "model") as trained,
            atomic_folder(self.folder / "model", last=READOUT, replace=True) as temporary,
        ):
            shutil.copytree(trained, temporary, dirs_exist_ok=True)
        states = Counter(STATES[trial.state] for trial in own_trials(study))
        return best, dict(states)

    def _test(self, data: PreparedData, settings: RunSettings) -> Evaluation:
        """Score the test data once, after everything is chosen, and write the model's card.

        A worker does it, since the driver may have no GPU.
        """
        from hyena_ray.cluster.pool import run_task

        data_folder, model_folder = data.folder, self.folder / "model"

        def score() -> Evaluation:
            from hyena_ray.model.devices import default_device
            from hyena_ray.model.saved import load_window_model
            from hyena_ray.training.train_and_test import score_and_describe

            model = load_window_model(model_folder)
            model.to(default_device())
            windows = PreparedData.open(data_folder)
            evaluation = score_and_describe(model, model_folder, settings, windows, test=True)
            assert evaluation is not None
            return evaluation

        return run_task(score, self.placement.resources, "score test windows", threads=1)

    def _attribute(self, data: PreparedData) -> attribute.AttributeRecord:
        """Attribute the best model, in a run of its own inside this one."""
        from hyena_ray.attribution.shards import ShardPlan
        from hyena_ray.cluster.pool import check_devices

        model = self.folder / "model"
        settings = self.space.attribution_settings()
        plan = attribute.plan_attribution(
            model, data, split="test", settings=settings, may_be_empty=True
        )
        folder = self.folder / ATTRIBUTION
        try:
            started = read_plan(folder, ShardPlan)
            # More trials may have found a better model since.
            stale = started is not None and started.fingerprint != plan.fingerprint
        except InputError as error:
            logger.warning("%s: the attribution is made again", error)
            stale = True
        resources = self.space.resources.of_one
        placement = attribute.place_actors(plan, self.cluster, None, resources)
        output = Output(folder, resume=not stale, overwrite=stale)
        inputs = {"model": model, "data": data.folder}
        ran_on = check_devices(placement)
        with start(output, plan, inputs=inputs, ran_on=ran_on) as run:
            return attribute.attribute_in_run(
                run,
                model,
                data,
                actors=placement.concurrent,
                resources=placement.resources,
            )


def _inputs(search: Search) -> dict[str, Any]:
    backbone = search.space.settings.get(BACKBONE)
    inputs = {"data": None if search.data is None else search.data.folder, "backbone": backbone}
    return {name: place for name, place in inputs.items() if place is not None}


def _outputs(data: PreparedData) -> dict[str, str]:
    return {
        "trials": TRIALS,
        "study": STUDY_FILE,
        "model": "model",
        **EVALUATED,
        "k-mers": f"{ATTRIBUTION}/kmers",
        **({"tracks": f"{ATTRIBUTION}/tracks"} if data.manifest.contigs else {}),
        "summary": MANIFEST,
    }


def present(search: Search, record: TuneRecord) -> Outcome:
    """Say how good the best model is, and which k-mers come first.

    Args:
        search: The search.
        record: What it found.
    """
    keys = ("trials", "best_trial", "settings", "validation", "test", "kmers", "attribution")
    found = {key: getattr(record, key) for key in (*keys, "seconds")}
    folder = search.output.folder
    written = {
        name: path for name, path in outputs_in(folder, record.outputs).items() if path.exists()
    }
    return Outcome(record.text(), found, written, record.simulated, folder)


WORKFLOW = Workflow(
    name="tune",
    about=__doc__,
    settings=settings_for,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="trials, best_trial, settings, validation, test, kmers, attribution, seconds by step",
    examples=(
        "tune zdna",
        "tune zdna --data prepared --out runs/zdna --trials 24",
        "tune zdna --data prepared --out runs/zdna --backbone hyenadna --set training.epochs=3",
        "tune zdna --data prepared --out runs/zdna --dry-run",
        "tune g4 --data /shared/prepared --out /shared/run",
    ),
    tasks=tuple(TASKS),
)
