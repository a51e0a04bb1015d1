"""The Hyena operator of order 2: y = out((conv(x1 * v) + bias * x1 * v) * x0).

x0, x1 and v are projections of the input after a short causal depthwise convolution; conv is the
long convolution with the layer's implicit filters.  Activations are time-major, (L, B, D), outside
and channel-major, (D, L, B), inside: between the two only matrix products stand, which read and
write either without a copy.
Reference: Poli et al. 2023, definition 3.1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hyena_ray.model.configuration import HyenaFields
from hyena_ray.model.convolution import ALL, convolve, method_for, prepare_filters
from hyena_ray.model.filters import HyenaFilter


class ChannelMajorLinear(nn.Linear):
    """nn.Linear whose result (..., out) is stored in memory as (out, ...).

    A module with the shapes of nn.Linear, so that adapters can wrap it.
    """

    def forward(self, x: Tensor) -> Tensor:
        product = torch.addmm(self.bias[:, None], self.weight, x.flatten(0, -2).T)
        return product.T.view(*x.shape[:-1], self.out_features)


class ResidualLinear(nn.Linear):
    """nn.Linear whose result is added to the residual stream; its initial weights are smaller."""


class _ShortConvolution(torch.autograd.Function):
    """Depthwise causal convolution along axis 1 of (C, L, B), as shifted multiply-adds.

    torch's conv1d would transpose, and its backward takes two to three times as long (CPU).
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(u, weight)
        taps = weight[:, 0, :, None, None]
        y = torch.addcmul(bias[:, None, None], u, taps[:, -1])
        for delay in range(1, taps.shape[1]):
            y[:, delay:].addcmul_(u[:, :-delay], taps[:, -1 - delay])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        u, weight = ctx.saved_tensors
        u = u.to(gradient.dtype)  # differs under autocast
        taps = weight[:, 0, :, None, None]
        length, delays = u.shape[1], range(taps.shape[1])
        to_u = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_u = gradient * taps[:, -1]
            for delay in delays[1:]:
                to_u[:, :-delay].addcmul_(gradient[:, delay:], taps[:, -1 - delay])
        if ctx.needs_input_grad[1]:
            by_delay = [
                torch.linalg.vecdot(
                    gradient[:, delay:].flatten(1), u[:, : max(length - delay, 0)].flatten(1)
                )
                for delay in delays
            ]
            to_weight = torch.stack(by_delay[::-1], dim=1)[:, None]
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum((1, 2))
        return to_u, to_weight, to_bias


def short_convolution(u: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve every channel with its own few taps, causally.

    Args:
        u: Input, shape (C, L, B).
        weight: Taps, shape (C, 1, K), the last for the position itself, as nn.Conv1d has it.
        bias: Shape (C,).

    Returns:
        Shape (C, L, B).
    """
    y: Tensor = _ShortConvolution.apply(u, weight, bias)  # type: ignore[no-untyped-call]
    return y


class TokenLookup(NamedTuple):
    """A sequence of rows of a small table: position (t, b) is table[ids[t, b]]."""

    ids: Tensor
    """Row numbers, shape (L, B), int64."""
    table: Tensor
    """Rows, shape (V, D)."""


def short_convolution_from_lookup(lookup: TokenLookup, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute `short_convolution` of a sequence as one product with its one-hot encoding.

    Args:
        lookup: A sequence with a table of shape (V, C).
        weight: Taps, shape (C, 1, K), the last for the position itself.
        bias: Shape (C,).

    Returns:
        Shape (C, L, B).
    """
    ids, table = lookup
    alphabet = torch.arange(len(table), device=ids.device)
    one_hot = (ids == alphabet[:, None, None]).to(table.dtype)
    delayed = [F.pad(one_hot, (0, 0, d, 0))[:, : len(ids)] for d in range(weight.shape[2])]
    by_delay = (weight[:, 0].flip(1)[:, :, None] * table.T[:, None]).flatten(1)
    product = torch.addmm(bias[:, None], by_delay, torch.cat(delayed).flatten(1))
    return product.view(-1, *ids.shape)


class LowRankConvolution(nn.Module):
    """Causal convolution of all channels with all, through `rank` inner ones; 0 at the start.

    Args:
        channels: Channels of input and output.
        rank: Inner channels.
        taps: Taps of every filter.
    """

    def __init__(self, channels: int, rank: int, taps: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(channels * taps)
        self.down = nn.Parameter(torch.empty(taps, rank, channels).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.zeros(channels, rank))

    def forward(self, u: Tensor) -> Tensor:
        """Convolve; the last tap is for the position itself.

        Args:
            u: Input, shape (C, L, B).

        Returns:
            The same shape.
        """
        taps, length = len(self.down), u.shape[1]
        by_tap = (self.down @ u.flatten(1)).view(taps, -1, *u.shape[1:])
        delayed = [F.pad(by_tap[-1 - d], (0, 0, d, 0))[:, :length] for d in range(taps)]
        inner = torch.stack(delayed).sum(0)
        # Matrix products, since autocast does not know torch.tensordot.
        return (self.up @ inner.flatten(1)).view(-1, *inner.shape[1:])


class ShortFilter(nn.Conv1d):
    """The depthwise convolution before the gates, with the weights of nn.Conv1d.

    `across`, where there is one, is a correction of low rank that mixes channels, which depthwise
    weights cannot hold; it comes from LoRA (lora.py).

    Args:
        config: Sizes of the model.
    """

    bias: Tensor

    def __init__(self, config: HyenaFields) -> None:
        width, rank = 3 * config.d_model, config.short_filter_rank
        super().__init__(width, width, config.short_filter_order, groups=width)
        self.across: LowRankConvolution | None = None
        if rank:
            self.across = LowRankConvolution(width, rank, config.short_filter_order)

    def forward(self, u: Tensor) -> Tensor:
        """Filter activations.

        Args:
            u: Activations, shape (C, L, B).

        Returns:
            The same shape.
        """
        y = short_convolution(u, self.weight, self.bias)
        return y if self.across is None else y + self.across(u)


class HyenaOperator(nn.Module):
    """Causal mixer along time.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.in_proj = ChannelMajorLinear(config.d_model, 3 * config.d_model)
        self.short_filter = ShortFilter(config)
        self.filter_fn = HyenaFilter(config)
        self.out_proj = ResidualLinear(config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.hyena_dropout)

    def forward(self, hidden: Tensor, positions: slice = ALL) -> Tensor:
        """Mix activations along time.

        Args:
            hidden: Activations, shape (L, B, D).
            positions: Positions whose result is wanted.

        Returns:
            Shape (P, B, D).
        """
        return self._mix(self.short_filter(self.in_proj(hidden).permute(2, 0, 1)), positions)

    @property
    def supports_token_lookup(self) -> bool:
        """True where `forward_from_lookup` equals `forward`.

        It does not with adapters, which drop out by position or mix channels before the gates.
        """
        plain = type(self.in_proj) is ChannelMajorLinear and type(self.short_filter) is ShortFilter
        return plain and self.short_filter.across is None

    def forward_from_lookup(self, lookup: TokenLookup, positions: slice = ALL) -> Tensor:
        """Compute what `forward` does, projecting the table instead of every position.

        Args:
            lookup: The table and row numbers that the activations came from.
            positions: Positions whose result is wanted.

        Returns:
            Shape (P, B, D).
        """
        projected = TokenLookup(lookup.ids, self.in_proj(lookup.table))
        filter_ = self.short_filter
        filtered = short_convolution_from_lookup(projected, filter_.weight, filter_.bias)
        return self._mix(filtered, positions)

    def _mix(self, filtered: Tensor, positions: slice) -> Tensor:
        """Apply gates and the long convolution: (3 D, L, B) to (P, B, D)."""
        length, x0, x1, v = filtered.shape[1], *filtered.chunk(3)
        v = self.dropout(v * x1)
        method = method_for(length, v.device)
        filters = self.filter_fn.cache.get(
            (length, method), lambda: prepare_filters(self.filter_fn(length), method)
        )
        mixed = convolve(v, filters, method, positions).to(v.dtype)
        v, x0 = v[:, positions], x0[:, positions]
        gated = torch.addcmul(mixed, v, self.filter_fn.bias.to(v.dtype)[:, None, None]) * x0
        result: Tensor = self.out_proj(gated.flatten(1).T).view(*gated.shape[1:], -1)
        return result
