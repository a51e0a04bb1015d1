"""Train one model on prepared windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from hyena_ray.dataset.reader import PreparedData
from hyena_ray.errors import InputError, Problems
from hyena_ray.files import read_json, sha256_file
from hyena_ray.genome.splits import TRAIN
from hyena_ray.outcomes import DryRun, Outcome, windows_by_split
from hyena_ray.progress import Progress, State, count_noun
from hyena_ray.runs.plan import Plan
from hyena_ray.runs.record import EVALUATED, EVALUATION, MANIFEST, Record
from hyena_ray.runs.run import Output, Run, check_resume, read_plan, start
from hyena_ray.settings import READ, WHERE, Option, dotted, load_yaml, no_effect
from hyena_ray.storage import AnyPath
from hyena_ray.training.feed_choice import FeedChoice, choose_feed, free_memory, windows_bytes
from hyena_ray.training.preflight import refuse_teacher_share
from hyena_ray.training.settings import Feed, RunSettings
from hyena_ray.workflows.presets import load_preset
from hyena_ray.workflows.run_options import BACKBONE, TakesRunSettings
from hyena_ray.workflows.workflow import (
    ComputesHere,
    ModelFolder,
    ReadsData,
    Resumes,
    Workflow,
    YamlFile,
    model_inputs,
    outputs_in,
)

if TYPE_CHECKING:
    from hyena_ray.model.window import WindowScorer
    from hyena_ray.training.distillation import TeacherRecord
    from hyena_ray.training.evaluation import Evaluation
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.loaders import WindowSource
    from hyena_ray.training.supervised import EpochReport

logger = logging.getLogger(__name__)

SAMPLE = 256
"""Windows that a dry run takes its batches from."""
CHECKPOINT = "checkpoint.pt"
"""Name of the file with the state of the run."""
HISTORY = "history.json"
"""Name of the file with the metrics of every epoch."""
TEACHER_SHARE = "training.teacher_share"
"""Key of the setting that says how much of the target is the teacher's."""
USUAL_SHARE = 0.5
"""Its value where a teacher is given and nothing else is asked for."""


class TrainSettings(TakesRunSettings, ReadsData, Resumes, ComputesHere):
    """Settings of a training run."""

    config: Annotated[YamlFile | None, Option("YAML")] = None
    """YAML file of settings, which override those of the preset."""
    teacher: Annotated[
        tuple[ModelFolder, ...] | None, Option("DIR[,DIR]", READ, default="labels alone")
    ] = None
    """Trained model to learn from beside the labels: the folder model/ of a run. Of several, with
    commas between them, the mean of the probabilities is taken. `training.teacher_share` is their
    fraction of the target."""
    test: bool = False
    """Score the test data at the end."""
    address: Annotated[
        str | None, Option("ADDRESS", WHERE, default="RAY_ADDRESS, else this machine alone")
    ] = None
    """Ray cluster that streams the windows, with data.feed=stream; nothing else needs one."""


class TrainPlan(Plan):
    """Settings and inputs that determine the result of a training run."""

    KIND: ClassVar[str] = "train"
    RESUMABLE_CHANGES: ClassVar[frozenset[str]] = frozenset({"threads", "feed"})
    # The weights of the best epoch are nowhere else: the run is trained again from its start.
    STARTS_FROM: ClassVar[Mapping[str, tuple[str, ...]]] = {"model": ("model", CHECKPOINT)}

    settings: RunSettings
    """Settings of model, reading, adapters and training; `model.backbone` says what the initial
    weights are, not where."""
    data: str
    """sha256 of the manifest of the prepared data."""
    threads: int
    """torch threads; a resumed run keeps those of its first start."""
    feed: Feed
    """How training windows are fed; a resumed run keeps that of its first start."""
    teacher: str | None = None
    """sha256 of the teacher; of several models, with commas between; None without one."""

    @classmethod
    def make(
        cls,
        settings: RunSettings,
        weights: str | None,
        data: str,
        *,
        threads: int,
        feed: Feed,
        teacher: str | None = None,
    ) -> TrainPlan:
        """Make the plan of a run.

        Args:
            settings: Settings of the run, with the place of its initial weights.
            weights: What these weights are, see `weights_by_content`.
            data: sha256 of the manifest of the prepared data.
            threads: torch threads.
            feed: How training windows are fed.
            teacher: sha256 of the teacher, where there is one.
        """
        known = settings.updated({BACKBONE: weights}, "plan")
        return cls(settings=known, data=data, threads=threads, feed=feed, teacher=teacher)


class TrainRecord(Record):
    """Results of a training run."""

    KIND: ClassVar[str] = "train"

    data: str
    """sha256 of the manifest of the prepared data."""
    best_epoch: int
    """Best epoch on the validation windows, from 1."""
    validation: dict[str, float]
    """Metrics of the best epoch on the validation windows."""
    test: dict[str, float] | None
    """Metrics of the best epoch's model on the test windows; None where they were not scored."""
    trainable_share: float
    """Trained weights over all weights, adapters included."""
    seconds_per_epoch: float | None
    """Mean wall time of an epoch with its validation, since the last start; None where that had
    none to do."""
    peak_memory: int
    """Largest memory in bytes: of the GPU or, where there is none, of the process."""
    teacher: str | None = None
    """sha256 of the teacher; of several models, with commas between; None without one."""


class Taught(NamedTuple):
    """The teacher of a run."""

    teacher: WindowScorer
    """A model, or several as an ensemble."""
    record: TeacherRecord
    """What is kept of it."""
    folders: tuple[AnyPath, ...]
    """Absolute paths of the models."""


class Training(NamedTuple):
    """A training run that passed every check; nothing was written."""

    plan: TrainPlan
    output: Output
    settings: RunSettings
    """Settings of the run, with the place of its initial weights."""
    data: PreparedData
    """Prepared windows, as the run sees them."""
    train: WindowSource
    """Training windows."""
    feed: FeedChoice
    """How they are fed, and why."""
    validation: HeldOut
    """Validation data."""
    test: bool
    """Whether the test windows are scored."""
    epochs_done: int
    """Epochs that an interrupted run has finished."""
    address: str | None
    """Ray cluster that streams the windows."""
    taught: Taught | None = None
    """The teacher of the run, if there is one."""

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return self.settings.total_epochs

    @property
    def windows(self) -> dict[str, int]:
        """Number of windows by split."""
        length = self.settings.data.length
        held_out = {split: self.data.count(length, split) for split in ("val", "test")}
        return {"train": self.train.count, **held_out}


def validate(settings: TrainSettings) -> Training:
    """Check data, settings and folder, and build the model once.

    Args:
        settings: Settings of the job.

    Raises:
        InputError: Data, preset, settings or folder cannot be used.
    """
    with Problems() as problems:
        data = problems.collect(PreparedData.open, settings.data)
        changes = problems.collect(settings.given)
        if data is not None and changes is not None:
            problems.collect(_run_settings, settings, data, changes, gpu=False)
        teachers = tuple(folder.absolute() for folder in settings.teacher or ())
        inputs = [settings.data, settings.config, (changes or {}).get(BACKBONE), *teachers]
        output = problems.collect(settings.output, TrainPlan.KIND, inputs)
    assert data is not None
    assert changes is not None
    assert output is not None
    from hyena_ray.model.devices import check_precision, default_device
    from hyena_ray.model.pretrained import weights_by_content
    from hyena_ray.training.checkpoint import load_state
    from hyena_ray.training.held_out import HeldOut
    from hyena_ray.training.preflight import check_run_fits
    from hyena_ray.training.supervised import start_model
    from hyena_ray.training.train_and_test import run_view

    device = default_device()
    run = _run_settings(settings, data, changes, gpu=device.type == "cuda")
    check_run_fits(run, data, "settings", gpu=None, teacher=bool(teachers))
    check_precision(run.training.precision, device, "settings: training.precision")
    length, view = run.data.length, run_view(run, data)
    taught = _taught(teachers, view, length) if teachers else None
    started = read_plan(output.folder, TrainPlan) if settings.resume else None
    feed = choose_feed(
        run.data.feed,
        windows_bytes(view, [length], taught=taught is not None),
        free_memory(),
        None if started is None else started.feed,
    )
    if taught is not None and feed.feed != "shared":
        problem = f"keeps a probability of every base in memory, and the feed is {feed.text}"
        remedy = "train on fewer windows (data.limit) with data.feed=shared, or without a teacher"
        raise InputError("--teacher", None, problem, remedy)
    plan = TrainPlan.make(
        run,
        weights_by_content(run.model.backbone, run.model.revision),
        sha256_file(data.folder / MANIFEST),
        threads=settings.threads,
        feed=feed.feed,
        teacher=None if taught is None else taught.record.sha256,
    )
    if settings.resume:
        plan = check_resume(output, plan)
    data.check([length])
    train = _source(view, run, feed.feed)
    validation = HeldOut.read(view, "val")
    start_model(run, train, validation)  # refuses what it must before a file is written
    state = None
    if settings.resume:
        state = load_state(output.folder / CHECKPOINT, plan.fingerprint)
    done = 0 if state is None else len(state.history)
    test, address = settings.test, settings.address
    return Training(plan, output, run, view, train, feed, validation, test, done, address, taught)


def _taught(folders: tuple[AnyPath, ...], data: PreparedData, length: int) -> Taught:
    from hyena_ray.training.preflight import load_teacher

    return Taught(*load_teacher(folders, data, length), folders)


def _source(data: PreparedData, run: RunSettings, feed: Feed) -> WindowSource:
    """Return the training windows: those in the memory of this process, or a stream of them."""
    from hyena_ray.training.data_parallel import ALONE
    from hyena_ray.training.loaders import ArraySource

    length, limit, negatives = run.data.length, run.data.limit, run.data.negatives
    if feed == "shared":
        return ArraySource(data.read(length, TRAIN, limit), negatives)
    from hyena_ray.cluster.feeds import StreamSource, title  # imports Ray
    from hyena_ray.dataset.shuffled_windows import ShuffledWindows

    windows = ShuffledWindows.of(data, length, TRAIN).sample(limit, negatives)
    return StreamSource(windows, title(data, length, TRAIN), ALONE)


def _run_settings(
    settings: TrainSettings, data: PreparedData, changes: dict[str, Any], *, gpu: bool
) -> RunSettings:
    """Start from the task's settings or the preset, then apply the file, then the changes.

    What the file or the command line ask for must have an effect. A file may hold all settings of
    another run: only those that it changes are taken for asked for.
    """
    run = RunSettings.for_task(data.manifest.task)
    if settings.preset:
        preset = load_preset(settings.preset)
        preset.check_data(data)
        run = preset.run_settings(gpu=gpu)
    places: dict[str, str] = {}
    if settings.config:
        before, file = dotted(run.model_dump(mode="json")), settings.config
        run = run.updated(dotted(load_yaml(file)), file)
        after = dotted(run.model_dump(mode="json"))
        places = {key: f"{file}: {key}" for key in after if after[key] != before[key]}
    places |= {key: settings.option_of(key) for key in changes}
    run = run.updated(changes, "--set")
    run.check_used(places, places.__getitem__)
    if settings.teacher is None:
        refuse_teacher_share(run, places.get(TEACHER_SHARE, f"settings: {TEACHER_SHARE}"))
        return run
    if TEACHER_SHARE in run.unused():
        key = run.unused()[TEACHER_SHARE]
        raise no_effect("--teacher", None, key, dotted(run.model_dump(mode="json"))[key])
    if run.training.teacher_share is None:
        run = run.updated({TEACHER_SHARE: USUAL_SHARE}, "--teacher")
    return run


def dry_run(training: Training) -> DryRun:
    """Count windows, epochs and steps, and time one step and one scored batch.

    Args:
        training: The run.
    """
    import torch

    from hyena_ray.model.devices import default_device, device_name
    from hyena_ray.training.loaders import ArraySource
    from hyena_ray.workflows.timing import teaching_seconds, training_seconds

    torch.set_num_threads(training.plan.threads)

    settings, windows = training.settings, training.windows
    length, rows = settings.data.length, min(windows["train"], SAMPLE)
    sample = training.data.read_rows(length, "train", 0, rows)
    step, scored = training_seconds(settings, sample, training.data.manifest.scales)
    taught, teaching = training.taught, 0.0
    if taught is not None:
        both = settings.training.reverse_complement
        one = teaching_seconds(taught.teacher, sample, both_strands=both)
        assert isinstance(training.train, ArraySource)  # a stream has no teacher
        teaching = one * training.train.stored
    recipe, left = settings.training, training.epochs - training.epochs_done
    per_step = recipe.batch_size * recipe.accumulation
    epoch = step * -(-windows["train"] // per_step) + scored * windows["val"]
    device = device_name(default_device())
    threads = training.plan.threads
    patience = f"; stops after {recipe.patience} without a better one" if recipe.patience else ""
    steps = {
        "epochs": f"{training.epochs}, {training.epochs_done} of them done{patience}",
        "batches": f"{recipe.batch_size} windows, {recipe.accumulation} to a step",
    }
    if settings.model.fits is not None:
        steps = {"fits": f"{training.epochs} to all windows, of which validation chooses one"}
    manifest = training.data.manifest
    return DryRun(
        plan={
            "data": f"{training.data.folder}: {manifest.task}, {settings.data.length} bases",
            "windows": windows_by_split(windows),
            "feed": training.feed.text,
            **({} if taught is None else {"teacher": _teacher_text(taught, settings, teaching)}),
            **steps,
            "test": "scored at the end" if training.test else "not scored: give --test",
            "runs on": f"{device}, {count_noun(threads, 'torch thread')}",
        },
        values={
            "windows": windows,
            "feed": training.feed._asdict(),
            "teacher": training.plan.teacher,
            "epochs": training.epochs,
            "epochs_done": training.epochs_done,
            "threads": threads,
            "device": device,
        },
        outputs=outputs_in(training.output.folder, _outputs(test=training.test)),
        seconds=teaching + left * epoch + (scored * windows["test"] if training.test else 0.0),
        timed="one step and one scored batch of this model",
        simulated=manifest.simulated,
    )


def _teacher_text(taught: Taught, settings: RunSettings, seconds: float) -> str:
    names = " and ".join(taught.record.architectures)
    share = settings.training.teacher_share
    return f"{names}, {share:g} of the target; reads all windows once, about {seconds:,.0f} s"


def execute(training: Training) -> TrainRecord:
    """Train, or continue, and score. A complete run is left as it is.

    Args:
        training: The run.

    Raises:
        InputError: Another job writes the folder, or no Ray cluster is at the address.
        DivergenceError: A loss is NaN or infinite.
        JobError: Ray failed.
    """
    import torch

    from hyena_ray.model.devices import default_device, device_name

    torch.set_num_threads(training.plan.threads)
    windows = training.windows
    per_epoch = windows["train"] + windows["val"]
    state = State(done=training.epochs_done, windows=training.epochs_done * per_epoch)
    total = training.epochs * per_epoch + (windows["test"] if training.test else 0)

    def on_epoch(report: EpochReport) -> None:
        nonlocal state
        logger.info("%s", report)
        state = state._replace(done=report.epoch)
        progress.update(state)

    def on_progress(count: int) -> None:
        nonlocal state
        state = state._replace(windows=state.windows + count)
        progress.update(state)

    progress = Progress("training", training.epochs, "epochs", windows=total, initial=state)
    device = device_name(default_device())
    with start(training.output, training.plan, inputs=_inputs(training), ran_on=device) as run:
        before = TrainRecord.read(run.folder) if run.is_complete else None
        tested = before is not None and before.test is not None
        if (record := run.finished(TrainRecord)) is not None and tested >= training.test:
            logger.info("the run is complete already")
            return record
        run.reopen()  # the test windows are to be scored as well
        logger.info("feed: %s", training.feed.text)
        train = _train_windows(training)
        with _ray_for(training), progress:
            return train_in_run(
                run,
                training.settings,
                training.data,
                train,
                training.validation,
                test=training.test or tested,
                teacher=None if training.taught is None else training.taught.record,
                on_epoch=on_epoch,
                on_progress=on_progress,
            )


def _train_windows(training: Training) -> WindowSource:
    """Return the training windows, with the probabilities of the teacher where there is one."""
    from hyena_ray.model.devices import default_device
    from hyena_ray.training.distillation import teach
    from hyena_ray.training.loaders import ArraySource

    taught, train = training.taught, training.train
    if taught is None or not isinstance(train, ArraySource):
        return train
    taught.teacher.to(default_device())
    read, total = 0, train.stored

    def on_progress(windows: int) -> None:
        nonlocal read
        read = min(total, read + windows)
        progress.update(State(done=read))

    with Progress("teacher", total, "windows", brief=True) as progress:
        both = training.settings.training.reverse_complement
        source = teach(train, taught.teacher, both_strands=both, on_progress=on_progress)
    taught.teacher.to("cpu")  # its memory is the student's
    return source


def _ray_for(training: Training) -> AbstractContextManager[object]:
    """Return the connection to Ray that a stream needs; shared windows need none."""
    if training.feed.feed == "shared":
        return nullcontext()
    from hyena_ray.cluster.start import connect

    return connect(training.address)


def train_in_run(
    run: Run[TrainPlan],
    settings: RunSettings,
    data: PreparedData,
    train: WindowSource,
    validation: HeldOut,
    *,
    test: bool,
    teacher: TeacherRecord | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> TrainRecord:
    """Train in the folder of a run, score the best epoch, and finish the run.

    Args:
        run: The run.
        settings: Settings of the run, with the place of its initial weights.
        data: Prepared windows, as the run sees them.
        train: Training windows.
        validation: Validation data.
        test: Whether the test data are scored.
        teacher: Teacher of the training windows, where there is one.
        on_epoch: Called after every epoch.
        on_progress: Called with the number of windows of every batch.

    Raises:
        DivergenceError: A loss is NaN or infinite.
    """
    from hyena_ray.dataset.origin import Origin
    from hyena_ray.training.train_and_test import train_and_test

    Origin.from_data(data).write(run.folder)
    figures, _ = train_and_test(
        settings,
        data,
        train,
        validation,
        run.folder,
        on_epoch,
        fingerprint=run.plan.fingerprint,
        test=test,
        teacher=teacher,
        on_progress=on_progress,
    )
    record = TrainRecord.make(
        fingerprint=run.plan.fingerprint,
        simulated=data.manifest.simulated,
        outputs=_outputs(test=test),
        data=run.plan.data,
        teacher=run.plan.teacher,
        **figures._asdict(),
    )
    run.finish(record)
    return record


def present(training: Training, record: TrainRecord) -> Outcome:
    """Say what the model scores.

    Args:
        training: The run.
        record: What it found.
    """
    from hyena_ray.training.evaluation import Evaluation

    folder = training.output.folder
    evaluation: Evaluation | None = None
    if training.test:
        evaluation = Evaluation.read(folder / EVALUATION)
    metrics = " ".join(f"{key} {value:.4f}" for key, value in record.validation.items())
    text = [f"validation {metrics}", *([] if evaluation is None else [evaluation.table()])]
    found = {
        "validation": record.validation,
        "best_epoch": record.best_epoch,
        "trainable_share": record.trainable_share,
        "evaluation": read_json(folder / EVALUATION) if training.test else None,
    }
    written = outputs_in(folder, record.outputs)
    return Outcome("\n".join(text), found, written, record.simulated, folder)


def _inputs(training: Training) -> dict[str, Any]:
    backbone = training.settings.model.backbone
    inputs: dict[str, Any] = {"data": training.data.folder}
    if training.taught is not None:
        inputs |= model_inputs(training.taught.folders, "teacher")
    return inputs if backbone is None else inputs | {"backbone": backbone}


def _outputs(*, test: bool) -> dict[str, str]:
    outputs = {"model": "model", "history": HISTORY, "summary": MANIFEST}
    return outputs | EVALUATED if test else outputs


WORKFLOW = Workflow(
    name="train",
    about=__doc__,
    settings=lambda task: TrainSettings,
    validate=validate,
    dry_run=dry_run,
    execute=execute,
    present=present,
    found="validation, best_epoch, trainable_share, evaluation",
    examples=(
        "train --data prepared --out run --set training.epochs=8 --test",
        "train --data prepared --out run --preset zdna/two_stage --test",
        "train --data prepared --out run --preset zdna/lookahead_head --dry-run",
        "train --data prepared --out student --teacher trees/model,cnn/model "
        "--set training.teacher_share=0.7",
    ),
)
