"""Train one run. Reports through a callback and knows no Ray."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from hyena_ray.files import write_json
from hyena_ray.model.build import build_model
from hyena_ray.model.lora import trainable_share
from hyena_ray.model.provenance import read_provenance
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.window import WindowModel
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.checkpoint import CHECKPOINT, RunState, load_state, save_state
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.ema import WeightAverage
from hyena_ray.training.evaluation import evaluate
from hyena_ray.training.loaders import WindowSource, check_both_classes
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import RunSettings
from hyena_ray.training.stages import stage_at_epoch, stage_optimizer, training_stages
from hyena_ray.training.trainer import DivergenceError, Updates, new_scaler, train_epoch

logger = logging.getLogger(__name__)


HISTORY = "history.json"
"""In a run's folder: metrics of every finished epoch."""


class EpochReport(NamedTuple):
    """What a run says after every epoch; the same keys each time."""

    epoch: int
    """From 1."""
    epochs: int
    """Epochs of the whole run."""
    metrics: dict[str, float]
    """`train_loss` and the fields of `Metrics`, on the validation windows."""


class RunResult(NamedTuple):
    """A finished run."""

    best_epoch: int
    """From 1; the one whose weights lie in `model_folder`."""
    metrics: dict[str, float]
    """Of the best epoch, on the validation windows."""
    model_folder: AnyPath
    trainable_share: float
    """Trained weights over all, adapters included; before any stage freezes some."""


def train_run(
    settings: RunSettings,
    train: WindowSource,
    validation: WindowSource,
    folder: AnyPath,
    on_epoch: Callable[[EpochReport], None],
    workers: Workers = ALONE,
    *,
    fingerprint: str,
) -> RunResult:
    """Train, keep the best epoch, and continue from `folder` where a run was interrupted.

    A resumed run ends in the same bits as an uninterrupted one on the same platform, since
    order of windows, strands and dropout depend on (seed, epoch) alone.

    Args:
        settings: of the run.
        train: windows to learn from.
        validation: windows that choose epoch and threshold.
        folder: takes `checkpoint.pt` (state of the run), `history.json` (metrics of every epoch)
            and `model/` (best epoch).
        on_epoch: called after every epoch, by every worker.
        workers: that train this run together; the first alone writes into `folder`. Their number
            may change when a run is resumed.
        fingerprint: what identifies the run; a checkpoint with another one is refused.

    Raises:
        InputError: one class is missing, or the checkpoint in `folder` is damaged or belongs to
            other settings.
        DivergenceError: a loss is NaN or infinite.
    """
    model = start_model(settings, train, validation)
    provenance = read_provenance(settings.model.backbone)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, model_folder = folder / CHECKPOINT, folder / "model"
    recipe, metric = settings.training, task_named(settings.task).metric
    class_weights = recipe.class_weights()
    share = trainable_share(model.classifier)
    logger.info("%.2f %% of the weights are trained", 100 * share)
    scaler, average = new_scaler(model, recipe), WeightAverage(model, recipe.ema_decay)
    stages = training_stages(recipe)
    epochs = sum(stage.epochs for stage in stages)
    state = load_state(checkpoint, fingerprint, RunState)
    history: list[dict[str, float]] = []
    first_epoch = 0
    if state is not None:
        model.load_state_dict(state.model)
        scaler.load_state_dict(state.scaler)
        average.load_state_dict(state.average)
        history, first_epoch = state.history, state.epoch + 1
        logger.info("resuming after epoch %d of %d", first_epoch, epochs)
    stage_index = -1
    for epoch in range(first_epoch, epochs):
        if _out_of_patience(history, metric, recipe.patience):
            break
        index, stage_start = stage_at_epoch(stages, epoch)
        if index != stage_index:
            stage_index, stage = index, stages[index]
            optimizer = stage_optimizer(model, stage, recipe.weight_decay)
            steps = stage.epochs * math.ceil(
                train.count / (recipe.batch_size * recipe.accumulation)
            )
            schedule = Schedule(optimizer, recipe.schedule, steps, recipe.warmup)
            if state is not None and epoch == first_epoch > stage_start:
                optimizer.load_state_dict(state.optimizer)
                schedule.load_state_dict(state.schedule)
        updates = Updates(optimizer, schedule, scaler, average)
        train_loss = train_epoch(model, train, updates, recipe, epoch, workers)
        kept = average.model
        metrics = evaluate(kept, validation, class_weights, threshold=metric, workers=workers)
        history.append({"train_loss": train_loss, **metrics._asdict()})
        _refuse_non_finite(history[-1], f"validation after epoch {epoch + 1}")
        schedule.after_epoch(history[-1][metric])
        if _best_epoch(history, metric) == epoch:
            kept.threshold = metrics.threshold
            if workers.writes:
                save_window_model(kept, model_folder, provenance)
        if workers.writes:
            # Before the state, which a resumed run goes on from: never behind it.
            write_json(folder / HISTORY, history)
            save_state(
                checkpoint,
                RunState(
                    fingerprint,
                    epoch,
                    model.state_dict(),
                    optimizer.state_dict(),
                    schedule.state_dict(),
                    scaler.state_dict(),
                    average.state_dict(),
                    history,
                ),
            )
        on_epoch(EpochReport(epoch + 1, epochs, history[-1]))
    best = _best_epoch(history, metric)
    return RunResult(best + 1, history[best], model_folder, share)


def start_model(
    settings: RunSettings, train: WindowSource, validation: WindowSource
) -> WindowModel:
    """The untrained model of a run, and whether there is anything to train it on. Writes nothing.

    Raises:
        InputError: one class is missing, or the settings or their backbone make no model.
    """
    check_both_classes(train, "training windows")
    check_both_classes(validation, "validation windows")
    return new_model(settings)


def new_model(settings: RunSettings) -> WindowModel:
    """The untrained model of a run, on the device that it will train on."""
    model = build_model(
        settings.model,
        settings.window_readout(),
        settings.lora,
        task_named(settings.task),
        seed=settings.training.seed,
    )
    if settings.training.checkpoint_activations:
        model.classifier.checkpoint_activations()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _best_epoch(history: list[dict[str, float]], metric: str) -> int:
    """The first epoch, from 0, with the highest score."""
    return max(range(len(history)), key=lambda epoch: history[epoch][metric])


def _out_of_patience(history: list[dict[str, float]], metric: str, patience: int) -> bool:
    return 0 < patience < len(history) - _best_epoch(history, metric) if history else False


def _refuse_non_finite(metrics: dict[str, float], place: str) -> None:
    bad = [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise DivergenceError(f"{place}: {', '.join(bad)}; lower the learning rate")
