"""Energy distance, against loops and what is known of distributions."""

from __future__ import annotations

import math

import pytest
import torch

from sadm.structure import StructureError, energy_distance


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(real: list[list[float]], other: list[list[float]]) -> float:
    def mean(first: list[list[float]], second: list[list[float]], same: bool) -> float:
        pairs = [(a, b) for i, a in enumerate(first) for j, b in enumerate(second) if not (same and i == j)]
        return sum(math.dist(a, b) for a, b in pairs) / len(pairs)

    within = mean(real, real, True)
    return (2 * mean(real, other, False) - within - mean(other, other, True)) / within


def test_value_against_a_loop_and_gradient_against_differences() -> None:
    real, other = normal(0, 6, 3), 1 + normal(1, 4, 3)
    leaf = other.clone().requires_grad_()
    distance = energy_distance(real, leaf)
    assert float(distance.detach()) == pytest.approx(by_hand(real.tolist(), other.tolist()), rel=1e-12)
    (gradient,) = torch.autograd.grad(distance, leaf)
    for place in [(0, 0), (3, 2)]:
        moved = [other.clone(), other.clone()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        slope = (by_hand(real.tolist(), moved[0].tolist()) - by_hand(real.tolist(), moved[1].tolist())) / 2e-6
        assert float(gradient[place]) == pytest.approx(slope, rel=1e-6)


def test_equal_distributions_are_near_zero_and_others_are_not() -> None:
    real = normal(0, 2000, 2)
    assert abs(float(energy_distance(real, normal(1, 2000, 2)))) < 0.005
    assert float(energy_distance(real, 0.5 * normal(1, 2000, 2))) > 0.05
    assert float(energy_distance(real, normal(1, 2000, 2) + 0.5)) > 0.05


def test_order_and_common_scale_do_not_matter() -> None:
    real, other = normal(0, 8, 3), normal(1, 8, 3)
    expected = energy_distance(real, other)
    torch.testing.assert_close(energy_distance(real.flip(0), other.roll(3, 0)), expected)
    torch.testing.assert_close(energy_distance(5 * real, 5 * other), expected)


def test_samples_that_coincide_have_a_gradient_and_half_precision_a_value() -> None:
    leaf = torch.zeros(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy_distance(normal(0, 5, 3).float(), leaf), leaf)
    assert torch.isfinite(gradient).all()
    assert energy_distance(normal(0, 5, 3).half(), normal(1, 5, 3).half()).dtype == torch.float32


def test_what_can_not_be_compared_is_refused() -> None:
    with pytest.raises(StructureError, match=r"got \(3, 2\) and \(3, 4\)"):
        energy_distance(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(StructureError, match="at least 2 images of a kind, got 3 and 1"):
        energy_distance(torch.zeros(3, 2), torch.zeros(1, 2))
    with pytest.raises(StructureError, match="all real ones coincide"):
        energy_distance(torch.ones(3, 2), torch.zeros(3, 2))
    with pytest.raises(StructureError, match="NaN or infinite"):
        energy_distance(normal(0, 3, 2), torch.full((3, 2), torch.nan, dtype=torch.float64))
