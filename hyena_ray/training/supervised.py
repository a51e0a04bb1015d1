"""Train a classifier of bases or sequences, epoch by epoch, and keep the best epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hyena_ray.dataset.tokens import IGNORED
from hyena_ray.files import write_json
from hyena_ray.genome.signal_scale import SignalScale
from hyena_ray.model.build import build_model
from hyena_ray.model.devices import default_device, model_device, upload
from hyena_ray.model.lora import trainable_share
from hyena_ray.model.provenance import read_provenance
from hyena_ray.model.saved import save_window_model
from hyena_ray.model.window import NonFiniteError, WindowModel
from hyena_ray.storage import AnyPath
from hyena_ray.tasks import task_named
from hyena_ray.training.augmentation import Augmentation
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.evaluation import calibrate
from hyena_ray.training.fitting import fit_candidates
from hyena_ray.training.held_out import HeldOut
from hyena_ray.training.loaders import ArraySource, WindowSource, check_both_classes
from hyena_ray.training.losses import class_weights, total_weight, training_loss
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import RunSettings, TrainingSettings
from hyena_ray.training.soft_targets import training_targets
from hyena_ray.training.stages import stage_at_epoch, stage_optimizer, training_stages
from hyena_ray.training.trainer import (
    DivergenceError,
    Optimization,
    Phase,
    Record,
    StepBatch,
    Trainer,
)

logger = logging.getLogger(__name__)

HISTORY = "history.json"
"""Name of the metrics of every finished epoch in a run's folder."""
MODEL = "model"
"""Name of the best epoch's model in a run's folder."""


class EpochReport(NamedTuple):
    """Report of a run after every epoch; the same keys each time."""

    epoch: int
    """Number of the epoch, from 1."""
    epochs: int
    """Epochs of the whole run."""
    metrics: dict[str, float]
    """`train_loss` and the figures of `Measured.record`, on the validation data."""

    def __str__(self) -> str:
        # With the date of a log before it, the line fits into 80 columns.
        shown = {"train_loss": "loss", "loss": "val", "average_precision": "AP", "f1": "F1"}
        figures = (
            f"{short} {_three_digits(self.metrics[name])}"
            for name, short in shown.items()
            if name in self.metrics
        )
        return f"epoch {self.epoch} of {self.epochs}: {', '.join(figures)}"


def _three_digits(value: float) -> str:
    return f"{value:.0e}" if 0 < abs(value) < 0.001 else f"{value:.3f}"


class RunResult(NamedTuple):
    """A finished run."""

    best_epoch: int
    """Number of the epoch whose weights are in `model_folder`, from 1."""
    metrics: dict[str, float]
    """Metrics of the best epoch on the validation data."""
    model_folder: AnyPath
    """Folder of the best epoch's model."""
    trainable_share: float
    """Fraction of all weights, adapters included, that is trained before a stage freezes some."""


def train_run(
    settings: RunSettings,
    train: WindowSource,
    validation: HeldOut,
    folder: AnyPath,
    on_epoch: Callable[[EpochReport], None],
    workers: Workers = ALONE,
    *,
    fingerprint: str,
    on_validation: Callable[[int], None] = lambda windows: None,
) -> RunResult:
    """Train, keep the best epoch, and resume from `folder` where a run was interrupted.

    A resumed run is bit-identical to an uninterrupted one on the same platform, since
    order of windows, strands and dropout depend on (seed, epoch) alone.

    Args:
        settings: Settings of the run.
        train: Windows to learn from.
        validation: Data that choose the epoch and the thresholds.
        folder: Folder that takes `checkpoint.pt` (state of the run), `history.json` (metrics of
            every epoch) and `model/` (best epoch).
        on_epoch: Called after every epoch, by every worker.
        workers: Processes that train this run together; only the first writes into `folder`. Their
            number may change when a run is resumed.
        fingerprint: What identifies the run; a checkpoint with another one is refused.
        on_validation: Called with the number of windows of every batch of the validation data.

    Returns:
        The best epoch and where its model is.

    Raises:
        InputError: One class is missing, or the checkpoint in `folder` is damaged or belongs to
            other settings.
        DivergenceError: A loss or a metric is NaN or infinite.
    """
    model = start_model(settings, train, validation)
    plan = SupervisedPlan(settings, model, train, validation, folder, workers, on_validation)
    folder.mkdir(parents=True, exist_ok=True)
    fraction = trainable_share(model.classifier)
    logger.info("%.2f %% of the weights are trained", 100 * fraction)

    def on_record(epoch: int, record: Record) -> None:
        on_epoch(EpochReport(epoch, plan.epochs, record))

    def on_step(steps: int, loss: float, record: Record | None) -> None:
        if record is not None:
            on_record(plan.epochs_done(steps), record)

    if settings.model.fits is not None:
        history = fit_candidates(model, settings, train, plan, on_record)
    else:
        trainer = new_trainer(model, settings.training, workers)
        history = trainer.fit(plan, folder, fingerprint=fingerprint, on_step=on_step)
    if workers.writes:
        write_json(folder / HISTORY, history)  # a resumed run may have lost it
    best = best_epoch(history, plan.metric)
    return RunResult(best + 1, history[best], folder / MODEL, fraction)


class SupervisedPlan:
    """Plan of a supervised run for a `Trainer`: a phase is an epoch.

    Args:
        settings: Settings of the run.
        model: Model that is trained.
        train: Windows to learn from.
        validation: Data that are scored after every epoch.
        folder: Folder that takes `history.json` and `model/`.
        workers: Processes that train this run together.
        on_validation: Called with the number of windows of every batch that was scored.
    """

    def __init__(
        self,
        settings: RunSettings,
        model: WindowModel,
        train: WindowSource,
        validation: HeldOut,
        folder: AnyPath,
        workers: Workers,
        on_validation: Callable[[int], None] = lambda windows: None,
    ) -> None:
        self._recipe = settings.training
        self._model = model
        self._device = model_device(model)
        self._train = train
        self._validation = validation
        self._folder = folder
        self._workers = workers
        self._on_validation = on_validation
        self._provenance = read_provenance(settings.model.backbone)
        self._stages = training_stages(self._recipe)
        self._epoch_steps = epoch_steps(train.count, self._recipe)
        self.metric = settings.metric
        """Name of the metric that chooses the epoch."""
        self._threshold_metric = settings.threshold_metric
        self.epochs = settings.total_epochs
        """Epochs of the whole run."""

    def epochs_done(self, steps: int) -> int:
        """Return the number of whole epochs in this many steps."""
        return steps // self._epoch_steps

    def phases(self, steps: int) -> Iterator[Phase]:
        """Yield the epochs that remain."""
        for epoch in range(self.epochs_done(steps), self.epochs):
            _, stage_start = stage_at_epoch(self._stages, epoch)
            yield Phase(
                first=epoch * self._epoch_steps,
                last=(epoch + 1) * self._epoch_steps,
                stage=stage_start * self._epoch_steps,
                batches=step_batches(self._train, self._recipe, epoch, self._device, self._workers),
                seed=epoch_seed(self._recipe, epoch, self._workers),
            )

    def optimization(self, stage: int) -> Optimization:
        """Freeze or thaw the backbone, and return AdamW over what is trained."""
        index, _ = stage_at_epoch(self._stages, self.epochs_done(stage))
        recipe, chosen = self._recipe, self._stages[index]
        optimizer = stage_optimizer(self._model, chosen, recipe.weight_decay)
        steps = chosen.epochs * self._epoch_steps
        schedule = Schedule(optimizer, recipe.schedule, steps, recipe.warmup)
        return Optimization.of(optimizer, schedule)

    def evaluates_after(self, steps: int) -> bool:
        """Whether an epoch ends here."""
        return steps % self._epoch_steps == 0

    saves_after = evaluates_after

    def evaluate(self, model: WindowModel, steps: int, losses: list[float]) -> Record:
        """Score the validation data, which set the calibration and the thresholds of the model."""
        try:
            measured = calibrate(
                model,
                self._validation,
                class_weights(self._recipe),
                self._threshold_metric,
                workers=self._workers,
                on_progress=self._on_validation,
            )
        except NonFiniteError:
            raise DivergenceError(
                f"validation after epoch {self.epochs_done(steps)}: the logits overflow; "
                "lower the learning rate"
            ) from None
        record = {"train_loss": float(torch.tensor(losses).mean()), **measured.record()}
        bad = [f"{name} is {value}" for name, value in record.items() if not math.isfinite(value)]
        if bad:
            raise DivergenceError(
                f"validation after epoch {self.epochs_done(steps)}: {', '.join(bad)}; "
                "lower the learning rate"
            )
        return record

    def after_evaluation(self, model: WindowModel, history: list[Record]) -> float:
        """Write the history, and the model if it is the best so far."""
        if self._workers.writes:
            if best_epoch(history, self.metric) == len(history) - 1:
                save_window_model(model, self._folder / MODEL, self._provenance)
            # Written before the checkpoint that a resumed run starts from, so never behind it.
            write_json(self._folder / HISTORY, history)
        score: float = history[-1][self.metric]
        return score

    def is_over(self, history: list[Record]) -> bool:
        """Whether no epoch was better for longer than the run's patience."""
        if not history or not self._recipe.patience:
            return False
        return len(history) - best_epoch(history, self.metric) > self._recipe.patience


def start_model(settings: RunSettings, train: WindowSource, validation: HeldOut) -> WindowModel:
    """Build the untrained model of a run after checking that there is something to train it on.

    Nothing is written.

    Args:
        settings: Settings of the run.
        train: Windows to learn from.
        validation: Data that are scored after every epoch.

    Raises:
        InputError: One class is missing, or the settings or their backbone make no model.
    """
    check_both_classes(train, "training windows")
    check_both_classes(ArraySource(validation.rows), "validation data")
    return new_model(settings, validation.scales)


def new_model(settings: RunSettings, scales: Sequence[SignalScale] = ()) -> WindowModel:
    """Build the untrained model of a run, on the device that it will train on.

    Args:
        settings: Settings of the run.
        scales: Scales of the tracks of the data.

    Raises:
        InputError: The settings or their backbone make no model.
    """
    model = build_model(
        settings.model,
        settings.window_readout(scales),
        settings.lora,
        task_named(settings.task),
        seed=settings.training.seed,
    )
    if settings.training.checkpoint_activations:
        model.classifier.checkpoint_activations()
    return model.to(default_device())


def new_trainer(
    model: WindowModel, recipe: TrainingSettings, workers: Workers = ALONE
) -> Trainer[WindowModel]:
    """Build the trainer of a supervised run.

    Args:
        model: Model to train, on the device that it is trained on.
        recipe: Settings of the training.
        workers: Processes that train this run together.
    """
    weights = class_weights(recipe).to(model_device(model))
    weighted_loss = training_loss(recipe)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return weighted_loss(logits, targets, weights).total

    return Trainer(
        model,
        loss,
        precision=recipe.precision,
        clip_norm=recipe.clip_norm,
        ema_decay=recipe.ema_decay,
        # Recomputing activations reads the state of the random generator on the host.
        graphs=not recipe.checkpoint_activations,
        workers=workers,
    )


def epoch_steps(windows: int, recipe: TrainingSettings) -> int:
    """Return the number of optimiser steps in which an epoch passes its windows.

    Args:
        windows: Number of training windows.
        recipe: Settings of the training.
    """
    return math.ceil(windows / (recipe.batch_size * recipe.accumulation))


def epoch_seed(recipe: TrainingSettings, epoch: int, workers: Workers = ALONE) -> int:
    """Return the seed of torch's generator, from which dropout draws, for an epoch.

    Args:
        recipe: Settings of the training.
        epoch: Number of the epoch, from 0.
        workers: Place of this process among those that train together.
    """
    return recipe.seed * 10_007 + epoch + 1_000_000_007 * workers.rank


def step_batches(
    train: WindowSource,
    recipe: TrainingSettings,
    epoch: int,
    device: torch.device,
    workers: Workers = ALONE,
) -> Iterator[StepBatch]:
    """Yield this worker's part of every step of an epoch.

    Every worker draws the same augmentation for all windows of a step, and takes its own windows by
    rank. It reads the tokens of its own windows and the targets of all, because its loss is divided
    by the weight of all targets. A worker without windows of its own gets one without labels, since
    every worker must run the model.

    Args:
        train: Windows to learn from.
        recipe: Settings of the training.
        epoch: Number of the epoch, from 0.
        device: Device of the training.
        workers: Place of this process among those that train together.
    """
    weights = upload(class_weights(recipe).numpy(), device)
    augmentation = Augmentation(recipe, epoch)
    together = recipe.batch_size * recipe.accumulation
    for batch in train.batches(together, epoch=epoch, seed=recipe.seed):
        changes, idle = augmentation.draw(len(batch), batch.window), workers.rank >= len(batch)
        own = workers.part(len(batch))
        tokens, targets = changes.make(
            batch.tokens(device, own), training_targets(batch, recipe, device), own
        )
        weight = total_weight(targets, weights)
        window = None if recipe.shortest_crop is None else targets.shape[1]
        targets = torch.full_like(targets[own], IGNORED) if idle else targets[own]
        yield StepBatch(tokens, targets, weight, recipe.batch_size, (window,))


def best_epoch(history: list[Record], metric: str) -> int:
    """Return the first epoch with the highest score, from 0.

    Args:
        history: Metrics of every finished epoch, at least one.
        metric: Name of the metric that decides.

    Example:
        >>> best_epoch([{"f1": 0.2}, {"f1": 0.7}, {"f1": 0.7}], "f1")
        1
    """
    return max(range(len(history)), key=lambda epoch: history[epoch][metric])
