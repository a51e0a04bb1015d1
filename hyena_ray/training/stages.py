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
    backbone_rate: float | None
    """Peak rate of the backbone; None freezes it."""
    head_rate: float
    filter_rate: float = 1.0
    """Of HyenaDNA's filter networks, as a share of the backbone's."""


def training_stages(settings: TrainingSettings) -> tuple[Stage, ...]:
    """The stages of a run in order.

    Source: the study's best Z-DNA run trains the head for 3 epochs at 1e-3, then everything for
    6 epochs at 1e-5 (backbone) and 5e-4 (head).
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
    """Index of the stage that holds `epoch` (from 0), and the stage's first epoch."""
    first = 0
    for index, stage in enumerate(stages):
        if epoch < first + stage.epochs:
            return index, first
        first += stage.epochs
    raise IndexError(f"epoch {epoch} lies past the last stage")


def stage_optimizer(model: WindowModel, stage: Stage, weight_decay: float) -> Optimizer:
    """Freeze or thaw the backbone as the stage asks, and make AdamW over what is trained."""
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
    """AdamW with weight decay on matrices alone.

    Args:
        rates: parameters, and their peak rate.
        filters: those of `filter_parameters`, which do not decay.
        weight_decay: of all others but vectors.
    """
    groups = []
    for parameters, rate in rates:
        # Shrinking vectors (biases, weights of norms) is no regularisation, and what a filter
        # network puts out does not grow with its weights; so did HyenaDNA's authors.
        undecayed = [p for p in parameters if p.ndim <= 1 or p in filters]
        decayed = [p for p in parameters if p.ndim > 1 and p not in filters]
        groups += [
            {"params": decayed, "lr": rate, "weight_decay": weight_decay},
            {"params": undecayed, "lr": rate, "weight_decay": 0.0},
        ]
    return AdamW([group for group in groups if group["params"]], fused=True)


def filter_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Of the networks that make HyenaDNA's filters, with their frequencies and skip weights."""
    return {
        parameter
        for module in model.modules()
        if isinstance(module, HyenaFilter)
        for parameter in module.parameters()
    }
