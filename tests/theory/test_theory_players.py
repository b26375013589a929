"""Statements 5 and 6 of docs/theory.md: which fields are gradients, and the saddle point of the simplest game."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from theory_oracles import D, Encoder, Posteriors, normal, play_on, structure_part
from torch import nn

from sadm.structure import cosine_relations, structure_gap

B, LENGTH = 3, 2
X0, AT = normal(1, B, LENGTH), normal(2, B, LENGTH)


def gap_gradient(x0_hat: torch.Tensor) -> torch.Tensor:
    leaf, encoder = x0_hat.clone().requires_grad_(), Encoder(LENGTH, 5)
    gap = structure_gap(*cosine_relations(encoder(X0), encoder(leaf)))
    return torch.autograd.grad(gap, leaf)[0]


def jacobian(field: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    columns = []
    for index in range(AT.numel()):
        move = torch.zeros(AT.numel(), dtype=D)
        move[index] = 1e-5
        step = move.reshape(AT.shape)
        columns.append((field(AT + step) - field(AT - step)).flatten() / 2e-5)
    return torch.stack(columns, 1)


def asymmetry(matrix: torch.Tensor) -> float:
    return float((matrix - matrix.T).norm() / matrix.norm())


def test_a_fixed_weight_gives_a_gradient_field() -> None:
    assert asymmetry(jacobian(gap_gradient)) < 1e-8


def test_the_balanced_field_is_none_unless_every_image_is_at_its_limit() -> None:
    for k_max, least, most in ((math.inf, 0.1, 2.0), (0.01, 0.0, 1e-8)):
        game = play_on(Encoder(LENGTH, 5), k_max=k_max)
        assert least <= asymmetry(jacobian(lambda at, game=game: structure_part(game, X0, at))) < most


def test_a_weight_for_the_whole_batch_adds_the_stated_antisymmetric_part() -> None:
    def weight(at: torch.Tensor) -> torch.Tensor:
        return (at - X0).norm() / gap_gradient(at).norm()

    matrix = jacobian(lambda at: weight(at) * gap_gradient(at))
    slope = jacobian(weight).flatten()
    gradient = gap_gradient(AT).flatten()
    stated = torch.outer(gradient, slope) - torch.outer(slope, gradient)
    torch.testing.assert_close(matrix - matrix.T, stated, rtol=1e-5, atol=1e-7)
    assert asymmetry(matrix) > 0.1


def test_constant_weights_that_differ_between_images_leave_the_stated_blocks() -> None:
    k = torch.tensor([0.5, 1.0, 3.0], dtype=D)
    hessian = jacobian(gap_gradient)
    matrix = jacobian(lambda at: k[:, None] * gap_gradient(at))
    each = k.repeat_interleave(LENGTH)
    torch.testing.assert_close(matrix - matrix.T, (each[:, None] - each) * hessian, rtol=1e-6, atol=1e-8)
    assert asymmetry(matrix) > 0.1


def test_two_players_at_once_have_antisymmetric_cross_blocks() -> None:
    start = normal(6, LENGTH, 3)

    def steps(at: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leaf, weights = at.clone().requires_grad_(), w.clone().requires_grad_()
        gap = structure_gap(*cosine_relations((X0 @ weights).tanh(), (leaf @ weights).tanh()))
        down, up = torch.autograd.grad(gap, [leaf, weights])
        return down.flatten(), -up.flatten()

    def slopes(of: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
        columns = []
        for index in range(at.numel()):
            move = torch.zeros_like(at).flatten()
            move[index] = 1e-5
            columns.append((of(at + move.reshape(at.shape)) - of(at - move.reshape(at.shape))) / 2e-5)
        return torch.stack(columns, 1)

    across = slopes(lambda w: steps(AT, w)[0], start)  # [B d, weights]
    back = slopes(lambda at: steps(at, start)[1], AT)  # [weights, B d]
    torch.testing.assert_close(across, -back.T, rtol=1e-6, atol=1e-8)
    assert float(across.norm()) > 0.01


# ---- inner products of a linear encoder ------------------------------------------------------------------------------


def inner_products(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return e @ e.mT, e_hat @ e_hat.mT


@pytest.mark.parametrize("seed", [1, 2])
def test_the_posterior_mean_is_the_best_answer_to_every_linear_encoder(seed: int) -> None:
    """Two independent images, four possible x0 each; exact expectations; any change of either x0_hat makes it worse."""
    world = Posteriors(seed, images=2, choices=4)
    for trial in range(4):
        weights = normal(10 * seed + trial, LENGTH, 2)

        def expected(at: torch.Tensor, weights: torch.Tensor = weights) -> torch.Tensor:
            return world.expected(lambda x0: structure_gap(*inner_products(x0 @ weights, at @ weights)))

        leaf = world.mean.clone().requires_grad_()
        (slope,) = torch.autograd.grad(expected(leaf), leaf)
        assert float(slope.abs().max()) < 1e-10
        for other in range(5):
            assert expected(world.mean + normal(other, 2, LENGTH)) > expected(world.mean)


def test_balancing_image_by_image_moves_the_posterior_mean_by_the_stated_amount() -> None:
    game = play_on(nn.Flatten(), ratio=0.8, relation=inner_products)
    x0_hat = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=D)
    total = torch.zeros(2, dtype=D)
    for (u, odds), v in itertools.product([(-1.0, 1 / 3), (2.0, 1 / 6)], [-1.0, 1.0]):
        total += odds * structure_part(game, torch.tensor([[u, v], [1.0, 0.0]], dtype=D), x0_hat)[0]
    assert float(total[0].abs()) == pytest.approx(0.8 * (2 * math.sqrt(2) - math.sqrt(5)) / 3, rel=2e-3)
    assert abs(float(total[1])) < 1e-12


def test_the_formula_for_the_gap_of_gaussian_data_is_its_expectation() -> None:
    """Against the package on one large batch with exact second moments."""
    scales, sigma = torch.tensor([1.5, 0.7], dtype=D), 0.9
    raw = normal(1, 1500, 4)
    columns = torch.linalg.qr(raw - raw.mean(0))[0] * math.sqrt(1500)
    x0, x_t = columns[:, :2] * scales, columns[:, :2] * scales + sigma * columns[:, 2:]
    gains, weights = torch.tensor([0.6, 0.3], dtype=D), normal(3, 2, 2)
    measured = float(structure_gap(*inner_products(x0 @ weights.T, (gains * x_t) @ weights.T)))
    assert measured == pytest.approx(gap_value(scales.numpy(), sigma, gains.numpy(), weights.numpy()), rel=5e-3)


def gap_value(scales: np.ndarray, sigma: float, gains: np.ndarray, weights: np.ndarray) -> float:
    """``|W S W'|^2 - 2 |W C W'|^2 + |W T W'|^2`` with the second moments of x0, of x0 with x0_hat, and of x0_hat."""
    moments = [scales**2, gains * scales**2, gains**2 * (scales**2 + sigma**2)]
    sizes = [
        float(((weights * moment) @ weights.T).ravel() @ ((weights * moment) @ weights.T).ravel()) for moment in moments
    ]
    return sizes[0] - 2 * sizes[1] + sizes[2]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_the_encoders_best_answer_is_the_leading_direction(sigma: float) -> None:
    """By numerical maximisation from many starts over all encoders [3, 3] of norm 1."""
    scales = np.array([0.6, 1.4, 1.1])
    kappa = scales**2 / (scales**2 + sigma**2)

    def negative(flat: np.ndarray) -> float:
        weights = flat.reshape(3, 3) / np.linalg.norm(flat)
        return -gap_value(scales, sigma, kappa, weights)

    draws = np.random.default_rng(0)
    found = [minimize(negative, draws.standard_normal(9)) for _ in range(8)]
    best = min(found, key=lambda result: result.fun)
    weights = best.x.reshape(3, 3) / np.linalg.norm(best.x)
    assert -best.fun == pytest.approx(1.4**4 * (1 - kappa[1] ** 2), rel=1e-6)
    np.testing.assert_allclose(weights.T @ weights, np.diag([0.0, 1.0, 0.0]), atol=1e-3)
    assert gap_value(scales, sigma, kappa, 3 * weights) == pytest.approx(-81 * best.fun, rel=1e-9)


def test_there_the_players_do_not_feel_each_other() -> None:
    """The mixed second derivative vanishes at the posterior mean, for every encoder; not elsewhere."""
    scales, sigma = np.array([1.5, 0.7]), 0.9
    kappa = scales**2 / (scales**2 + sigma**2)
    weights = normal(3, 2, 2).numpy()

    def mixed(gains: np.ndarray) -> float:
        def slope(w: np.ndarray) -> float:
            sides = [gap_value(scales, sigma, gains + np.array([s * 1e-4, 0]), w) for s in (1, -1)]
            return (sides[0] - sides[1]) / 2e-4

        return (slope(weights * (1 + 1e-3)) - slope(weights * (1 - 1e-3))) / 2e-3

    assert abs(mixed(kappa)) < 1e-6 * abs(mixed(0.5 * kappa))
