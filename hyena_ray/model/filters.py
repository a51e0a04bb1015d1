"""The long filters of Hyena: a small MLP of the time step, times a decaying window.

h(t) = MLP(z(t)) * (exp(-t |delta|) + 0.05), always in float32 or better: bfloat16 merges the 1,026
time steps of tiny-1k into 513 values.
Reference: Poli et al. 2023, section 3.3; Nguyen et al. 2023 for the constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from hyena_ray.model.configuration import HyenaFields

SHIFT = 0.05
"""Floor of the window, so that no filter dies away."""


class Sine(nn.Module):
    """sin(freq * x) with one frequency per feature; one instance serves a whole filter MLP.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.initial = float(config.activation_freq)
        freq = torch.full((1, config.filter_order), self.initial)
        if config.train_freq:
            self.freq = nn.Parameter(freq)
        else:
            self.register_buffer("freq", freq, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class TimeFeatures(nn.Module):
    """The buffers t (1, max_seq_len, 1) in [0, 1] and z (1, max_seq_len, emb_dim): t, cos, sin.

    Args:
        config: Sizes of the model.
    """

    t: Tensor
    z: Tensor

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.config = config
        t, z = self.initial()
        self.register_buffer("t", t)
        self.register_buffer("z", z)

    def initial(self) -> tuple[Tensor, Tensor]:
        """Return the features t and z as published."""
        steps, bands = self.config.max_seq_len, (self.config.emb_dim - 1) // 2
        # On the CPU in float32 even while transformers builds a model without memory.
        with torch.device("cpu"):
            t = torch.linspace(0, 1, steps, dtype=torch.float32)[None, :, None]
            angle = 2 * math.pi * torch.arange(steps, dtype=torch.float32)[None, :, None] / steps
            phase = angle * torch.linspace(1e-4, bands - 1, bands, dtype=torch.float32)
        return t, torch.cat([t, phase.cos(), -phase.sin()], dim=-1)


class DecayWindow(nn.Module):
    """The buffer deltas (1, 1, d_model): decay rates, from slow to fast channels.

    Args:
        config: Sizes of the model.
    """

    deltas: Tensor

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("deltas", self.initial())

    def initial(self) -> Tensor:
        """Return the rates at which channels decay to 1 %; negative, as published.

        They do so after `slow_decay` to `fast_decay` of the longest input.
        """
        config = self.config
        fractions = config.slow_decay, config.fast_decay
        slow, fast = (-math.log(1e-2) / fraction for fraction in fractions)
        with torch.device("cpu"):
            if config.decay_spacing == "log":
                rates = torch.logspace(math.log10(slow), math.log10(fast), config.d_model)
            else:
                rates = torch.linspace(slow, fast, config.d_model)
        return -rates.float()[None, None]


class HyenaFilter(nn.Module):
    """The filters of one layer, and the bias of its long convolution.

    Args:
        config: Sizes of the model.
    """

    # The entries of a filter MLP share one Sine, so its frequency has several names; transformers
    # writes the first of them, and reads whichever a file holds.
    _tied_weights_keys: ClassVar = {
        r"implicit_filter\.(?!1\.)\d+\.freq": r"implicit_filter\.1\.freq"
    }

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        width, sine = config.filter_order, Sine(config)
        layers: list[nn.Module] = [nn.Linear(config.emb_dim, width), sine]
        for _ in range(config.num_inner_mlps):
            layers += [nn.Linear(width, width), sine]
        layers.append(nn.Linear(width, config.d_model, bias=False))
        self.bias = nn.Parameter(torch.randn(config.d_model))
        self.implicit_filter = nn.Sequential(*layers)
        self.pos_emb = TimeFeatures(config)
        self.modulation = DecayWindow(config)
        self.cache = FilterCache()

    def forward(self, length: int) -> Tensor:
        """Compute the first taps of every channel's filter.

        Args:
            length: Number of taps.

        Returns:
            Shape (d_model, length), float32.
        """
        t, z = self.pos_emb.t[0, :length], self.pos_emb.z[0, :length]
        with torch.autocast(t.device.type, enabled=False):
            window = torch.exp(-t * self.modulation.deltas[0].abs()) + SHIFT
            taps: Tensor = self.implicit_filter(z) * window
        return taps.T

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the filters, but never round them: `.bfloat16()` leaves them in float32."""

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            rounded = result.is_floating_point() and torch.finfo(result.dtype).bits < 32
            return tensor.to(result.device) if rounded else result

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self


class FilterCache:
    """Filters prepared for convolution, cached inside `frozen_filters`.

    One is kept for each length, because CUDA graphs read it at a fixed address.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._values: dict[tuple[Any, ...], Tensor] = {}

    def get(self, key: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        """Return `make()`, or its result for the same key.

        Args:
            key: Everything but the weights that the result depends on.
            make: Computes the result.
        """
        if not self.is_on:
            return make()
        # What inference mode makes cannot take part in a gradient later.
        key = (*key, torch.is_inference_mode_enabled())
        kept = self._values.get(key)
        if kept is None:
            kept = make()
            if not kept.requires_grad:  # otherwise its weights are trained after all
                self._values[key] = kept
        return kept

    def clear(self) -> None:
        """Forget all results."""
        self._values.clear()


@contextmanager
def frozen_filters(model: nn.Module) -> Iterator[None]:
    """Compute the long filters of a model once for each length, while none of its weights changes.

    A weight that is changed inside is not noticed: enter it anew after every change. Filters whose
    weights are trained inside are computed at every pass.

    Args:
        model: Any module; without Hyena operators there is nothing to keep.

    Example:
        >>> from hyena_ray.model.huggingface import HyenaDNAConfig, HyenaDNAModel
        >>> model = HyenaDNAModel(HyenaDNAConfig(d_model=8, d_inner=16, n_layer=1)).eval()
        >>> with torch.inference_mode(), frozen_filters(model):
        ...     for batch in (torch.full((2, 6), 7), torch.full((2, 6), 8)):
        ...         states = model(batch).last_hidden_state
    """
    filters = [module for module in model.modules() if isinstance(module, HyenaFilter)]
    caches = [module.cache for module in filters if not module.cache.is_on]
    for cache in caches:
        cache.is_on = True
    try:
        yield
    finally:
        for cache in caches:
            cache.is_on = False
            cache.clear()
