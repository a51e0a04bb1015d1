"""One run as a job: its settings from a task, a preset, a file and the command line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hyena_ray.cluster.folder import check_output, only_writer
from hyena_ray.dataset.manifest import MANIFEST
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.dry_run import DryRun, Estimate, windows_text
from hyena_ray.progress import Progress, State
from hyena_ray.settings import dotted, load_yaml
from hyena_ray.storage import AnyPath, location
from hyena_ray.training.checkpoint import CHECKPOINT, load_state
from hyena_ray.training.evaluation import Evaluation
from hyena_ray.training.loaders import ArraySource
from hyena_ray.training.preflight import check_run_fits
from hyena_ray.training.run import (
    CONFIG,
    EVALUATION,
    RunRecord,
    check_begun,
    complete_run,
    run_view,
)
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.stages import training_stages
from hyena_ray.training.supervised import EpochReport, start_model
from hyena_ray.training.timing import sample_of, time_run
from hyena_ray.tuning.presets import load_preset

logger = logging.getLogger(__name__)


class TrainOptions(NamedTuple):
    """What the command line of the training job says."""

    data: AnyPath
    """Prepared folder."""
    out: AnyPath
    folder: Path
    """Of the files of presets."""
    preset: str | None
    """TASK/NAME; None begins with the task's defaults."""
    config: Path | None
    """YAML; it goes before the preset."""
    changes: Mapping[str, Any]
    """Dotted settings, which go before both."""
    test: bool
    """Whether the test windows are scored."""
    resume: bool = False
    overwrite: bool = False


class Trained(NamedTuple):
    """A finished run."""

    record: RunRecord
    evaluation: Evaluation | None
    written: dict[str, AnyPath]


class _Checked(NamedTuple):
    """What passed every check; nothing was written."""

    settings: RunSettings
    data: PreparedData
    """As the run sees it."""
    train: ArraySource
    validation: ArraySource
    out: AnyPath

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in training_stages(self.settings.training))

    @property
    def windows(self) -> dict[str, int]:
        """By split."""
        test = self.data.count(self.settings.data.length, "test")
        return {"train": self.train.count, "val": self.validation.count, "test": test}

    def written(self, *, test: bool) -> dict[str, AnyPath]:
        """What a run leaves, to where it lies."""
        names = {"model": "model", "settings": CONFIG, "summary": MANIFEST}
        if test:
            names["evaluation"] = EVALUATION
        return {what: self.out / name for what, name in names.items()}


def train(options: TrainOptions) -> Trained:
    """Do a whole run, or what is left of one.

    Raises:
        InputError: bad options, files or settings; nothing was written.
        DivergenceError: a loss is NaN or infinite.
    """
    run = _checked(options)
    settings, windows = run.settings, run.windows
    begun = _begun(run) if options.resume else 0
    an_epoch = windows["train"] + windows["val"]
    state = State(done=begun, windows=begun * an_epoch)
    total = run.epochs * an_epoch + (windows["test"] if options.test else 0)

    def after_epoch(report: EpochReport) -> None:
        nonlocal state
        shown = " ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
        logger.info("epoch %d/%d %s", report.epoch, report.epochs, shown)
        state = state._replace(done=report.epoch)

    def counted(windows: int) -> None:
        nonlocal state
        state = state._replace(windows=state.windows + windows)
        progress.update(state)

    progress = Progress("training", run.epochs, "epochs", windows=total, begun=state)
    with only_writer(run.out, overwrite=options.overwrite), progress:
        record, evaluation = complete_run(
            settings,
            run.data,
            run.train,
            run.validation,
            run.out,
            after_epoch,
            test=options.test,
            on_progress=counted,
        )
    return Trained(record, evaluation, run.written(test=options.test))


def plan_training(options: TrainOptions) -> DryRun:
    """Do all checks of `train`, and time a few steps. Writes nothing.

    Raises:
        InputError: as `train`.
    """
    run = _checked(options)
    settings, windows = run.settings, run.windows
    timing = time_run(settings, sample_of(settings, run.data))
    scored = windows["test"] if options.test else 0
    seconds = timing.seconds(
        settings, train=windows["train"], validation=windows["val"], test=scored
    )
    begun = _begun(run) if options.resume else 0
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    threads, recipe = torch.get_num_threads(), settings.training
    manifest = run.data.manifest
    return DryRun(
        plan={
            "data": f"{run.data.folder}: {manifest.task}, {settings.data.length} bases",
            "windows": windows_text(windows),
            "epochs": f"{run.epochs}, {begun} of them done"
            + (f"; stops after {recipe.patience} without a better one" if recipe.patience else ""),
            "batches": f"{recipe.batch_size} windows, {recipe.accumulation} to a step",
            "test": "scored at the end" if options.test else "not scored: give --test",
            "runs on": f"{device}, {threads} torch threads",
        },
        values={
            "windows": windows,
            "epochs": run.epochs,
            "epochs_done": begun,
            "threads": threads,
            "device": device,
        },
        writes=run.written(test=options.test),
        time=Estimate(
            seconds * (run.epochs - begun) / run.epochs,
            f"{timing.timed:.1f} s of steps and scores of this model, no epoch left out",
        ),
        simulated=manifest.simulated,
    )


def _checked(options: TrainOptions) -> _Checked:
    data = PreparedData.open(options.data)
    settings = _settings(options, data)
    check_run_fits(settings, data, "settings", gpu=torch.cuda.is_available())
    given = (options.config, settings.model.backbone)
    out = check_output(
        options.out,
        data,
        inputs=[location(str(path)) for path in given if path],
        resume=options.resume,
        overwrite=options.overwrite,
        begun_by=CONFIG,
    )
    if options.resume:
        check_begun(out, settings)
    length = settings.data.length
    data.check([length])
    data = run_view(settings, data)
    train = ArraySource(data.read(length, "train", settings.data.limit))
    validation = ArraySource(data.read(length, "val"))
    start_model(settings, train, validation)  # refuses what it must before a file is written
    return _Checked(settings, data, train, validation, out)


def _begun(run: _Checked) -> int:
    """Epochs that an interrupted run has finished."""
    state = load_state(run.out / CHECKPOINT, run.settings.fingerprint())
    return 0 if state is None else len(state.history)


def _settings(options: TrainOptions, data: PreparedData) -> RunSettings:
    """The task's defaults or the preset, then the file, then the changes."""
    settings = RunSettings.of_task(data.manifest.task)
    if options.preset:
        preset = load_preset(options.preset, options.folder)
        preset.check_data(data)
        settings = preset.run_settings(gpu=torch.cuda.is_available())
    if options.config:
        settings = settings.updated(dotted(load_yaml(options.config)), options.config)
    return settings.updated(options.changes, "--set")
