"""The shorter GELU against its definition, and torch's own where the shorter way does not apply."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from sadm.core.conditions import Cond
from sadm.models import DiT
from sadm.models.gelu import CHUNK, gelu_tanh


def defined(x: torch.Tensor) -> torch.Tensor:
    """The formula, in float64."""
    x = x.double()
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("shape", [(7,), (3, 5, 11), (3, CHUNK // 2 + 1), (0, 4)])
def test_value_and_derivative_follow_the_formula(shape: tuple[int, ...]) -> None:
    draws = torch.Generator().manual_seed(0)
    x = (4 * torch.randn(shape, generator=draws)).requires_grad_()
    gradient = torch.randn(shape, generator=draws)
    (found,) = torch.autograd.grad(gelu_tanh(x), x, gradient)
    (wanted,) = torch.autograd.grad(defined(x), x, gradient.double())
    torch.testing.assert_close(gelu_tanh(x).double(), defined(x), rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(found.double(), wanted.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_far_out_it_is_the_identity_or_zero(value: float) -> None:
    x = torch.tensor([value], requires_grad=True)
    (slope,) = torch.autograd.grad(gelu_tanh(x).sum(), x)
    assert gelu_tanh(x).item() == pytest.approx(max(value, 0.0), abs=1e-6)
    assert slope.item() == pytest.approx({True: 1.0, False: 0.0}[value > 0] if value else 0.5, abs=1e-6)


def test_without_gradients_the_value_is_the_same() -> None:
    x = torch.randn(9, 13, requires_grad=True)
    with torch.no_grad():
        alone = gelu_tanh(x)
    assert not alone.requires_grad
    assert torch.equal(alone, gelu_tanh(x))


def test_other_dtypes_views_and_transforms_are_left_to_torch() -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    assert torch.equal(gelu_tanh(x), F.gelu(x, approximate="tanh"))
    view = torch.randn(4, 6).t()
    assert torch.equal(gelu_tanh(view), F.gelu(view, approximate="tanh"))
    single = torch.randn(5)
    _, slope = torch.func.jvp(gelu_tanh, (single,), (torch.ones(5),))
    torch.testing.assert_close(
        slope, torch.func.jvp(lambda z: F.gelu(z, approximate="tanh"), (single,), (torch.ones(5),))[1]
    )


def test_a_second_derivative_is_refused_with_the_way_out() -> None:
    x = torch.randn(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="twice_differentiable=True"):
        torch.autograd.grad(gelu_tanh(x).sum(), x, create_graph=True)
    net = DiT((1, 4, 4), width=8, depth=1, heads=2, twice_differentiable=True)
    net.final_layer.linear.weight.data.normal_()
    image = torch.randn(2, 1, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(net(image, torch.zeros(2), Cond()).square().sum(), image, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.square().sum(), image)
    assert curvature.abs().max() > 0


def test_what_is_traced_without_numbers_computes_all_of_them() -> None:
    """Beyond the first chunk, which stands for all where numbers are counted and not wanted."""
    x = torch.linspace(-4, 4, 2 * CHUNK * torch.get_num_threads() + 17)
    traced = make_fx(lambda values: gelu_tanh(values), tracing_mode="fake")(x)
    torch.testing.assert_close(traced(x), F.gelu(x, approximate="tanh"), rtol=1e-6, atol=1e-6)
