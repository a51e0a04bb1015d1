"""Configurations of the baselines."""

# No `from __future__ import annotations`: the type check of @strict passes over strings.

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from hyena_ray.errors import InputError
from hyena_ray.model.settings import Pooling


@strict
class BaselineConfig(PreTrainedConfig):
    """What all baselines are told."""

    causal: ClassVar[bool] = False
    """Position i of the output depends on what comes after it."""

    pooling: Pooling | None = None
    """As `HyenaDNAConfig.pooling`; None labels every base. Where nothing is learnt below the head,
    any other value labels the sequence as a whole."""
    pooled_length: int = 70
    """As `HyenaDNAConfig.pooled_length`."""
    pad_token_id: int | None = 4
    """Token that is left out of a sequence."""
    class_weights: list[float] | None = None
    """Weight of each class in the cross-entropy; None weighs all alike."""


@strict
class NetworkConfig(BaselineConfig):
    """What the networks are told besides."""

    vocab_size: int = 16
    """Tokens, as HyenaDNA's table has them."""
    channels: int = 64
    """Channels of a layer; of the BiLSTM in each direction."""
    dropout: float | int = 0.0
    """Dropout of each layer's contribution."""
    head: Literal["linear", "electra"] = "linear"
    """As `HyenaDNAConfig.head`; the linear one has a bias here."""
    head_dropout: float | int = 0.0
    """Dropout of the Electra head."""
    flank_composition: int = 0
    """As `HyenaDNAConfig.flank_composition`."""


@strict
class DilatedCNNConfig(NetworkConfig):
    """By default base i sees bases i - 64 to i + 64."""

    model_type = "dilated_cnn"

    kernel_size: int = 9
    """Taps of every convolution; odd."""
    dilations: list[int] | tuple[int, ...] = (1, 2, 4, 8)
    """Distance of the taps, one residual layer for each."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.kernel_size % 2 == 0:
            raise InputError("config: kernel_size", self.kernel_size, "not odd", "add 1")


@strict
class BiLSTMConfig(NetworkConfig):
    """Every base sees the whole input."""

    model_type = "bilstm"

    n_layer: int = 2
    """Layers of both directions."""


@strict
class KmerLogisticConfig(BaselineConfig):
    """Base i sees the k-mers within bases i - radius to i + radius."""

    model_type = "kmer_logistic"

    k: int = 6
    """Bases of a k-mer; the model has a weight for each of 4**k and each class."""
    radius: int = 12
    """Bases on each side whose k-mers are counted for a base. Of 6 to 24, 11 is best for Z-DNA and
    16 for G4 on the validation contig of hg19."""

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if not 1 <= self.k <= 2 * self.radius + 1:
            raise InputError(
                "config: k", self.k, f"not within 1 to {2 * self.radius + 1}", "change k or radius"
            )


@strict
class RuleConfig(BaselineConfig):
    """Which rule scores the bases; the rest is one scale and one offset."""

    model_type = "rule"

    rule: str = "alternation"
    """A key of `rule.RULES`."""
