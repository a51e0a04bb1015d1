"""The table of backbones that transformers implements, by the name of their architecture.

A new backbone is one entry here. transformers_classifier.py reads labels of bases from any of them.
Neither torch nor transformers is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from hyena_ray.dataset.tokens import TOKEN_IDS
from hyena_ray.errors import InputError
from hyena_ray.model.settings import DEEPEST, WIDEST, ModelSettings, Targets

MOST_POSITIONS = 1 << 20
"""Most tokens of an input, in a configuration that somebody else wrote."""
FEED_FORWARD = 4
"""Channels inside a layer's MLP for each channel of the residual stream, from random weights."""
SPECIAL = ("<unk>", "<pad>", "<mask>", "<cls>")
"""First tokens of the vocabulary of 6-mers."""


@dataclass(frozen=True)
class Backbone:
    """How a model of transformers becomes a backbone here."""

    model_type: str
    """Name that transformers has for it, in config.json."""
    model_class: str
    """Class of transformers without a head."""
    prefix: str
    """Prefix of the backbone's weights in the checkpoint of a model with a head."""
    layers: str
    """Prefix of the layers, whose number follows."""
    targets: Mapping[Targets, tuple[str, ...]]
    """Modules that get LoRA adapters: names within a layer, or that of the embeddings."""
    sizes: Callable[[ModelSettings, int], dict[str, Any]]
    """Values of transformers' configuration for new weights, from settings and the most bases."""
    bounds: Mapping[str, tuple[float, float]]
    """Smallest and largest value of the numbers that decide about memory and time."""
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values that are supported, where others would be another model."""
    legacy: tuple[str, ...] = ()
    """Keys of older config.json files that transformers translates into its own."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Patterns in the names of stored weights, and what transformers' modules call them."""
    dropout: tuple[str, ...] = ()
    """Rates of dropout inside the layers."""
    causal: bool = False
    """Whether position i depends on positions 0 to i of the input and no further."""
    bases_per_token: int = 1
    """Bases of a token. Each base gets the hidden state of the token that holds it."""
    class_token: bool = False
    """Whether inputs begin with a token that stands for all of them."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model's `forward` beside its input."""

    def longest(self, values: Mapping[str, Any]) -> int | None:
        """Return the most bases of an input; None where there is no limit.

        Args:
            values: Values of transformers' configuration.
        """
        positions = values.get("max_position_embeddings")
        if positions is None:
            return None
        if values.get("position_embedding_type") == "absolute":
            positions -= (values.get("pad_token_id") or 0) + 1  # tokens count from there
        # The bases that fill no token have one each.
        tokens: int = positions - self.class_token - (self.bases_per_token - 1)
        return self.bases_per_token * tokens


def _initial(settings: ModelSettings) -> float:
    """Return the deviation of initial weights: that of torch's own for a square matrix.

    The published 0.02 is made for ten times as many channels.
    """
    return 1 / math.sqrt(3 * settings.d_model)


_TOKENS = {
    "vocab_size": 16,
    "pad_token_id": TOKEN_IDS["[PAD]"],
    "bos_token_id": TOKEN_IDS["[BOS]"],
    "eos_token_id": TOKEN_IDS["[SEP]"],
}
"""The vocabulary of new weights with a token for every base."""


def _modernbert(settings: ModelSettings, longest: int) -> dict[str, Any]:
    return {
        "hidden_size": settings.d_model,
        # Its MLP is gated, with two matrices in place of one below the activation.
        "intermediate_size": FEED_FORWARD * settings.d_model * 2 // 3,
        "num_hidden_layers": settings.n_layer,
        "num_attention_heads": settings.n_head,
        "max_position_embeddings": longest,
        "initializer_range": _initial(settings),
        "layer_types": ["full_attention"] * settings.n_layer,
        **_TOKENS,
        "cls_token_id": TOKEN_IDS["[CLS]"],
        "sep_token_id": TOKEN_IDS["[SEP]"],
    }


def _esm(settings: ModelSettings, longest: int) -> dict[str, Any]:
    return {
        "vocab_size": len(SPECIAL) + 4**6 + 5,
        "hidden_size": settings.d_model,
        "intermediate_size": FEED_FORWARD * settings.d_model,
        "num_hidden_layers": settings.n_layer,
        "num_attention_heads": settings.n_head,
        "max_position_embeddings": longest // 6 + 7,
        "position_embedding_type": "rotary",
        "initializer_range": _initial(settings),
        "emb_layer_norm_before": False,
        "token_dropout": False,
        "mask_token_id": SPECIAL.index("<mask>"),
        "eos_token_id": None,
        "pad_token_id": SPECIAL.index("<pad>"),
    }


def _mamba(settings: ModelSettings, longest: int) -> dict[str, Any]:
    return {
        "hidden_size": settings.d_model,
        "num_hidden_layers": settings.n_layer,
        "initializer_range": _initial(settings),
        **_TOKENS,
    }


RATE = (0.0, 0.999)
WIDTHS = {
    "vocab_size": (1, WIDEST),
    "hidden_size": (1, WIDEST),
    "intermediate_size": (1, WIDEST),
    "num_hidden_layers": (1, DEEPEST),
    "num_attention_heads": (1, WIDEST),
    "max_position_embeddings": (1, MOST_POSITIONS),
    "pad_token_id": (0, WIDEST),
    "mask_token_id": (0, WIDEST),
    "initializer_range": (0, 10),
}
"""Bounds that all of them share; each looks at those of its own numbers."""

BACKBONES: dict[str, Backbone] = {
    "transformer": Backbone(
        model_type="modernbert",
        model_class="ModernBertModel",
        prefix="model.",
        layers="layers.",
        targets={
            "mixer": ("attn.Wqkv", "attn.Wo"),
            "ffn": ("mlp.Wi", "mlp.Wo"),
            "mixer+ffn": ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"),
            "embeddings": ("embeddings.tok_embeddings",),
        },
        sizes=_modernbert,
        bounds=WIDTHS
        | {
            "initializer_cutoff_factor": (0.1, 10),
            "norm_eps": (1e-12, 1),
            "local_attention": (2, MOST_POSITIONS),
            "attention_dropout": RATE,
            "embedding_dropout": RATE,
            "mlp_dropout": RATE,
            "global_attn_every_n_layers": (1, DEEPEST),
        },
        legacy=("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"),
        dropout=("attention_dropout", "mlp_dropout"),
    ),
    "nucleotide_transformer": Backbone(
        model_type="esm",
        model_class="EsmModel",
        prefix="esm.",
        layers="encoder.layer.",
        targets={
            "mixer": (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ),
            "ffn": ("intermediate.dense", "output.dense"),
            "mixer+ffn": (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
                "intermediate.dense",
                "output.dense",
            ),
            "embeddings": ("embeddings.word_embeddings",),
        },
        sizes=_esm,
        bounds=WIDTHS
        | {
            "hidden_dropout_prob": RATE,
            "attention_probs_dropout_prob": RATE,
            "layer_norm_eps": (1e-16, 1),
        },
        only={
            "position_embedding_type": ("absolute", "rotary"),
            "is_folding_model": (False, None),
            "is_decoder": (False, None),
            "add_cross_attention": (False, None),
        },
        renamed=(
            (r"\.gamma$", ".weight"),
            (r"\.beta$", ".bias"),
            (r"^encoder\.layer\.[^.]+\.attention\.self\.(rotary_embeddings\.inv_freq)$", r"\1"),
        ),
        dropout=("hidden_dropout_prob", "attention_probs_dropout_prob"),
        bases_per_token=6,
        class_token=True,
    ),
    "mamba": Backbone(
        model_type="mamba",
        model_class="MambaModel",
        prefix="backbone.",
        layers="layers.",
        targets={
            "mixer": ("mixer.in_proj", "mixer.x_proj", "mixer.out_proj"),
            "embeddings": ("embeddings",),
        },
        sizes=_mamba,
        bounds=WIDTHS
        | {
            "state_size": (1, WIDEST),
            "expand": (1, 64),
            "conv_kernel": (1, 1_000),
            "time_step_rank": (1, WIDEST),
            "layer_norm_epsilon": (1e-12, 1),
            "time_step_scale": (0, 1e6),
            "time_step_min": (1e-9, 1e6),
            "time_step_max": (1e-9, 1e6),
            "time_step_floor": (1e-9, 1e6),
        },
        only={"time_step_init_scheme": ("random", "constant")},
        causal=True,
        options={"use_cache": False},
    ),
}
"""All backbones of transformers by the name of their architecture."""
BY_MODEL_TYPE = {backbone.model_type: backbone for backbone in BACKBONES.values()}


def backbone_of(values: Mapping[str, Any]) -> Backbone:
    """Return the entry that a configuration of transformers belongs to.

    Args:
        values: Values of the configuration.

    Raises:
        InputError: Its `model_type` has no entry.
    """
    name = values.get("model_type")
    if not isinstance(name, str) or name not in BY_MODEL_TYPE:
        raise InputError(
            "config: model_type", name, "no backbone of the table", f"use {', '.join(BACKBONES)}"
        )
    return BY_MODEL_TYPE[name]


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse a configuration that would take memory or time, or be another model than asked for.

    Args:
        values: Values of transformers' configuration, with `model_type`.

    Raises:
        InputError: Names the value.
    """
    backbone = backbone_of(values)
    for name, (low, high) in backbone.bounds.items():
        value = values.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and low <= value <= high):
            raise InputError(
                f"config: {name}", value, f"not a number within {low:g} to {high:g}", "correct it"
            )
    for name, supported in backbone.only.items():
        if name in values and values[name] not in supported:
            raise InputError(
                f"config: {name}",
                values[name],
                f"only {' and '.join(map(str, supported))} are supported",
                "use another checkpoint",
            )
    types = values.get("layer_types")
    if types is not None and (not isinstance(types, list) or len(types) > DEEPEST):
        raise InputError("config: layer_types", None, f"no list of up to {DEEPEST}", "correct it")


def refuse_remote_code(values: Mapping[str, Any], path: PurePath) -> None:
    """Refuse a checkpoint whose classes are code in its own repository.

    Args:
        values: Content of its config.json.
        path: The file.

    Raises:
        InputError: It has an `auto_map`.
    """
    if "auto_map" in values:
        raise InputError(
            f"{path}: auto_map",
            None,
            "the checkpoint needs code from its own repository, which is never run",
            "use one whose classes transformers has, as Nucleotide Transformer of 2023 (v1)",
        )
