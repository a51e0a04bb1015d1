"""Stages of a run: what is trained, for how long and at which rates."""

from __future__ import annotations

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


def stages_of(settings: TrainingSettings) -> tuple[Stage, ...]:
    """The stages of a run in order.

    Source: the study's best Z-DNA run trains the head for 3 epochs at 1e-3, then everything for
    6 epochs at 1e-5 (backbone) and 5e-4 (head).
    """
    if settings.stages == "single":
        rate = settings.learning_rate
        return (Stage(epochs=settings.epochs, backbone_rate=rate, head_rate=rate),)
    head_alone = Stage(
        epochs=settings.head_stage_epochs, backbone_rate=None, head_rate=settings.head_stage_rate
    )
    together = Stage(
        epochs=settings.epochs,
        backbone_rate=settings.backbone_rate,
        head_rate=settings.head_rate,
    )
    return (together,) if settings.stages == "discriminative" else (head_alone, together)


def stage_of_epoch(stages: tuple[Stage, ...], epoch: int) -> tuple[int, int]:
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
    undecayed = undecayed_parameters(model)
    groups = []
    for parameters, rate in ((head, stage.head_rate), (backbone, stage.backbone_rate)):
        if rate is not None:
            decayed = [parameter for parameter in parameters if parameter not in undecayed]
            others = [parameter for parameter in parameters if parameter in undecayed]
            groups += [
                {"params": decayed, "lr": rate, "weight_decay": weight_decay},
                {"params": others, "lr": rate, "weight_decay": 0.0},
            ]
    return AdamW(groups, fused=True)


def undecayed_parameters(model: nn.Module) -> set[nn.Parameter]:
    """What weight decay leaves alone.

    Vectors (biases, weights of norms), since shrinking them is no regularisation, and the networks
    that make HyenaDNA's filters with their frequencies, whose outputs do not grow with their
    weights; so did HyenaDNA's authors.
    """
    vectors = {parameter for parameter in model.parameters() if parameter.ndim <= 1}
    filters = {
        parameter
        for module in model.modules()
        if isinstance(module, HyenaFilter)
        for parameter in module.parameters()
    }
    return vectors | filters
