"""From settings to a model with its readout, and its parameters in groups."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.model.baselines import DilatedCNNForTokenClassification
from hyena_ray.model.configuration import DilatedCNNConfig, HyenaDNAConfig
from hyena_ray.model.heads import HyenaDNAForTokenClassification
from hyena_ray.model.lora import LoraSettings, apply_lora, has_lora
from hyena_ray.model.window import ModelSettings, Readout, WindowModel


def build_model(
    settings: ModelSettings,
    readout: Readout,
    lora: LoraSettings,
    num_labels: int,
    class_weights: tuple[float, ...] | None = None,
    *,
    seed: int,
) -> WindowModel:
    """A new classifier with its readout.

    Args:
        settings: of the classifier.
        readout: of the windows.
        lora: of the adapters, if enabled.
        num_labels: classes of a base.
        class_weights: for the loss that the classifier itself computes when given labels.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        InputError: the checkpoint cannot be used, or settings do not fit each other.
    """
    weights = None if class_weights is None else list(class_weights)
    classifier: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.architecture == "dilated_cnn":
            if settings.backbone is not None:
                raise InputError(
                    "model.backbone",
                    settings.backbone,
                    "the CNN has no pretrained weights",
                    "drop it",
                )
            classifier = DilatedCNNForTokenClassification(
                DilatedCNNConfig(
                    channels=settings.channels,
                    dropout=settings.dropout,
                    num_labels=num_labels,
                    class_weights=weights,
                )
            )
        elif settings.backbone is not None:
            classifier = HyenaDNAForTokenClassification.from_pretrained(
                settings.backbone,
                revision=settings.revision,
                num_labels=num_labels,
                class_weights=weights,
                hyena_dropout=settings.dropout,
            )
        else:
            classifier = HyenaDNAForTokenClassification(
                HyenaDNAConfig(
                    d_model=settings.d_model,
                    d_inner=4 * settings.d_model,
                    n_layer=settings.n_layer,
                    max_seq_len=settings.max_seq_len,
                    initializer_range=None,
                    hyena_dropout=settings.dropout,
                    num_labels=num_labels,
                    class_weights=weights,
                )
            )
        if lora.enabled:
            classifier = apply_lora(classifier, lora)
    return WindowModel(classifier, readout)


def parameter_groups(model: WindowModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the backbone and of the head.

    With LoRA the backbone's are the adapters alone: the rest stays as it is, whatever the stage.
    """
    adapters = has_lora(model.classifier)
    backbone, head = [], []
    for name, parameter in model.classifier.named_parameters():
        if name.startswith("score."):
            head.append(parameter)
        elif not adapters or "lora_" in name:
            backbone.append(parameter)
    return backbone, head
