"""Statements 4 and 6d of docs/theory.md: Gaussian data and denoisers x0_hat = a x_t."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import dblquad, quad
from theory_oracles import D, normal, play_on, structure_part
from torch import nn

from sadm.structure import RELATIONS, structure_gap


def kappa(sigma: float) -> float:
    return 1 / (1 + sigma**2)


def independent_columns(count: int, columns: int, seed: int) -> torch.Tensor:
    """Exactly centred, of unit variance and uncorrelated, so that few points behave like many."""
    raw = normal(seed, count, columns)
    return torch.linalg.qr(raw - raw.mean(0))[0] * math.sqrt(count)


@pytest.mark.parametrize("dimension", [1, 3])
@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_the_euclidean_gap_is_least_at_the_flow_map_whatever_the_linear_encoder(dimension: int, sigma: float) -> None:
    columns = independent_columns(500, 2 * dimension, 1)
    x0, x_t = columns[:, :dimension], columns[:, :dimension] + sigma * columns[:, dimension:]
    weights = normal(2, dimension, 2)

    def gap(gain: float) -> float:
        return float(structure_gap(*RELATIONS["euclidean"](x0 @ weights, gain * x_t @ weights)))

    flow = math.sqrt(kappa(sigma))
    least = gap(flow)
    for factor in (0.8, 0.93, 1.07, 1.25):
        assert gap(factor * flow) > least
    assert gap(kappa(sigma)) > least


def test_the_gap_at_both_denoisers_is_the_formula() -> None:
    """Against expectations over the plane, and against the package."""
    sigma = 1.5
    rho = math.sqrt(kappa(sigma))  # correlation of x0_i - x0_j and x_t,i - x_t,j

    def density(y: float, x: float) -> float:
        return math.exp(-(x * x + y * y - 2 * rho * x * y) / (2 * (1 - rho**2))) / (2 * math.pi * math.sqrt(1 - rho**2))

    product, _ = dblquad(lambda y, x: abs(x * y) * density(y, x), -8, 8, -8, 8, epsabs=1e-6)
    h = 2 / math.pi * (math.sqrt(1 - rho**2) + rho * math.asin(rho))
    assert product == pytest.approx(h, abs=1e-5)
    columns = independent_columns(1200, 2, 4)
    x0, x_t = columns[:, :1], columns[:, :1] + sigma * columns[:, 1:]
    for gain in (kappa(sigma), math.sqrt(kappa(sigma))):
        q = gain * math.sqrt(1 + sigma**2)
        formula = 2 * math.pi * (1 + q**2 - 2 * q * product) / (1 + q) ** 2
        measured = float(structure_gap(*RELATIONS["euclidean"](x0, gain * x_t)))
        assert measured == pytest.approx(formula, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("above", [0.0, 0.7, 5.0])
def test_many_steps_widen_the_samples_by_the_stated_power(share: float, above: float) -> None:
    def growth(sigma: float) -> float:
        return share * (math.sqrt(kappa(sigma)) - kappa(sigma)) / sigma

    total = quad(growth, max(above, 1e-12), 1.0 + above)[0] + quad(growth, 1.0 + above, math.inf)[0]
    assert math.exp(total) == pytest.approx((1 + math.sqrt(kappa(above))) ** share, rel=1e-6)
    assert euler_spread(share, 6000, above) == pytest.approx((1 + math.sqrt(kappa(above))) ** share, rel=2e-3)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_one_step_from_high_noise_gives_the_share_itself(share: float) -> None:
    assert euler_spread(share, 1, 0.0) == pytest.approx(share, abs=2e-4)


def euler_spread(share: float, steps: int, above: float) -> float:
    """Standard deviation of samples, which stay Gaussian: each step multiplies them by a number."""
    levels = [1e4 * 1e-8 ** (step / max(1, steps - 1)) for step in range(steps)]
    spread = math.hypot(1, levels[0])
    for here, there in zip(levels, [*levels[1:], 0.0], strict=True):
        gain = kappa(here) + (share * (math.sqrt(kappa(here)) - kappa(here)) if here >= above else 0)
        spread *= 1 + (there - here) * (1 - gain) / here
    return spread


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.7, 0.75])
def test_the_balance_admits_the_whole_way_only_where_the_root_of_kappa_is_large(ratio: float) -> None:
    limit = ratio / math.sqrt(1 - ratio**2)
    for sigma in (0.05, 0.2, 0.5, 1.0, 1.7, 1.8, 4.0, 100.0):
        root = math.sqrt(kappa(sigma))
        way = math.sqrt(1 + sigma**2) * (root - kappa(sigma))  # of |x_t| sqrt(d), per coordinate
        deviation = sigma * root
        assert (way <= limit * deviation) == (root >= 1 - 2 * ratio**2)


def test_cosines_have_no_part_along_x0_hat() -> None:
    x0, x0_hat, weights = normal(1, 9, 5), normal(2, 9, 5), normal(3, 5, 4)
    game = play_on(nn.Sequential(nn.Flatten(), Linear(weights)))
    part = structure_part(game, x0, x0_hat)
    assert float(part.norm(dim=1).min()) > 0.1
    assert float(((part * x0_hat).sum(1) / x0_hat.norm(dim=1)).abs().max()) < 1e-12


def test_the_reflected_batch_cancels_what_cosines_do_to_the_posterior_mean() -> None:
    x0, noise = normal(1, 8, 5), normal(2, 8, 5)
    x0_hat = kappa(1.3) * (x0 + 1.3 * noise)
    axis = x0_hat[3] / x0_hat[3].norm()
    game = play_on(nn.Flatten())
    direct = structure_part(game, x0, x0_hat)[3]
    mirrored = [2 * (v @ axis)[:, None] * axis - v for v in (x0, x0_hat)]
    assert float(direct.norm()) > 0.1
    torch.testing.assert_close(structure_part(game, mirrored[0], mirrored[1])[3], -direct, rtol=0, atol=1e-12)


class Linear(nn.Module):
    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.to(D))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights
