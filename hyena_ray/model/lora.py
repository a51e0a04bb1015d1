"""LoRA: train low-rank corrections of some matrices and leave the rest as it was.

peft is imported when adapters are made or saved: a process without adapters never loads it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from hyena_ray.errors import InputError
from hyena_ray.model.classifier import Classifier
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.operator import LowRankConvolution, ShortFilter
from hyena_ray.model.settings import LoraSettings

logger = logging.getLogger(__name__)

ClassifierType = TypeVar("ClassifierType", bound=Classifier)


class ShortFilterAdapter(nn.Module):
    """LoRA of a short filter: a low-rank convolution of all channels, as in the original work.

    peft 0.21 itself takes grouped convolutions only at a rank that their groups divide (here 384),
    and merges none. A depthwise weight cannot hold a correction that mixes channels either: merging
    leaves it next to the weight, as `ShortFilter.across`, without dropout and scale.

    Args:
        base_layer: The short filter, whose weights stay as they are.
        settings: Rank, alpha and dropout of the adapter.
    """

    def __init__(self, base_layer: ShortFilter, settings: LoraSettings) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_pair = LowRankConvolution(
            base_layer.out_channels, settings.rank, base_layer.kernel_size[0]
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.scale = settings.alpha / settings.rank

    def forward(self, u: Tensor) -> Tensor:
        """Filter activations, with the correction.

        Args:
            u: Activations, shape (C, L, B).

        Returns:
            The same shape.
        """
        result: Tensor = self.base_layer(u) + self.scale * self.lora_pair(self.dropout(u))
        return result

    @torch.no_grad()
    def merge(self, safe_merge: bool = False) -> None:
        """Move the correction into the base layer; the adapter is of no use afterwards.

        Args:
            safe_merge: As peft's adapters take it; not used here.
        """
        self.lora_pair.up.mul_(self.scale)
        self.base_layer.across = self.lora_pair

    def get_base_layer(self) -> ShortFilter:
        """Return the filter, which holds the correction once merged."""
        return self.base_layer


def is_adapter(module: nn.Module) -> bool:
    """Return whether a module is an adapter, peft's or that of a short filter.

    Args:
        module: Any module.
    """
    return hasattr(module, "get_base_layer")  # a method of all adapters, and of nothing else


def apply_lora(
    classifier: ClassifierType,
    settings: LoraSettings,
    base: str | None = None,
    revision: str | None = None,
) -> ClassifierType:
    """Put adapters into a classifier; they and the head are trained.

    Args:
        classifier: Changed in place; it keeps its class, its arguments and its outputs.
        settings: Rank, targets and dropout; `enabled` is not read.
        base: Hub id of the backbone, if it has one, which saved adapters name.
        revision: Commit of the hub id.

    Returns:
        The same classifier.

    Raises:
        InputError: The classifier has none of the targets, or its short filters have a correction
            already.
    """
    names = classifier.lora_modules(settings.targets)
    if settings.targets == "short_filter":
        if classifier.config.short_filter_rank:
            raise InputError(
                "lora.targets",
                settings.targets,
                "the backbone was trained so already",
                "choose other targets",
            )
        logger.info("adapters of short filters cannot be merged: they are saved with the weights")
        classifier.config.short_filter_rank = settings.rank
        for name in names:
            filters = cast(ShortFilter, classifier.get_submodule(name))
            adapter = ShortFilterAdapter(filters, settings)
            classifier.set_submodule(name, adapter)
    else:
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=names,
            bias="all" if settings.biases else "none",
            base_model_name_or_path=base,
            revision=revision,
        )
        inject_adapter_in_model(config, classifier)
    adapted = {
        name
        for name, _ in classifier.named_parameters()
        if "lora_" in name or (settings.biases and name.endswith("bias"))
    }
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(name in adapted or name.startswith(HEAD_PREFIXES))
    classifier.adapted = adapted
    # The adapters' dropout is new and in training mode, whatever the classifier's.
    return classifier.train(classifier.training)


def merge_lora(classifier: ClassifierType) -> ClassifierType:
    """Add the adapters to their weights and remove them, in place; no effect without adapters.

    Args:
        classifier: With or without adapters.

    Returns:
        The same classifier.
    """
    for name, module in list(classifier.named_modules()):
        if is_adapter(module):
            module.merge(safe_merge=True)
            classifier.set_submodule(name, module.get_base_layer())
    return classifier


def has_peft_adapters(model: nn.Module) -> bool:
    """Return whether any module is an adapter of peft's; those of short filters are our own.

    Args:
        model: Any model.
    """
    return any(
        is_adapter(module) and not isinstance(module, ShortFilterAdapter)
        for module in model.modules()
    )


def save_adapter(classifier: nn.Module, folder: Path) -> None:
    """Write adapters and head into a folder, in the form that peft reads.

    `peft.PeftModel.from_pretrained(base, folder)` gives the classifier again; `base` is what it was
    before `apply_lora`, with whatever head.

    Args:
        classifier: A classifier with adapters of peft's.
        folder: An existing folder; takes adapter_config.json and adapter_model.safetensors.
    """
    from peft import LoraConfig, get_peft_model_state_dict

    states = classifier.state_dict()
    weights = get_peft_model_state_dict(classifier, states, save_embedding_layers=False)
    heads = {name: value for name, value in states.items() if name.startswith(HEAD_PREFIXES)}
    configs = cast(dict[str, LoraConfig], classifier.peft_config)
    config = replace(
        configs["default"],
        modules_to_save=sorted({name.partition(".")[0] for name in heads}),
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    named = {f"base_model.model.{name}": t.contiguous() for name, t in (weights | heads).items()}
    content = save(named, metadata={"format": "pt"})
    (folder / "adapter_model.safetensors").write_bytes(content)


def adapted_names(classifier: Classifier) -> set[str] | None:
    """Return the names of the parameters that `apply_lora` lets be trained, without the head's.

    Args:
        classifier: Any classifier.

    Returns:
        Names, or None for a classifier without adapters.
    """
    return classifier.adapted if has_lora(classifier) else None


def has_lora(model: nn.Module) -> bool:
    """Return whether any module of a model is an adapter.

    Args:
        model: Any model.
    """
    return any(is_adapter(module) for module in model.modules())


def trainable_share(model: nn.Module) -> float:
    """Compute the fraction of trainable weights, adapters included, between 0 and 1.

    Args:
        model: Any model.

    Example:
        >>> trainable_share(nn.Linear(3, 1))
        1.0
    """
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return trained / sum(parameter.numel() for parameter in parameters)
