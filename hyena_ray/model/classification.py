"""From hidden states to labels, common to all classifiers: heads, pooling, losses.

A classifier has its head in `score` and, where it labels whole sequences, what pools their hidden
states in `pool`; everything else is its backbone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

from hyena_ray.errors import InputError
from hyena_ray.model.arguments import ALL, check_one_input, wants_dict
from hyena_ray.model.flank_composition import CompositionEmbedding
from hyena_ray.tasks import Kind

HEAD_PREFIXES = ("score.", "pool.", "surroundings.")
"""Prefixes of the parameters that belong to a classifier's head, or to its input next to the tokens
(`surroundings` embeds the flank composition; files of weights have that name). No published
backbone has them."""


class Classifier:
    """Arguments and output of all classifiers; a subclass is a PreTrainedModel too."""

    config: Any
    output_class: ClassVar[type]
    surroundings: CompositionEmbedding | None
    get_input_embeddings: Callable[[], nn.Module]

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        positions: slice = ALL,
        composition: Tensor | None = None,
    ) -> TokenClassifierOutput | SequenceClassifierOutput | tuple[Any, ...]:
        """Compute `logits` float32: (B, L, num_labels) per base, or (B, num_labels) per sequence.

        Args:
            input_ids: (B, L) int64 token ids.
            inputs_embeds: (B, L, channels), instead of `input_ids`; are taken to have no padding,
                since it cannot be told.
            labels: see `label_loss`; any integer dtype.
            output_hidden_states: also return what went into each layer and came out of the last;
                None follows the configuration.
            return_dict: False returns a tuple; None follows the configuration.
            attention_mask: not used, as published; peft and Trainer pass it on.
            output_attentions: not used, likewise; there is no attention.
            positions: of bases whose logits are wanted, and are returned alone.
            composition: (B, FEATURES) of windows and flanks, for a classifier whose configuration
                has `flank_composition`, and for no other; see flank_composition.py.

        Raises:
            InputError: both or neither input is given, L exceeds `max_seq_len`, or `composition` is
                missing or has no place.
        """
        check_one_input(input_ids, inputs_embeds)
        if (composition is None) != (self.surroundings is None):
            raise InputError(
                "forward",
                None,
                "composition belongs to a classifier that was built with flank_composition",
                "give it to such a classifier, and to no other",
            )
        if self.surroundings is not None:
            if inputs_embeds is None:
                inputs_embeds = self.get_input_embeddings()(input_ids)
            input_ids, inputs_embeds = None, inputs_embeds + self.surroundings(composition)
        logits, states = self._label(input_ids, inputs_embeds, positions)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        output = self.output_class(
            loss=None if labels is None else label_loss(self.config, logits, labels),
            logits=logits,
            hidden_states=states if output_hidden_states else None,
        )
        return output if wants_dict(self.config, return_dict) else output.to_tuple()

    @abstractmethod
    def _label(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, positions: slice
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits as above, and hidden states (B, L, channels) if any, from one of the inputs."""


class ElectraHead(nn.Module):
    """dense, GELU, dropout, projection; (..., width) to (..., num_labels)."""

    def __init__(self, width: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.out_proj(self.dropout(F.gelu(self.dense(hidden))))
        return result


class LookaheadHead(nn.Module):
    """A head of bases for a causal backbone: it sees the next positions too.

    Beside the hidden state of position i it reads a sum of those of i to i + lookahead, with a
    weight for each channel and distance; then dense, GELU, dropout and projection.
    Source: the row convolution of Amodei et al. 2016 (Deep Speech 2), section 3.4.
    """

    def __init__(self, width: int, lookahead: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.following = nn.Conv1d(width, width, lookahead + 1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(2 * width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(2 * width, num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, width) to (B, L, num_labels); past the last position there is nothing."""
        padded = F.pad(hidden.transpose(1, 2), (0, self.lookahead))
        following = self.norm(self.following(padded).transpose(1, 2))
        both = F.gelu(self.dense(torch.cat([hidden, following], dim=-1)))
        result: Tensor = self.out_proj(self.dropout(both))
        return result


class LastToken(nn.Module):
    """The hidden state of the last token that counts, as published."""

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        """(B, L, D) hidden states and (B, L) bool, which of them count, to (B, D)."""
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        rows = torch.arange(len(hidden), device=hidden.device)
        return hidden[rows, (positions * counted).amax(1)]


class MeanOfTokens(nn.Module):
    """The mean hidden state of the tokens that count; arguments as `LastToken.forward`."""

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        weights = counted.to(hidden.dtype)[:, None]
        mean: Tensor = (weights @ hidden)[:, 0] / weights.sum(2).clamp_min(1)
        return mean


class AttentionPool(nn.Module):
    """Their mean under softmax(hidden @ query) with a learnt query; likewise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        scores = self.query(hidden)[..., 0].float()
        scores = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
        mean: Tensor = (scores.softmax(1).to(hidden.dtype)[:, None] @ hidden)[:, 0]
        return mean


class PositionPool(nn.Module):
    """Their mean with a learnt weight for each position and channel, 1 at the start; likewise.

    Args:
        width: channels of a hidden state.
        length: tokens of every sequence.
    """

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(length, width))

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        if hidden.shape[1] != len(self.weight):
            raise InputError(
                "forward",
                f"{hidden.shape[1]} tokens",
                f"the positions of {len(self.weight)} tokens have weights",
                "give sequences of that length, or pool by mean or attention",
            )
        weights = self.weight.to(hidden.dtype) * counted.to(hidden.dtype)[..., None]
        mean: Tensor = (weights * hidden).sum(1) / counted.sum(1, keepdim=True).clamp_min(1)
        return mean


def make_head(config: PreTrainedConfig, width: int, *, bias: bool) -> nn.Module:
    """The head that `config` asks for, on hidden states of `width` channels.

    Args:
        config: `head`, `head_dropout`, `num_labels` and, for the lookahead head, `lookahead` are
            read.
        width: channels of a hidden state.
        bias: of the linear head.
    """
    if config.head == "electra":
        return ElectraHead(width, config.num_labels, config.head_dropout)
    if config.head == "lookahead":
        return LookaheadHead(width, config.lookahead, config.num_labels, config.head_dropout)
    return nn.Linear(width, config.num_labels, bias=bias)


def make_composition_embedding(config: PreTrainedConfig, width: int) -> CompositionEmbedding | None:
    """Return the embedding of the flank composition, or None if `config` has no such input."""
    return CompositionEmbedding(width) if config.flank_composition else None


def make_pool(config: PreTrainedConfig, width: int) -> nn.Module | None:
    """What makes one hidden state of a sequence's; None for a classifier of bases."""
    if config.pooling is None:
        return None
    if config.pooling == "attention":
        return AttentionPool(width)
    if config.pooling == "position":
        return PositionPool(width, config.pooled_length)
    return MeanOfTokens() if config.pooling == "mean" else LastToken()


def kind_of(config: PreTrainedConfig) -> Kind:
    """What a classifier with this configuration labels."""
    return "base" if config.pooling is None else "sequence"


def counted_tokens(config: PreTrainedConfig, hidden: Tensor, input_ids: Tensor | None) -> Tensor:
    """(B, L) bool, True where a token is not padding.

    Embeddings without ids are taken to have none, since it cannot be told.
    """
    if input_ids is None or config.pad_token_id is None:
        return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    counted: Tensor = input_ids != config.pad_token_id
    return counted


def label_hidden(classifier: Any, hidden: Tensor, input_ids: Tensor | None) -> Tensor:
    """Logits from the last hidden state, by the classifier's own `pool` and `score`.

    Args:
        classifier: a model with `config`, `score` and `pool`.
        hidden: (B, L, D).
        input_ids: (B, L), where known.

    Returns:
        float32, (B, L, num_labels) per base or (B, num_labels) per sequence.
    """
    if classifier.pool is not None:
        hidden = classifier.pool(hidden, counted_tokens(classifier.config, hidden, input_ids))
    logits: Tensor = classifier.score(hidden)
    return logits.float()


def label_loss(config: PreTrainedConfig, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss that a classifier computes by itself.

    Args:
        config: `num_labels`, `class_weights` and the kind of labels are read.
        logits: (B, L, C) or (B, C).
        labels: (B, L) classes of bases, -100 is ignored. For sequences (B,) classes; numbers when
            there is one label (mean squared error); or (B, C) float, several classes at once
            (binary cross-entropy).
    """
    if kind_of(config) == "sequence" and config.num_labels == 1:
        return F.mse_loss(logits[:, 0], labels.flatten().float())
    if kind_of(config) == "sequence" and labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    weights = config.class_weights
    return F.cross_entropy(
        logits.flatten(0, -2),
        labels.flatten().long(),
        weight=None if weights is None else logits.new_tensor(weights),
        ignore_index=-100,
    )
