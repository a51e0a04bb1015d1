"""The configuration of HyenaDNA: field for field as published, then what was added to it."""

# No `from __future__ import annotations`: the type check of @strict passes over strings.

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from hyena_ray.errors import InputError
from hyena_ray.model.settings import Pooling


@strict
class HyenaDNAConfig(PreTrainedConfig):
    """Sizes of a HyenaDNA model; the defaults are those of tiny-1k.

    Raises:
        InputError: a size that no published model has and that the equations do not define.
    """

    model_type = "hyenadna"
    causal: ClassVar[bool] = True
    """Position i of the output depends on positions 0 to i of the input and no further."""

    vocab_size: int = 12
    """Tokens; the embedding table is padded to a multiple of `pad_vocab_size_multiple`."""
    d_model: int = 128
    """Channels of the residual stream."""
    d_inner: int = 512
    """Channels inside a layer's MLP."""
    use_bias: bool = True
    """Kept for the file format: the convolution always has its bias, as published."""
    train_freq: bool = True
    """The frequency of the filters' sine is a parameter rather than a constant."""
    max_seq_len: int = 1026
    """Longest input in tokens; also the time scale of the filters, fixed for a checkpoint."""
    emb_dim: int = 5
    """Features of a time step that the filters are made from; odd, at least 3."""
    n_layer: int = 2
    """Blocks of a mixer and an MLP."""
    hyena_order: int = 2
    """Projections less one; only 2 is defined for the published filters."""
    filter_order: int = 64
    """Width of the MLP that makes the filters."""
    short_filter_order: int = 3
    """Taps of the depthwise convolution before the gates."""
    activation_freq: float | int = 10
    """Initial frequency of the filters' sine."""
    num_inner_mlps: int = 2
    """Hidden layers of the MLP that makes the filters."""
    embed_dropout: float | int = 0.1
    """Kept for the file format: the published classes never applied it."""
    hyena_dropout: float | int = 0.0
    """Dropout on the input of the long convolution."""
    hyena_filter_dropout: float | int = 0.0
    """Kept for the file format: the published classes never applied it."""
    layer_norm_epsilon: float | int = 1e-5
    """Of the last LayerNorm; those inside the layers use 1e-5, as published."""
    initializer_range: float | int | None = 0.02
    """Standard deviation of initial weights; None takes torch's own initial weights, from which a
    short training on few windows comes much further (RESULTS.md)."""
    pad_vocab_size_multiple: int = 8
    """See `vocab_size`."""
    pad_token_id: int | None = 4
    """Token that sequence classification does not read out."""
    tie_word_embeddings: bool = False
    """Embedding and language-model head share one table; never so in the published models."""
    class_weights: list[float] | None = None
    """Weight of each class in a classifier's cross-entropy; None weighs all alike."""
    slow_decay: float | int = 1.5
    """Share of `max_seq_len` after which the slowest channel's filter has decayed to 1 %."""
    fast_decay: float | int = 0.3
    """The same of the fastest channel."""
    decay_spacing: Literal["linear", "log"] = "linear"
    """How the channels' decay rates lie between these two: evenly as published, or evenly in their
    logarithm, so that as many look at a few bases as at many."""
    head: Literal["linear", "electra", "lookahead"] = "linear"
    """From hidden state to labels: one matrix as published; dense, GELU, dropout, projection; or
    the same on the hidden states of the next positions too, for labels of bases."""
    head_dropout: float | int = 0.0
    """Dropout of the other two heads."""
    lookahead: int = 0
    """How many positions further right the lookahead head sees."""
    flank_composition: int = 0
    """Bases on each side whose GC content and CpG frequency are an input; 0 for no such input."""
    pooling: Pooling | None = None
    """Which hidden state labels a sequence; None labels every base."""
    pooled_length: int = 70
    """Tokens of every sequence, where they are pooled by position."""
    short_filter_rank: int = 0
    """Rank of a correction to the short convolutions that mixes channels, as LoRA trains it; 0 has
    none, as published."""

    def __post_init__(self, **kwargs: Any) -> None:
        # Points at code on the hub, which is never run.
        kwargs.pop("auto_map", None)
        super().__post_init__(**kwargs)
        sizes = (
            "vocab_size",
            "d_model",
            "d_inner",
            "max_seq_len",
            "n_layer",
            "filter_order",
            "short_filter_order",
            "pooled_length",
            "pad_vocab_size_multiple",
        )
        for name in sizes:
            if getattr(self, name) < 1:
                raise InputError(f"config: {name}", getattr(self, name), "below 1", "raise it")
        if self.hyena_order != 2:
            raise InputError(
                "config: hyena_order", self.hyena_order, "only 2 is supported", "set it to 2"
            )
        if not 0 < self.fast_decay <= self.slow_decay:
            raise InputError(
                "config: fast_decay", self.fast_decay, "not above 0 or above slow_decay", "lower it"
            )
        if self.head == "lookahead" and self.pooling is not None:
            raise InputError(
                "config: head", self.head, "labels bases, not sequences", "set linear or electra"
            )
        if self.emb_dim < 3 or self.emb_dim % 2 == 0:
            raise InputError("config: emb_dim", self.emb_dim, "not odd and at least 3", "set 5")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding table."""
        multiple = self.pad_vocab_size_multiple
        return -(-self.vocab_size // multiple) * multiple
