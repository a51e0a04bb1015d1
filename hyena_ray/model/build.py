"""New models from settings, and their parameters in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hyena_ray.errors import InputError
from hyena_ray.model.backbone_table import BACKBONES
from hyena_ray.model.baseline_models import (
    RULE_OF_TASK,
    BiLSTM,
    DilatedCNN,
    KmerLogisticRegression,
    RuleModel,
)
from hyena_ray.model.boosted_trees import BoostedTrees
from hyena_ray.model.classifier import Classifier, HyenaDNAClassifier
from hyena_ray.model.configuration import (
    BiLSTMConfig,
    BoostedTreesConfig,
    DilatedCNNConfig,
    HyenaConfig,
    KmerLogisticConfig,
    RuleConfig,
    TransformersConfig,
    ZHuntConfig,
    time_scale,
)
from hyena_ray.model.heads import HEAD_PREFIXES
from hyena_ray.model.lora import adapted_names, apply_lora
from hyena_ray.model.pretrained import load_pretrained
from hyena_ray.model.provenance import is_hub_id
from hyena_ray.model.settings import (
    CAUSAL,
    Architecture,
    LoraSettings,
    ModelSettings,
    Readout,
    refuse_other_tasks,
    refuse_unused,
)
from hyena_ray.model.transformers_classifier import TransformersClassifier, load_transformers
from hyena_ray.model.window import WindowModel
from hyena_ray.model.zhunt import ZHuntModel
from hyena_ray.tasks import Task

SHORTEST_SCALE = 256
"""Least `max_seq_len` of a model from random weights, in tokens."""


def build_model(
    settings: ModelSettings,
    readout: Readout,
    lora: LoraSettings,
    task: Task,
    class_weights: tuple[float, ...] | None = None,
    *,
    seed: int,
) -> WindowModel:
    """Build a new classifier with its readout.

    Args:
        settings: Architecture and sizes of the classifier.
        readout: How labels of windows are read from it.
        lora: Adapters, if enabled.
        task: What is labelled, and how many classes there are.
        class_weights: Weights for the loss that the Hugging Face class computes when given labels.
        seed: Seed of the initial weights; torch's global generator is left as it was.

    Raises:
        InputError: The checkpoint cannot be used, or settings do not fit each other.

    Example:
        >>> from hyena_ray.tasks import TASKS
        >>> settings = ModelSettings(d_model=16, n_layer=1)
        >>> readout = Readout(window=100, flank=32)
        >>> model = build_model(settings, readout, LoraSettings(), TASKS["zdna"], seed=0)
        >>> model(torch.full((2, 100 + 2 * 32), 7)).shape
        torch.Size([2, 100, 2])
    """
    labels = {
        "num_labels": task.num_labels,
        "class_weights": None if class_weights is None else list(class_weights),
        "pooling": settings.pooling if task.kind == "sequence" else None,
        "pooled_length": readout.window + readout.special_tokens,
    }
    refuse_other_tasks(settings, task.name, "build")
    refuse_unused(settings, readout.tracks, "build")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = BUILDERS[settings.architecture](settings, readout, task, labels)
        if lora.enabled:
            hub = settings.backbone is not None and is_hub_id(settings.backbone)
            base = (settings.backbone, settings.revision) if hub else (None, None)
            classifier = apply_lora(classifier, lora, *base)
    model = WindowModel(classifier, readout)
    model.min_length, model.merge_gap = task.min_length, task.merge_gap
    return model


def parameter_groups(model: WindowModel) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters of the backbone and of the head.

    With LoRA the backbone's are those that it trains: the rest stays as it is, whatever the stage.

    Args:
        model: Any window model.
    """
    adapted = adapted_names(model.classifier)
    backbone, head = [], []
    for name, parameter in model.classifier.named_parameters():
        if name.startswith(HEAD_PREFIXES):
            head.append(parameter)
        elif adapted is None or name in adapted:
            backbone.append(parameter)
    return backbone, head


def _hyenadna(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    chosen = labels | _head(settings, readout, task) | {"hyena_dropout": settings.dropout}
    if settings.backbone is not None:
        return load_pretrained(HyenaDNAClassifier, settings.backbone, settings.revision, **chosen)
    return HyenaDNAClassifier(
        HyenaConfig(
            d_model=settings.d_model,
            d_inner=4 * settings.d_model,
            n_layer=settings.n_layer,
            initializer_range=None,
            **time_scale(settings.filters, settings.max_seq_len or _longest(readout)),
            **chosen,
        )
    )


def _transformers(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    name, chosen = settings.architecture, labels | _head(settings, readout, task)
    backbone = BACKBONES[name]
    if readout.special_tokens and backbone.bases_per_token > 1:
        raise InputError(
            "readout.special_tokens", True, f"{name} has tokens of its own", "set it to false"
        )
    if settings.backbone is not None:
        return load_transformers(
            name, settings.backbone, settings.revision, settings.dropout, **chosen
        )
    network = backbone.sizes(settings, _longest(readout))
    network |= dict.fromkeys(backbone.dropout, settings.dropout)
    network |= {"model_type": backbone.model_type}
    return TransformersClassifier(TransformersConfig(network=network, **chosen))


def _head(settings: ModelSettings, readout: Readout, task: Task) -> dict[str, Any]:
    """Return the values of a backbone's configuration that are about its head and its input."""
    looks_ahead = settings.architecture in CAUSAL and task.kind == "base" and readout.lookahead > 0
    return {
        "head": settings.head or ("lookahead" if looks_ahead else "linear"),
        "head_dropout": settings.dropout,
        "lookahead": readout.lookahead,
        "tracks": list(readout.tracks),
    }


def _longest(readout: Readout) -> int:
    """Return the longest input of a backbone from random weights, in tokens of one base."""
    return max(SHORTEST_SCALE, 1 << (readout.most_tokens - 1).bit_length())


def _dilated_cnn(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    return DilatedCNN(DilatedCNNConfig(**labels, **_network(settings, readout)))


def _bilstm(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    return BiLSTM(BiLSTMConfig(**labels, **_network(settings, readout)))


def _kmer_logistic(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    return KmerLogisticRegression(
        KmerLogisticConfig(k=settings.k, radius=settings.radius, **labels)
    )


def _rule(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    if task.name not in RULE_OF_TASK:
        raise InputError("model.architecture", "rule", f"there is none for {task.name}", "drop it")
    return RuleModel(RuleConfig(rule=RULE_OF_TASK[task.name], **labels))


def _zhunt(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    candidates = [list(pair) for pair in settings.zhunt_windows]
    return ZHuntModel(ZHuntConfig(dinucleotides=candidates[0], candidates=candidates, **labels))


def _trees(
    settings: ModelSettings, readout: Readout, task: Task, labels: dict[str, Any]
) -> Classifier:
    return BoostedTrees(
        BoostedTreesConfig(
            features=task.name,
            tracks=list(readout.tracks),
            trees=settings.trees,
            depth=settings.tree_depth,
            shrinkage=settings.tree_shrinkage,
            fraction=settings.tree_fraction,
            feature_fraction=settings.tree_features,
            smallest_leaf=settings.smallest_leaf,
            **labels,
        )
    )


def _network(settings: ModelSettings, readout: Readout) -> dict[str, Any]:
    """Return the values of a network's configuration."""
    return {
        "channels": settings.channels,
        "tracks": list(readout.tracks),
        "dropout": settings.dropout,
        "head": settings.head or "linear",
        "head_dropout": settings.dropout,
    }


Builder = Callable[[ModelSettings, Readout, Task, dict[str, Any]], Classifier]
BUILDERS: dict[Architecture, Builder] = {
    "hyenadna": _hyenadna,
    "transformer": _transformers,
    "nucleotide_transformer": _transformers,
    "mamba": _transformers,
    "dilated_cnn": _dilated_cnn,
    "bilstm": _bilstm,
    "kmer_logistic": _kmer_logistic,
    "rule": _rule,
    "zhunt": _zhunt,
    "trees": _trees,
}
"""Builders of the architectures; the last argument has the values of the configuration that say
what is labelled."""
