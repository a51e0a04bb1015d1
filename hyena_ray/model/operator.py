"""The Hyena operator of order 2: y = out((conv(x1 * v) + bias * x1 * v) * x0).

x0, x1 and v are projections of the input after a short causal depthwise convolution; conv is the
long convolution with the layer's implicit filters.  Activations are time-major, (L, B, D), outside
and channel-major, (D, L, B), inside: between the two only matrix products stand, which read and
write either without a copy.
Source: Poli et al. 2023, definition 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hyena_ray.model.configuration import HyenaDNAConfig
from hyena_ray.model.convolution import convolve, method_for, prepare_filters
from hyena_ray.model.filters import FilterCache, HyenaFilter


class ChannelMajorLinear(nn.Linear):
    """nn.Linear whose result (..., out) lies in memory as (out, ...).

    A module with the shapes of nn.Linear, so that adapters can wrap it.
    """

    def forward(self, input: Tensor) -> Tensor:
        rows = input.reshape(-1, self.in_features)
        product = self.weight.to(rows.dtype) @ rows.T
        if self.bias is not None:
            product = product + self.bias.to(rows.dtype)[:, None]
        return product.T.view(*input.shape[:-1], self.out_features)


class HyenaOperator(nn.Module):
    """Mixes along time: (L, B, D) to (L, B, D), causal."""

    def __init__(self, config: HyenaDNAConfig) -> None:
        super().__init__()
        width = 3 * config.d_model
        self.in_proj = ChannelMajorLinear(config.d_model, width)
        self.short_filter = nn.Conv1d(width, width, config.short_filter_order, groups=width)
        self.filter_fn = HyenaFilter(config)
        self.out_proj = nn.Linear(config.d_model, config.d_model)
        self.dropout = nn.Dropout(config.hyena_dropout)
        self.cache = FilterCache()

    def forward(self, hidden: Tensor) -> Tensor:
        length = hidden.shape[0]
        projected = self.in_proj(hidden).permute(2, 0, 1)
        x0, x1, v = self._short_convolution(projected).chunk(3)
        v = self.dropout(v * x1)
        method = method_for(length, hidden.device)
        filters = self.cache.get(
            self.filter_fn,
            (length, method),
            lambda: prepare_filters(self.filter_fn(length), method),
        )
        mixed = convolve(v, filters, method).to(v.dtype)
        gated = torch.addcmul(mixed, v, self.filter_fn.bias.to(v.dtype)[:, None, None]) * x0
        result: Tensor = self.out_proj(gated.flatten(1).T).view(hidden.shape)
        return result

    def _short_convolution(self, projected: Tensor) -> Tensor:
        """Depthwise and causal along axis 1 of (3 D, L, B)."""
        taps = self.short_filter.weight
        padded = F.pad(projected, (0, 0, taps.shape[-1] - 1, 0))
        # conv2d with B as the second spatial axis: conv1d would transpose, and takes thrice as long.
        return F.conv2d(padded[None], taps[..., None], self.short_filter.bias, groups=len(taps))[0]
