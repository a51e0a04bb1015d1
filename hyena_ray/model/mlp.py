"""The position-wise MLP of a HyenaDNA layer.

In: the residual stream, (..., d_model).  Out: what is added to it.  On the CPU positions pass
through in parts whose activations stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hyena_ray.model.configuration import HyenaFields
from hyena_ray.model.operator import ResidualLinear

PART = 512
"""Positions that are computed at once on the CPU: 512 activations of each fill a megabyte."""
_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


class HyenaMLP(nn.Module):
    """fc2(gelu(fc1(x))) with the tanh form of GELU.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: HyenaFields) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.d_model, config.d_inner)
        self.fc2 = ResidualLinear(config.d_inner, config.d_model)

    def forward(self, hidden: Tensor) -> Tensor:
        """Compute what is added to the residual stream.

        Args:
            hidden: The normed stream, shape (..., d_model).

        Returns:
            The same shape.
        """
        adapted = type(self.fc1) is not nn.Linear or type(self.fc2) is not ResidualLinear
        # In half the bits torch's own passes are quicker, and on a GPU they always are.
        rounded = torch.is_autocast_enabled(hidden.device.type)
        if adapted or rounded or hidden.device.type != "cpu":
            result: Tensor = self.fc2(F.gelu(self.fc1(hidden), approximate="tanh"))
            return result
        given: tuple[Tensor, ...] = (hidden, *self.fc1.parameters(), *self.fc2.parameters())
        if not torch.is_grad_enabled():  # a Function cannot tell, and would keep what it needs
            given = tuple(tensor.detach() for tensor in given)
        in_parts: Tensor = _MLP.apply(*given)  # type: ignore[no-untyped-call]
        return in_parts


class _MLP(torch.autograd.Function):
    """The MLP part by part.

    torch's gelu computes a tanh, four times as slow as the exponential of a sigmoid on a CPU, and
    its own passes over memory take as long as the matrix products between them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        result = torch.empty_like(rows)
        # Kept for the backward pass, each only where something needs it.
        slopes = rows.new_empty(len(rows) if any(ctx.needs_input_grad[:3]) else 0, len(b1))
        activations = rows.new_empty(len(rows) if ctx.needs_input_grad[3] else 0, len(b1))
        for part in _parts(len(rows)):
            active = _gelu(torch.addmm(b1, rows[part], w1.t()), slopes[part])
            torch.addmm(b2, active, w2.t(), out=result[part])
            activations[part] = active[: len(activations)]
        ctx.save_for_backward(rows, activations, slopes, w1, w2)
        return result.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, activations, slopes, w1, w2 = ctx.saved_tensors
        for_x, for_w1, for_b1, for_w2, for_b2 = ctx.needs_input_grad
        to_x = torch.empty_like(rows)
        to_w1, to_b1 = torch.zeros_like(w1), w1.new_zeros(len(w1))
        shape, gradient = gradient.shape, gradient.reshape(len(rows), -1)
        for part in _parts(len(slopes)):
            before = (gradient[part] @ w2).mul_(slopes[part])
            if for_x:
                torch.mm(before, w1, out=to_x[part])
            if for_w1:
                to_w1.addmm_(before.t(), rows[part])
            if for_b1:
                to_b1 += before.sum(0)
        return (
            to_x.view(shape) if for_x else None,
            to_w1 if for_w1 else None,
            to_b1 if for_b1 else None,
            gradient.t() @ activations if for_w2 else None,
            gradient.sum(0) if for_b2 else None,
        )


def _parts(count: int) -> Iterator[slice]:
    for first in range(0, count, PART):
        yield slice(first, min(first + PART, count))


def _gelu(x: Tensor, slopes: Tensor) -> Tensor:
    """Compute x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), and its slopes where wanted."""
    square = x * x
    gate = torch.addcmul(x, x, square, value=_CUBIC).mul_(_SLOPE).sigmoid_()
    result = x * gate
    if len(slopes):
        inner = square.mul_(3 * _CUBIC * _SLOPE).add_(_SLOPE)
        torch.addcmul(result, result, gate, value=-1, out=slopes).mul_(inner).add_(gate)
    return result
