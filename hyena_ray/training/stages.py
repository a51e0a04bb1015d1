"""Stages of a run: what is trained, for how long and at which rates."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW, Optimizer

from hyena_ray.model.build import parameter_groups
from hyena_ray.model.filters import HyenaFilter
from hyena_ray.model.window import WindowModel
from hyena_ray.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of epochs with one optimiser and one schedule."""

    epochs: int
    """Number of epochs."""
    backbone_rate: float | None
    """Peak rate of the backbone; None freezes it."""
    head_rate: float
    """Peak rate of the head."""
    filter_rate: float = 1.0
    """Peak rate of HyenaDNA's filter networks as a fraction of the backbone's."""


def training_stages(settings: TrainingSettings) -> tuple[Stage, ...]:
    """Return the stages of a run in order.

    Args:
        settings: Settings of the training.

    Reference: Bokhyan 2025, whose best Z-DNA run trains the head for 3 epochs at 1e-3, then
    everything for 6 epochs at 1e-5 (backbone) and 5e-4 (head).

    Example:
        >>> recipe = TrainingSettings(stages="two_stage", head_stage_epochs=3, epochs=6)
        >>> [(stage.epochs, stage.backbone_rate) for stage in training_stages(recipe)]
        [(3, None), (6, 1e-05)]
    """
    if settings.stages == "frozen":
        rate = settings.learning_rate
        return (Stage(epochs=settings.epochs, backbone_rate=None, head_rate=rate),)
    if settings.stages == "single":
        rate = settings.learning_rate
        return (
            Stage(
                epochs=settings.epochs,
                backbone_rate=rate,
                head_rate=rate,
                filter_rate=settings.filter_rate,
            ),
        )
    head_alone = Stage(
        epochs=settings.head_stage_epochs, backbone_rate=None, head_rate=settings.head_stage_rate
    )
    together = Stage(
        epochs=settings.epochs,
        backbone_rate=settings.backbone_rate,
        head_rate=settings.head_rate,
        filter_rate=settings.filter_rate,
    )
    return (together,) if settings.stages == "discriminative" else (head_alone, together)


def stage_at_epoch(stages: tuple[Stage, ...], epoch: int) -> tuple[int, int]:
    """Return the index of the stage that an epoch is in, and the stage's first epoch.

    Args:
        stages: Stages of the run in order.
        epoch: Number of the epoch, from 0.

    Raises:
        IndexError: The epoch is past the last stage.
    """
    first = 0
    for index, stage in enumerate(stages):
        if epoch < first + stage.epochs:
            return index, first
        first += stage.epochs
    raise IndexError(f"epoch {epoch} is past the last stage")


def stage_optimizer(model: WindowModel, stage: Stage, weight_decay: float) -> Optimizer:
    """Freeze or thaw the backbone for a stage, and return AdamW over what is trained.

    Args:
        model: Model to train; `requires_grad` of its backbone is set.
        stage: Stage that starts.
        weight_decay: Decoupled weight decay of matrices.
    """
    backbone, head = parameter_groups(model)
    for parameter in backbone:
        parameter.requires_grad_(stage.backbone_rate is not None)
    filters = filter_parameters(model)
    rates: list[tuple[list[nn.Parameter], float]] = [(head, stage.head_rate)]
    if stage.backbone_rate is not None:
        rates += [
            ([p for p in backbone if p not in filters], stage.backbone_rate),
            ([p for p in backbone if p in filters], stage.backbone_rate * stage.filter_rate),
        ]
    return adamw(rates, filters, weight_decay)


def adamw(
    rates: Sequence[tuple[Sequence[nn.Parameter], float]],
    filters: Set[nn.Parameter],
    weight_decay: float,
) -> Optimizer:
    """Return AdamW with weight decay on matrices alone.

    Args:
        rates: Groups of parameters with their peak rates.
        filters: Parameters of `filter_parameters`, which do not decay.
        weight_decay: Decoupled weight decay of all others but vectors.
    """
    groups = []
    for parameters, rate in rates:
        # Shrinking vectors (biases, weights of norms) is no regularisation, and the output of a
        # filter network does not grow with its weights. HyenaDNA's authors decay neither.
        undecayed = [p for p in parameters if p.ndim <= 1 or p in filters]
        decayed = [p for p in parameters if p.ndim > 1 and p not in filters]
        groups += [
            {"params": decayed, "lr": rate, "weight_decay": weight_decay},
            {"params": undecayed, "lr": rate, "weight_decay": 0.0},
        ]
    return AdamW([group for group in groups if group["params"]], fused=True)


def filter_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters of the networks that generate HyenaDNA's filters.

    Their frequencies and skip weights are among them.

    Args:
        model: Model with or without such networks.
    """
    return {
        parameter
        for module in model.modules()
        if isinstance(module, HyenaFilter)
        for parameter in module.parameters()
    }
