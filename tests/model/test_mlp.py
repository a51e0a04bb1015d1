"""The MLP in parts is the MLP as it is written, whatever is differentiated and how it is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hyena_ray.model import mlp as mlp_module
from hyena_ray.model.huggingface import HyenaDNAConfig
from hyena_ray.model.mlp import PART, HyenaMLP

CONFIG = HyenaDNAConfig(d_model=8, d_inner=24)


def literal(mlp: HyenaMLP, x: Tensor) -> Tensor:
    hidden = F.linear(x, mlp.fc1.weight, mlp.fc1.bias)
    return F.linear(F.gelu(hidden, approximate="tanh"), mlp.fc2.weight, mlp.fc2.bias)


def an_mlp() -> HyenaMLP:
    torch.manual_seed(0)
    mlp = HyenaMLP(CONFIG)
    with torch.no_grad():
        for parameter in mlp.parameters():  # so that the activations leave GELU's linear part
            parameter.mul_(4)
    return mlp


@pytest.mark.parametrize("shape", [(8,), (1, 8), (PART, 8), (PART + 1, 8), (3, PART // 2, 8)])
def test_values_and_gradients_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    mlp, x = an_mlp(), torch.randn(shape, requires_grad=True)
    variables = [x, *mlp.parameters()]
    found, expected = mlp(x), literal(mlp, x)
    assert found.shape == x.shape
    torch.testing.assert_close(found, expected)
    towards = torch.randn(shape)
    for ours, theirs in zip(
        torch.autograd.grad(found, variables, towards),
        torch.autograd.grad(expected, variables, towards),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("learning", ["x", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_the_same(learning: str) -> None:
    mlp, x = an_mlp().requires_grad_(False), torch.randn(5, 8)
    variable = x if learning == "x" else mlp.get_parameter(learning)
    variable.requires_grad_()
    mlp(x).square().sum().backward()
    expected = torch.autograd.grad(literal(mlp, x).square().sum(), variable)[0]
    torch.testing.assert_close(variable.grad, expected, rtol=1e-4, atol=1e-5)
    others = [p for p in (x, *mlp.parameters()) if p is not variable]
    assert all(parameter.grad is None for parameter in others)


def test_slopes_are_computed_only_where_there_are_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = []
    gelu = mlp_module._gelu

    def spy(x: Tensor, slopes: Tensor) -> Tensor:
        computed.append(len(slopes))
        return gelu(x, slopes)

    monkeypatch.setattr(mlp_module, "_gelu", spy)
    mlp, x = an_mlp(), torch.randn(5, 8, requires_grad=True)
    with torch.no_grad():
        without = mlp(x)
    assert torch.equal(without, mlp(x))
    assert computed == [0, 5]


def test_under_autocast_products_are_rounded_and_weights_are_not() -> None:
    mlp, x = an_mlp(), torch.randn(300, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = mlp(x), literal(mlp, x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.1)
    found.float().sum().backward()
    assert {p.grad.dtype for p in mlp.parameters() if p.grad is not None} == {torch.float32}


def test_gradients_stand_finite_differences() -> None:
    mlp = an_mlp().double()
    x = torch.randn(3, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(mlp, x)
