"""One pass over the training windows."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from hyena_ray.dataset.tokens import random_crop, reverse_half
from hyena_ray.errors import JobError
from hyena_ray.model.window import WindowModel
from hyena_ray.training.data_parallel import ALONE, Workers
from hyena_ray.training.ema import WeightAverage
from hyena_ray.training.loaders import Batch, WindowSource
from hyena_ray.training.losses import IGNORED, focal_loss, total_weight, weighted_cross_entropy
from hyena_ray.training.schedules import Schedule
from hyena_ray.training.settings import TrainingSettings

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class DivergenceError(JobError):
    """The loss or a metric is no longer a finite number."""


class Augmentation:
    """Changes of one epoch's batches, fixed by (seed, epoch) alone."""

    def __init__(self, recipe: TrainingSettings, epoch: int) -> None:
        self._recipe = recipe
        self._strands = np.random.default_rng([recipe.seed, epoch, 1])
        self._crops = np.random.default_rng([recipe.seed, epoch, 2])
        self._owners = np.random.default_rng([recipe.seed, epoch, 3])

    def __call__(
        self, tokens: NDArray[np.uint8], labels: NDArray[np.int8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
        """The next batch, (B, length + 2 * flank) and (B, length), changed."""
        if self._recipe.permute_labels:
            # Nobody keeps their own: one label in a batch that is right is enough to learn from.
            labels = np.roll(labels, self._owners.integers(1, max(2, len(labels))), axis=0)
        if self._recipe.shortest_crop is not None:
            tokens, labels = random_crop(tokens, labels, self._recipe.shortest_crop, self._crops)
        if self._recipe.reverse_complement:
            tokens, labels = reverse_half(tokens, labels, self._strands)
        return tokens, labels


def new_scaler(model: WindowModel, recipe: TrainingSettings) -> GradScaler:
    """Keeps float16's gradients from vanishing; in other precisions it does nothing."""
    device = next(model.parameters()).device
    return GradScaler(device.type, enabled=recipe.precision == "float16")


class Updates(NamedTuple):
    """What makes new weights of gradients."""

    optimizer: Optimizer
    """Over what is trained."""
    schedule: Schedule
    """Of its rates, told after every step."""
    scaler: GradScaler
    """Of `new_scaler`; lives as long as the run."""
    average: WeightAverage
    """Of the weights; lives as long as the run."""


def train_epoch(
    model: WindowModel,
    train: WindowSource,
    updates: Updates,
    recipe: TrainingSettings,
    epoch: int,
    workers: Workers = ALONE,
) -> float:
    """Train on every window once; the mean loss over steps.

    A step's windows are drawn and augmented together and pass through the model in parts of
    `batch_size`, shared out among workers, whose gradients are those of the whole to rounding.

    Args:
        model: put into training mode here.
        train: windows to learn from.
        updates: of the model's weights.
        recipe: of the run.
        epoch: from 0.
        workers: that train together; all are told the same.

    Raises:
        DivergenceError: a loss is NaN or infinite.
    """
    optimizer, schedule, scaler, average = updates
    replica = workers.replica(model.train())
    device = next(model.parameters()).device
    class_weights = recipe.class_weights().to(device)
    loss_of = (
        partial(focal_loss, gamma=recipe.focal_gamma)
        if recipe.loss == "focal"
        else weighted_cross_entropy
    )
    precision = PRECISIONS[recipe.precision]
    # Dropout draws from torch's global generator: seeding it by epoch makes a resumed run equal.
    torch.manual_seed(recipe.seed * 10_007 + epoch + 1_000_000_007 * workers.rank)
    augment = Augmentation(recipe, epoch)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    losses = []
    together = recipe.batch_size * recipe.accumulation
    for step, batch in enumerate(train.batches(together, epoch=epoch, seed=recipe.seed)):
        whole = Batch(*augment(*batch))
        own = _part_of(whole, workers)
        # Of the whole step, over the workers: the loss and its gradients are the mean of theirs.
        weight = total_weight(torch.from_numpy(whole.labels).to(device), class_weights)
        weight /= workers.size
        tokens, labels = (torch.from_numpy(part).to(device) for part in own)
        window = None if recipe.shortest_crop is None else labels.shape[1]
        loss = torch.zeros((), device=device)
        optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(labels), recipe.batch_size):
            rows = slice(first, first + recipe.batch_size)
            with workers.passes(replica, last=rows.stop >= len(labels)):
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = replica(tokens[rows], window)
                part = loss_of(logits, labels[rows], class_weights).total / weight
                scaler.scale(part).backward()
            loss += part.detach()
        loss = workers.mean(loss)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(trained, recipe.clip_norm)
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"the loss is {loss.item()} at step {step + 1} of epoch {epoch + 1}; "
                "lower the learning rate"
            )
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        # The scaler leaves out a step whose gradients overflowed, and lowers its scale.
        if scaler.get_scale() >= scale:
            schedule.after_step()
            average.after_step()
        losses.append(loss)
    for agreed in dict.fromkeys((model, average.model)):
        workers.agree(agreed)
    return float(torch.stack(losses).mean())


def _part_of(batch: Batch, workers: Workers) -> Batch:
    """A worker's rows of a batch; where it has none, one without labels, since all must pass."""
    if workers.rank < len(batch.labels):
        return Batch(*(part[workers.rank :: workers.size] for part in batch))
    return Batch(batch.tokens[:1], np.full_like(batch.labels[:1], IGNORED))
