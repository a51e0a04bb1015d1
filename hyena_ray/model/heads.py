"""Heads and pools: modules between hidden states and labels, common to all classifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.errors import InputError
from hyena_ray.genome.signal_scale import TRACK_NAME
from hyena_ray.model.input_tracks import TrackEmbedding, track_channels

HEAD_PREFIXES = ("score.", "pool.", "tracks.")
"""Prefixes of the weights that belong to a classifier's head, or to its input next to the tokens:
`tracks` embeds the tracks. No published backbone has them."""


class ElectraHead(nn.Module):
    """dense, GELU, dropout, projection; (..., width) to (..., num_labels).

    Args:
        width: Channels of a hidden state.
        num_labels: Classes.
        dropout: Probability of dropping a channel before the projection.
    """

    def __init__(self, width: int, num_labels: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = nn.Linear(width, num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.out_proj(self.dropout(F.gelu(self.dense(hidden))))
        return result


class LookaheadHead(nn.Module):
    """A head of bases for a causal backbone that sees the next positions too.

    Next to the hidden state of position i it reads a sum of those of i to i + lookahead, with a
    weight for each channel and distance; then dense, GELU, dropout and projection.

    Args:
        width: Channels of a hidden state.
        lookahead: Positions further right that are read.
        num_labels: Classes.
        dropout: Probability of dropping a channel before the projection.

    Reference: the row convolution of Amodei et al. 2016 (Deep Speech 2), section 3.4.
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
        """Map hidden states to logits; past the last position there is nothing.

        Args:
            hidden: Shape (B, L, width).

        Returns:
            Shape (B, L, num_labels).
        """
        padded = F.pad(hidden.transpose(1, 2), (0, self.lookahead))
        following = self.norm(self.following(padded).transpose(1, 2))
        both = F.gelu(self.dense(torch.cat([hidden, following], dim=-1)))
        result: Tensor = self.out_proj(self.dropout(both))
        return result


class LastToken(nn.Module):
    """The hidden state of the last token that counts, as published."""

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        """Reduce the hidden states of a sequence to one.

        Args:
            hidden: Shape (B, L, D).
            counted: True where a token counts, shape (B, L), bool.

        Returns:
            Shape (B, D).
        """
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
    """The mean hidden state under softmax(hidden @ query) with a learnt query.

    Arguments of `forward` as `LastToken.forward`.

    Args:
        width: Channels of a hidden state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, counted: Tensor) -> Tensor:
        scores = self.query(hidden)[..., 0].float()
        scores = scores.masked_fill(~counted, torch.finfo(scores.dtype).min)
        mean: Tensor = (scores.softmax(1).to(hidden.dtype)[:, None] @ hidden)[:, 0]
        return mean


class PositionPool(nn.Module):
    """The mean hidden state with a learnt weight for each position and channel, 1 at the start.

    Arguments of `forward` as `LastToken.forward`.

    Args:
        width: Channels of a hidden state.
        length: Tokens of every sequence.
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


def make_head(config: Any, width: int, *, bias: bool) -> nn.Module:
    """Build the head that a configuration asks for.

    Args:
        config: Configuration with `head`, `head_dropout`, `num_labels` and, for the lookahead head,
            `lookahead`.
        width: Channels of a hidden state.
        bias: Whether the linear head has a bias.
    """
    if config.head == "electra":
        return ElectraHead(width, config.num_labels, config.head_dropout)
    if config.head == "lookahead":
        return LookaheadHead(width, config.lookahead, config.num_labels, config.head_dropout)
    return nn.Linear(width, config.num_labels, bias=bias)


def make_pool(config: Any, width: int) -> nn.Module | None:
    """Build the pool that a configuration asks for; None for a classifier of bases.

    Args:
        config: Configuration with `pooling` and `pooled_length`.
        width: Channels of a hidden state.
    """
    if config.pooling is None:
        return None
    if config.pooling == "attention":
        return AttentionPool(width)
    if config.pooling == "position":
        return PositionPool(width, config.pooled_length)
    return MeanOfTokens() if config.pooling == "mean" else LastToken()


def make_track_embedding(config: Any, width: int) -> TrackEmbedding | None:
    """Build the embedding of the tracks; None for a model that reads none.

    Args:
        config: Configuration with `tracks`.
        width: Channels of a token embedding.

    Raises:
        InputError: A track is unknown.
    """
    check_track_names(config.tracks)
    return TrackEmbedding(len(track_channels(config.tracks)), width) if config.tracks else None


def check_track_names(names: Sequence[str]) -> None:
    """Refuse what can be no names of tracks.

    Args:
        names: Value of `tracks` in a configuration.

    Raises:
        InputError: A name has another form, or is given twice.
    """
    for name in names:
        if not re.fullmatch(TRACK_NAME, name):
            problem = "no name of a track, which has small letters, digits and _"
            raise InputError("config: tracks", name, problem, "correct it")
    if len(set(names)) < len(names):
        raise InputError("config: tracks", ",".join(names), "one is named twice", "drop it")
