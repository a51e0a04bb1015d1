"""Floating-point operations of a HyenaDNA model, and the bytes that they must move.

The counts cover the matrix products of the weights and the long convolutions, the latter by the
cheaper of Toeplitz product and FFT. Each operation reads its inputs and writes its output once;
norms, gates, activations and sums are taken to be part of them. A product in the backward pass
costs as much as one in the forward pass. Reading the weights and generating the filters is not
counted, since both happen once for a whole batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import nn

from hyena_ray.model.configuration import HyenaFields
from hyena_ray.model.devices import ACTIVATIONS
from hyena_ray.model.settings import Precision

FORWARD, GRADIENT, STEP = 1, 2, 3
"""Costs in forward passes: of the logits; with the gradient of the input; and with the gradient of
the weights too."""


class Cost(NamedTuple):
    """The least that some work takes."""

    flop: float
    """Floating-point operations."""
    bytes: float
    """Bytes that move through memory."""

    def times(self, count: float) -> Cost:
        """Return the cost of doing the work several times.

        Args:
            count: Number of times.
        """
        return Cost(self.flop * count, self.bytes * count)


class Work(NamedTuple):
    """The work of one run of a benchmark."""

    units: float
    """Units of work, such as windows."""
    cost: Cost
    """Cost of all units together."""


def flop_per_position(model: nn.Module) -> float:
    """Return the operations of the weights' matrix products per position of a forward pass.

    Args:
        model: HyenaDNA with any head. The embedding, which is a lookup, and the networks that
            generate the filters, which do not read the input, are not counted.
    """
    return 2.0 * sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and "filter_fn" not in name and "embeddings" not in name
    )


def convolution_flop(length: int, channels: int) -> float:
    """Return the operations of one long convolution of a sequence.

    Args:
        length: Positions of the sequence.
        channels: Channels of the sequence.
    """
    # One multiplication and one addition for each entry of the lower triangle.
    toeplitz = length * (length + 1)
    # A real transform of size N takes 2.5 N log2 N operations. There are a forward and an inverse
    # transform, and between them a complex product, of 6 operations, for every frequency.
    size = 2 * length
    fft = 5 * size * math.log2(size) + 6 * (length + 1)
    return channels * min(toeplitz, fft)


def pass_cost(
    model: nn.Module,
    config: HyenaFields,
    length: int,
    passes: int,
    precision: Precision = "float32",
) -> Cost:
    """Return the cost of one sequence's pass through a model.

    Args:
        model: HyenaDNA with any head.
        config: Sizes of the model.
        length: Positions of the sequence.
        passes: `FORWARD`, `GRADIENT` or `STEP`.
        precision: Arithmetic, which determines the bytes of an activation.
    """
    convolutions = config.n_layer * convolution_flop(length, config.d_model)
    flop = length * flop_per_position(model) + convolutions
    # Numbers that a layer reads and writes per position, with D channels and I inside the MLP: the
    # projection maps D to 3 D, gates and convolution 3 D to D, the rest D to D, D to I and I to D.
    floats = config.n_layer * (12 * config.d_model + 2 * config.d_inner)
    return Cost(flop, ACTIVATIONS[precision].itemsize * floats * length).times(passes)
