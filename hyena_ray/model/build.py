"""From settings to a model with its readout, and its parameters in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hyena_ray.errors import InputError
from hyena_ray.model.baselines import (
    BiLSTMClassifier,
    DilatedCNNClassifier,
    KmerLogisticClassifier,
    RuleClassifier,
)
from hyena_ray.model.baselines.configuration import (
    BiLSTMConfig,
    DilatedCNNConfig,
    KmerLogisticConfig,
    RuleConfig,
)
from hyena_ray.model.baselines.rule import RULE_OF_TASK
from hyena_ray.model.checkpoint import is_hub_id
from hyena_ray.model.classification import HEAD_PREFIXES
from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.lora import adapted_names, apply_lora
from hyena_ray.model.saved import HYENADNA, MODEL_CLASSES
from hyena_ray.model.settings import (
    Architecture,
    Filters,
    LoraSettings,
    ModelSettings,
    Readout,
    refuse_unused,
)
from hyena_ray.model.window import WindowModel
from hyena_ray.tasks import Task

SHORTEST_SCALE = 256
"""Least `max_seq_len` of a model from random weights, in tokens."""
FINEST_PERIOD = 8
"""Bases that the finest feature of local filters spans."""
FASTEST_DECAY = 5
"""Bases within which the fastest channel of local filters decays to 1 %."""


def build_model(
    settings: ModelSettings,
    readout: Readout,
    lora: LoraSettings,
    task: Task,
    class_weights: tuple[float, ...] | None = None,
    *,
    seed: int,
) -> WindowModel:
    """A new classifier with its readout.

    Args:
        settings: of the classifier.
        readout: of the windows.
        lora: of the adapters, if enabled.
        task: says what is labelled and how many classes there are.
        class_weights: for the loss that the classifier itself computes when given labels.
        seed: decides the initial weights; torch's global generator is left as it was.

    Raises:
        InputError: the checkpoint cannot be used, or settings do not fit each other.
    """
    labels = {
        "num_labels": task.num_labels,
        "class_weights": None if class_weights is None else list(class_weights),
        "pooling": settings.pooling if task.kind == "sequence" else None,
        "pooled_length": readout.window + readout.special_tokens,
    }
    refuse_unused(settings, readout.flank_composition, "build")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = BUILDERS[settings.architecture](settings, readout, task, labels)
        if lora.enabled:
            hub = settings.backbone is not None and is_hub_id(settings.backbone)
            base = (settings.backbone, settings.revision) if hub else (None, None)
            classifier = apply_lora(classifier, lora, *base)
    return WindowModel(classifier, readout)


def _hyenadna(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> PreTrainedModel:
    model_class = MODEL_CLASSES[HYENADNA, task.kind]
    chosen = labels | {
        "hyena_dropout": settings.dropout,
        "head": settings.head or ("lookahead" if task.kind == "base" else "linear"),
        "head_dropout": settings.dropout,
        "lookahead": readout.lookahead,
        "flank_composition": readout.flank_composition,
    }
    if settings.backbone is not None:
        return model_class.from_pretrained(settings.backbone, revision=settings.revision, **chosen)
    return model_class(
        HyenaDNAConfig(
            d_model=settings.d_model,
            d_inner=4 * settings.d_model,
            n_layer=settings.n_layer,
            initializer_range=None,
            **time_scale(settings.filters, _longest(settings, readout)),
            **chosen,
        )
    )


def _longest(settings: ModelSettings, readout: Readout) -> int:
    """`max_seq_len` of a model from random weights."""
    longest = readout.window + 2 * readout.flank + readout.special_tokens
    return settings.max_seq_len or max(SHORTEST_SCALE, 1 << (longest - 1).bit_length())


def time_scale(filters: Filters, length: int) -> dict[str, Any]:
    """Values of HyenaDNA's configuration that say how far and how finely its filters see.

    Args:
        filters: published or local ones.
        length: longest input in tokens.
    """
    if filters == "published":
        return {"max_seq_len": length}
    return {
        "max_seq_len": length,
        "emb_dim": 2 * max(2, length // FINEST_PERIOD) + 1,
        "fast_decay": min(1.0, FASTEST_DECAY / length),
        "decay_spacing": "log",
    }


def _dilated_cnn(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> PreTrainedModel:
    return DilatedCNNClassifier(DilatedCNNConfig(**labels, **_network(settings, readout)))


def _bilstm(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> PreTrainedModel:
    return BiLSTMClassifier(BiLSTMConfig(**labels, **_network(settings, readout)))


def _kmer_logistic(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> PreTrainedModel:
    return KmerLogisticClassifier(
        KmerLogisticConfig(k=settings.k, radius=settings.radius, **labels)
    )


def _rule(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> PreTrainedModel:
    if task.name not in RULE_OF_TASK:
        raise InputError("model.architecture", "rule", f"there is none for {task.name}", "drop it")
    return RuleClassifier(RuleConfig(rule=RULE_OF_TASK[task.name], **labels))


Builder = Callable[[ModelSettings, Readout, Task, dict[str, Any]], PreTrainedModel]
BUILDERS: dict[Architecture, Builder] = {
    "hyenadna": _hyenadna,
    "dilated_cnn": _dilated_cnn,
    "bilstm": _bilstm,
    "kmer_logistic": _kmer_logistic,
    "rule": _rule,
}
"""What makes a classifier of an architecture, from settings, readout, task and the values of its
configuration that say what is labelled."""


def _network(settings: ModelSettings, readout: Readout) -> dict[str, Any]:
    """The values of a network's configuration."""
    return {
        "channels": settings.channels,
        "flank_composition": readout.flank_composition,
        "dropout": settings.dropout,
        "head": settings.head or "linear",
        "head_dropout": settings.dropout,
    }


def parameter_groups(model: WindowModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the backbone and of the head.

    With LoRA the backbone's are those that it trains: the rest stays as it is, whatever the stage.
    """
    adapted = adapted_names(model.classifier)
    backbone, head = [], []
    for name, parameter in model.classifier.named_parameters():
        if name.startswith(HEAD_PREFIXES):
            head.append(parameter)
        elif adapted is None or name in adapted:
            backbone.append(parameter)
    return backbone, head
