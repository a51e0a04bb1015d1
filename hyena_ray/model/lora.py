"""LoRA: train low-rank corrections of some matrices and leave the rest as it was."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.model.classification import HEAD_PREFIXES
from hyena_ray.model.operator import LowRankConvolution, ShortFilter
from hyena_ray.model.settings import LoraSettings, Targets

logger = logging.getLogger(__name__)

TARGET_MODULES: dict[Targets, list[str]] = {
    "mixer": ["in_proj", "out_proj"],
    "ffn": ["fc1", "fc2"],
    "mixer+ffn": ["in_proj", "out_proj", "fc1", "fc2"],
    "short_filter": ["short_filter"],
    "embeddings": ["word_embeddings"],
}
"""What a name of targets stands for; strings, because Optuna takes no lists."""


class ShortFilterAdapter(nn.Module):
    """LoRA of a short filter as peft made it in the original work: a convolution of all channels.

    peft 0.21 itself takes grouped convolutions only at a rank that their groups divide (here 384),
    and merges none. Nor can a depthwise weight take in what mixes channels: merging leaves the
    correction beside it, as `ShortFilter.across`, without dropout and scale.
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
        """(C, L, B) to (C, L, B)."""
        result: Tensor = self.base_layer(u) + self.scale * self.lora_pair(self.dropout(u))
        return result

    @torch.no_grad()
    def merge(self, safe_merge: bool = False) -> None:
        """As peft's; the adapter itself is of no use afterwards."""
        self.lora_pair.up.mul_(self.scale)
        self.base_layer.across = self.lora_pair

    def get_base_layer(self) -> ShortFilter:
        """The filter, corrected once merged."""
        return self.base_layer


ADAPTERS = (BaseTunerLayer, ShortFilterAdapter)


def apply_lora(
    classifier: PreTrainedModel,
    settings: LoraSettings,
    base: str | None = None,
    revision: str | None = None,
) -> PreTrainedModel:
    """Put adapters into a classifier with a backbone `hyena`; they and the head are trained.

    Args:
        classifier: changed in place; it keeps its class, its arguments and its outputs.
        settings: of the adapters; `enabled` is not looked at.
        base: hub id of the backbone, if it has one, which saved adapters name.
        revision: commit of the hub id.

    Returns:
        The same classifier.

    Raises:
        InputError: the classifier has none of the targets, or its short filters have a correction
            already.
    """
    if not hasattr(classifier, "hyena"):
        raise InputError(
            "lora.enabled", True, "this architecture has no LoRA targets", "use hyenadna, or false"
        )
    targets = TARGET_MODULES[settings.targets]
    names = [
        f"hyena.{name}"
        for name, _ in classifier.hyena.named_modules()
        if name.rpartition(".")[2] in targets
    ]
    if settings.targets == "short_filter":
        if classifier.config.short_filter_rank:
            raise InputError(
                "lora.targets",
                settings.targets,
                "the backbone was trained so already",
                "choose other targets",
            )
        logger.info("adapters of short filters cannot be merged: they are saved beside the weights")
        classifier.config.short_filter_rank = settings.rank
        for name in names:
            adapter = ShortFilterAdapter(classifier.get_submodule(name), settings)
            classifier.set_submodule(name, adapter)
    else:
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


def merge_lora(classifier: PreTrainedModel) -> PreTrainedModel:
    """Add the adapters to their weights and remove them, in place; no effect without adapters."""
    for name, module in list(classifier.named_modules()):
        if isinstance(module, ADAPTERS):
            module.merge(safe_merge=True)
            classifier.set_submodule(name, module.get_base_layer())
    return classifier


def has_peft_adapters(model: nn.Module) -> bool:
    """Whether any module holds adapters that peft has a form for: those of short filters are our
    own."""
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def save_adapter(classifier: PreTrainedModel, folder: Path) -> None:
    """Write adapters and head into a folder as peft has them, atomically or not as the caller does.

    `peft.PeftModel.from_pretrained(base, folder)` gives the classifier again; `base` is what it was
    before `apply_lora`, with whatever head.

    Args:
        classifier: with adapters of peft's.
        folder: that exists; takes adapter_config.json and adapter_model.safetensors.
    """
    states = classifier.state_dict()
    weights = get_peft_model_state_dict(classifier, states, save_embedding_layers=False)
    heads = {name: value for name, value in states.items() if name.startswith(HEAD_PREFIXES)}
    config = replace(
        classifier.peft_config["default"],
        modules_to_save=sorted({name.partition(".")[0] for name in heads}),
        inference_mode=True,
    )
    config.save_pretrained(str(folder))
    save_file(
        {f"base_model.model.{name}": t.contiguous() for name, t in (weights | heads).items()},
        folder / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )


def adapted_names(classifier: PreTrainedModel) -> set[str] | None:
    """Names of the parameters that `apply_lora` lets be trained, those of the head aside; None
    where it was not applied, or was merged."""
    return classifier.adapted if has_lora(classifier) else None


def has_lora(model: nn.Module) -> bool:
    """Whether any module holds adapters."""
    return any(isinstance(module, ADAPTERS) for module in model.modules())


def trainable_share(model: nn.Module) -> float:
    """Trainable weights over all weights, adapters included, between 0 and 1."""
    parameters = list(model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return trained / sum(parameter.numel() for parameter in parameters)
