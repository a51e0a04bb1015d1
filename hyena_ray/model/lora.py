"""LoRA: train low-rank corrections of some matrices and leave the rest as it was."""

from __future__ import annotations

from typing import Literal

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.settings import Settings

Targets = Literal["mixer", "ffn", "mixer+ffn", "short_filter", "embeddings"]

TARGET_MODULES: dict[Targets, list[str]] = {
    "mixer": ["in_proj", "out_proj"],
    "ffn": ["fc1", "fc2"],
    "mixer+ffn": ["in_proj", "out_proj", "fc1", "fc2"],
    "short_filter": ["short_filter"],
    "embeddings": ["word_embeddings"],
}
"""What a name of targets stands for; strings, because Optuna takes no lists."""


class LoraSettings(Settings):
    """Which matrices get adapters, and how large."""

    enabled: bool = False
    """Train adapters and the head alone."""
    rank: int = Field(default=8, ge=1)
    """Inner width of an adapter."""
    alpha: int = Field(default=32, ge=1)
    """An adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on an adapter's input; embeddings have none."""
    targets: Targets = "mixer+ffn"
    """The mixers' input and output projections, the MLPs, both, the mixers' short convolution, or
    the table of embeddings."""
    biases: bool = False
    """Train all biases beside the adapters."""


def apply_lora(classifier: PreTrainedModel, settings: LoraSettings) -> PreTrainedModel:
    """Put adapters into a classifier with a backbone `hyena`; they and the head stay trainable.

    Args:
        classifier: changed in place; it keeps its class, its arguments and its outputs.
        settings: of the adapters; `enabled` is not looked at.

    Returns:
        The same classifier.

    Raises:
        InputError: the classifier has none of the targets.
    """
    if not hasattr(classifier, "hyena"):
        raise InputError(
            "lora.enabled", True, "this architecture has no LoRA targets", "use hyenadna, or false"
        )
    targets = TARGET_MODULES[settings.targets]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=[
            name for name, _ in classifier.named_modules() if name.rpartition(".")[2] in targets
        ],
    )
    inject_adapter_in_model(config, classifier)
    for name, parameter in classifier.named_parameters():
        if not name.startswith("hyena."):
            parameter.requires_grad_(True)
    # The adapters' dropout is new and in training mode, whatever the classifier's.
    return classifier.train(classifier.training)


def merge_lora(classifier: PreTrainedModel) -> PreTrainedModel:
    """Add the adapters to their matrices and remove them, in place; no effect without adapters."""
    for name, module in list(classifier.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            classifier.set_submodule(name, module.get_base_layer())
    return classifier


def has_lora(model: nn.Module) -> bool:
    """Whether any module holds adapters."""
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def trainable_share(model: nn.Module) -> float:
    """Trainable weights over all weights, adapters included, between 0 and 1."""
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return trained / sum(parameter.numel() for parameter in parameters)
