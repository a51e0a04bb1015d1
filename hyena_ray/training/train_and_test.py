"""Train, test and describe one supervised run in a folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hyena_ray.dataset.origin import NAME as DATA
from hyena_ray.dataset.origin import Origin
from hyena_ray.dataset.reader import PreparedData
from hyena_ray.files import write_json
from hyena_ray.model.devices import default_device, peak_bytes
from hyena_ray.model.provenance import read_provenance
from hyena_ray.model.saved import ADAPTER, adding_to_model, load_window_model
from hyena_ray.model.window import WindowModel
from hyena_ray.runs.record import EVALUATION
from hyena_ray.settings import dotted
from hyena_ray.storage import AnyPath
from hyena_ray.training.card import CardFacts, write_card
from hyena_ray.training.checkpoint import CHECKPOINT, load_state
from hyena_ray.training.distillation import TeacherRecord
from hyena_ray.training.evaluation import Evaluation, evaluate_on_split
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ProgressSource, WindowSource
from hyena_ray.training.losses import class_weights
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.supervised import EpochReport, train_run
from hyena_ray.training.tensorboard import TENSORBOARD, learning_curve

logger = logging.getLogger(__name__)

VALIDATION = "validation.json"
"""Name of the file in a model's folder with all figures of the validation split, on which another
threshold may be chosen: the test split chooses nothing."""


class RunFigures(NamedTuple):
    """Metrics of a training run, and the time and memory that it took."""

    best_epoch: int
    """Best epoch on the validation data, from 1."""
    validation: dict[str, float]
    """Metrics of the best epoch on the validation data."""
    test: dict[str, float] | None
    """Metrics of the best epoch's model on the test data; None where they were not scored."""
    trainable_share: float
    """Fraction of all weights, adapters included, that is trained."""
    seconds_per_epoch: float | None
    """Mean wall time of an epoch with its validation, since the last start; None where that had
    none to do."""
    peak_memory: int
    """Largest memory in bytes: of the GPU or, where there is none, of the process."""


def run_view(settings: RunSettings, data: PreparedData) -> PreparedData:
    """Return the data as a run sees them: the view of its fold, where they are split into folds.

    Args:
        settings: Settings of the run.
        data: Prepared windows.
    """
    return data if settings.data.fold is None else data.for_fold(settings.data.fold)


def train_and_test(
    settings: RunSettings,
    data: PreparedData,
    train: WindowSource,
    validation: HeldOut,
    folder: AnyPath,
    on_epoch: Callable[[EpochReport], None],
    *,
    fingerprint: str,
    test: bool,
    teacher: TeacherRecord | None = None,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> tuple[RunFigures, Evaluation | None]:
    """Train a run, or resume the one in `folder`, score its best epoch and write its model card.

    Whether `folder` is that of another run, and its manifest, are the caller's concern.

    Args:
        settings: Settings of the run.
        data: Prepared windows as the run sees them; the test split is read from them.
        train: Training windows.
        validation: Validation data.
        folder: Folder that receives what `train_run` writes, `tensorboard/`, the card of the model
            and `evaluation.json`.
        on_epoch: Called after every epoch.
        fingerprint: What identifies the run; a checkpoint with another one is refused.
        test: Whether the test split is scored.
        teacher: Teacher of the training windows, where there is one.
        on_progress: Called with the number of windows of every batch that was trained on or scored.

    Returns:
        The run in figures, and all figures of the test split if it was scored.

    Raises:
        InputError: As `train_run`.
        DivergenceError: A loss is NaN or infinite.
    """
    started = time.monotonic()
    seconds: list[float] = []
    state = load_state(folder / CHECKPOINT, fingerprint)
    with learning_curve(folder / TENSORBOARD, dotted(settings.model_dump(mode="json"))) as curve:
        for number, metrics in enumerate(state.history if state else [], start=1):
            curve.add(number, metrics)

        def after_epoch(epoch: EpochReport) -> None:
            seconds.append(time.monotonic() - started - sum(seconds))
            curve.add(epoch.epoch, epoch.metrics)
            on_epoch(epoch)

        result = train_run(
            settings,
            ProgressSource(train, on_progress),
            validation,
            folder,
            after_epoch,
            fingerprint=fingerprint,
            on_validation=on_progress,
        )
    model = load_window_model(result.model_folder)
    model.to(default_device())
    evaluation = score_and_describe(
        model,
        result.model_folder,
        settings,
        data,
        test=test,
        teacher=teacher,
        on_progress=on_progress,
    )
    if evaluation is not None:
        evaluation.write(folder)
    figures = RunFigures(
        best_epoch=result.best_epoch,
        validation=result.metrics,
        test=None if evaluation is None else evaluation.figures(),
        trainable_share=result.trainable_share,
        seconds_per_epoch=sum(seconds) / len(seconds) if seconds else None,
        peak_memory=peak_memory(),
    )
    return figures, evaluation


def score_and_describe(
    model: WindowModel,
    folder: AnyPath,
    settings: RunSettings,
    data: PreparedData,
    *,
    test: bool,
    teacher: TeacherRecord | None = None,
    on_progress: Callable[[int], None] = lambda windows: None,
) -> Evaluation | None:
    """Score a trained model, and write its card.

    Args:
        model: Model read from `folder`.
        folder: Folder of the model, which takes the card.
        settings: Settings of the run that trained it.
        data: Prepared windows, as that run sees them.
        test: Whether the test split is scored; the validation split always is.
        teacher: Teacher that the model learnt from, where there was one.
        on_progress: Called with the number of windows of every batch of the test split.

    Returns:
        All figures of the test split, if it was scored.

    Raises:
        InputError: As `evaluate_on_split`.
    """
    weights = class_weights(settings.training)
    validation = evaluate_on_split(model, data, "val", weights)
    tested = evaluate_on_split(model, data, "test", weights, on_progress) if test else None
    if teacher is not None:  # through whom the model has seen what the teacher has
        validation = validation._replace(seen=teacher.seen["val"])
        tested = None if tested is None else tested._replace(seen=teacher.seen["test"])
    adapter, provenance = (folder / ADAPTER).is_dir(), read_provenance(folder)
    best = validation if tested is None else tested
    for warning in best.warnings():
        logger.warning("%s: %s", best.split, warning)
    with adding_to_model(folder, EVALUATION, VALIDATION, DATA):
        write_json(folder / VALIDATION, validation.as_json())
        write_json(folder / EVALUATION, best.as_json())
        # A model may be published: where its data lay is nobody's business.
        known = {
            "folder": data.folder.name,
            "teachers": () if teacher is None else teacher.origins,
        }
        Origin.from_data(data).model_copy(update=known).write(folder)
    facts = CardFacts(settings, data.manifest, validation, tested, adapter, provenance, teacher)
    write_card(folder, facts)
    return tested


def peak_memory() -> int:
    """Return the peak memory in bytes: of the GPU, or of this process if there is no GPU."""
    gpu_peak = peak_bytes(default_device())
    if gpu_peak is not None:
        return gpu_peak
    # Not getrusage: its figure is at least that of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
