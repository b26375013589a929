"""Dispersive loss against a double loop."""

from __future__ import annotations

import math

import pytest
import torch
from signal_steps import made_up

from sadm.core.errors import UserError
from sadm.signals import DispersiveSignal, dispersive_loss


def by_hand(rows: list[list[float]], temperature: float) -> tuple[float, list[list[float]]]:
    """The loss, and its gradient from the formula: -4 / (temperature D) sum_j p_ij (z_i - z_j), p a softmax over all pairs."""
    size = len(rows[0])
    affinity = [
        [math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / (size * temperature)) for b in rows]
        for a in rows
    ]
    total = sum(map(sum, affinity))
    gradient = [
        [
            -4 / (temperature * size) * sum(p / total * (a[d] - b[d]) for p, b in zip(line, rows, strict=True))
            for d in range(size)
        ]
        for line, a in zip(affinity, rows, strict=True)
    ]
    return math.log(total / len(rows) ** 2), gradient


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_value_and_gradient_against_a_loop(dtype, rtol, temperature) -> None:
    z = torch.randn(6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)
    denoised, g_dsm = made_up(dtype=dtype, **{"blocks.1": z})
    step = DispersiveSignal("blocks.1", weight=0.25, temperature=temperature)(denoised, g_dsm)
    loss, gradient = by_hand(z.flatten(1).tolist(), temperature)
    assert step.gradient is None
    assert float(step.log["dispersive"]) == pytest.approx(loss, rel=rtol)
    expected = 0.25 * torch.tensor(gradient, dtype=torch.float64).reshape(6, 3, 4)
    torch.testing.assert_close(step.taps["blocks.1"].double(), expected, rtol=rtol, atol=rtol * 1e-2)
    assert step.taps["blocks.1"].dtype == dtype


def test_it_lies_between_minus_log_batch_and_zero() -> None:
    alike, apart = torch.ones(5, 7), 1e3 * torch.eye(5)
    assert float(dispersive_loss(alike)) == pytest.approx(0.0, abs=1e-6)
    assert float(dispersive_loss(apart)) == pytest.approx(-math.log(5), rel=1e-6)


def test_a_common_offset_costs_no_digits() -> None:
    z = 0.1 * torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    shifted = (z + 100).requires_grad_()  # rounds z itself to about 4e-6
    (found,) = torch.autograd.grad(dispersive_loss(shifted), shifted)
    exact = shifted.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(dispersive_loss(exact), exact)
    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=1e-8)


def test_descending_it_spreads_what_lies_together() -> None:
    z = 0.01 * torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    spread = torch.pdist(z).mean()
    for _ in range(200):
        z.requires_grad_()
        (gradient,) = torch.autograd.grad(dispersive_loss(z), z)
        z = (z - 0.5 * gradient).detach()
    assert torch.pdist(z).mean() > 20 * spread


def test_half_precision_activations_and_autocast() -> None:
    z = torch.randn(6, 12, generator=torch.Generator().manual_seed(0)).bfloat16()
    signal, step = DispersiveSignal("b"), made_up(b=z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = signal(*step)
    assert found.taps["b"].dtype == torch.bfloat16
    assert float(found.log["dispersive"]) == pytest.approx(by_hand(z.double().tolist(), 0.5)[0], rel=1e-5)


def test_what_can_not_work_is_refused() -> None:
    with pytest.raises(UserError, match="holds 1 image. Use a larger batch"):
        DispersiveSignal("b")(*made_up(batch=1, b=torch.zeros(1, 2)))
    with pytest.raises(UserError, match="weight >= 0 and a temperature > 0, got -1 and 0.5"):
        DispersiveSignal("b", weight=-1)
    with pytest.raises(UserError, match="got 0.5 and 0"):
        DispersiveSignal("b", temperature=0)
    with pytest.raises(ValueError, match="needs the activation of 'b'"):
        DispersiveSignal("b")(*made_up())
