"""Statements 4 and 6: Gaussian data and linear players, where minima, samples and fixed points have closed forms."""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.optimize import minimize_scalar

from benchmarks.theory.bound import field, game_on
from sadm.structure import RELATIONS, structure_gap

D = torch.float64


def measure() -> dict[str, Any]:
    """All numbers of the statements."""
    return {
        "euclidean": [euclidean_minimum(sigma) for sigma in (0.5, 1.0, 2.0, 8.0)],
        "spread": [{"share": share, **sampled_spread(share)} for share in (0.0, 0.25, 0.5, 1.0)],
        "spread_above": [{"from": level, **spread_above(level)} for level in (0.0, 0.5, 1.0, 4.0)],
        "cosine_radial": cosine_radial(),
        "saddle": saddle(),
        "balanced_inner_products": balanced_inner_products(),
    }


def keep(sigma: float) -> float:
    """kappa = 1 / (1 + sigma^2): the posterior mean of unit Gaussian data is ``kappa x_t``."""
    return 1 / (1 + sigma**2)


# ---- Euclidean relations of unit Gaussian data, x0_hat = a x_t -------------------------------------------------------


def population_gap(gain: float, sigma: float) -> float:
    """The Euclidean gap for one-dimensional embeddings and a very large batch, in closed form.

    ``2 pi (1 + q^2 - 2 q h) / (1 + q)^2`` with ``q = gain sqrt(1 + sigma^2)`` and
    ``h = 2/pi (sqrt(1 - kappa) + sqrt(kappa) asin sqrt(kappa))``.
    """
    kappa, q = keep(sigma), gain * math.sqrt(1 + sigma**2)
    h = 2 / math.pi * (math.sqrt(1 - kappa) + math.sqrt(kappa) * math.asin(math.sqrt(kappa)))
    return 2 * math.pi * (1 + q**2 - 2 * q * h) / (1 + q) ** 2


def euclidean_minimum(sigma: float, batch: int = 1000) -> dict[str, float]:
    """Gap at the posterior mean and at the flow map, by formula and by the package; and the gain that minimises the latter."""
    draws = torch.Generator().manual_seed(0)
    pair = torch.randn(batch, 2, generator=draws, dtype=D)
    # Exactly centred, uncorrelated and of unit variance, so that a modest batch is close to a very large one.
    pair = torch.linalg.qr(pair - pair.mean(0))[0] * math.sqrt(batch)
    x0, x_t = pair[:, :1], pair[:, :1] + sigma * pair[:, 1:]
    kappa = keep(sigma)

    def measured(gain: float) -> float:
        return float(structure_gap(*RELATIONS["euclidean"](x0, gain * x_t)))

    return {
        "sigma": sigma,
        "mean_formula": population_gap(kappa, sigma),
        "mean_measured": measured(kappa),
        "flow_formula": population_gap(math.sqrt(kappa), sigma),
        "flow_measured": measured(math.sqrt(kappa)),
        "least_at": float(minimize_scalar(measured, bounds=(0.1 * kappa, 2.0), method="bounded").x),
        "sqrt_kappa": math.sqrt(kappa),
    }


# ---- What the probability-flow ODE makes of a moved denoiser ---------------------------------------------------------


def euler_spread(share: float, steps: int, above: float = 0.0, low: float = 1e-4, high: float = 1e4) -> float:
    """Standard deviation of Euler samples for ``x0_hat = a x_t``, ``a = (1 - share) kappa + share sqrt(kappa)``; 1 is right.

    Where sigma < `above`, the denoiser is the posterior mean. Steps are equal in the logarithm; the last goes to 0.
    """
    levels = torch.logspace(math.log10(high), math.log10(low), steps, dtype=D).tolist()
    spread = math.sqrt(1 + high**2)
    for here, there in zip(levels, [*levels[1:], 0.0], strict=True):
        kappa = keep(here)
        gain = kappa + (share * (math.sqrt(kappa) - kappa) if here >= above else 0.0)
        spread *= gain + there / here * (1 - gain)
    return spread


def sampled_spread(share: float) -> dict[str, Any]:
    """Spread after one and after very many steps, and the two limits ``share`` and ``2^share``."""
    steps = {str(n): euler_spread(share, n) for n in (1, 4, 16, 64)}
    return {"steps": steps, "many": euler_spread(share, 40_000), "limit": 2.0**share}


def spread_above(level: float) -> dict[str, float]:
    """Spread after many steps when a full shift is made at noise levels from `level` on, and ``1 + sqrt(kappa(level))``."""
    return {"many": euler_spread(1.0, 40_000, above=level), "limit": 1 + math.sqrt(keep(level))}


# ---- Cosines and a linear encoder ------------------------------------------------------------------------------------


def cosine_radial(dimension: int = 6, batch: int = 64) -> dict[str, float]:
    """Unit Gaussian data at sigma = 2: two sides of why cosines leave the posterior mean at rest.

    `along`: the largest share of the gap's gradient at x0_hat that points along x0_hat, for a linear encoder without bias.
    `reflected`: the balanced structure gradient of one image plus that after the batch was reflected at its axis, over the
    former; embeddings are the points themselves.
    """
    draws = torch.Generator().manual_seed(0)
    x0 = torch.randn(batch, dimension, generator=draws, dtype=D)
    x0_hat = keep(2.0) * (x0 + 2 * torch.randn(batch, dimension, generator=draws, dtype=D))
    matrix = torch.randn(dimension, 4, generator=draws, dtype=D)
    leaf = x0_hat.clone().requires_grad_()
    gap = structure_gap(*RELATIONS["cosine"](x0 @ matrix, leaf @ matrix))
    (gradient,) = torch.autograd.grad(gap, leaf)
    along = (gradient * x0_hat).sum(1).abs() / (gradient.norm(dim=1) * x0_hat.norm(dim=1))

    game = game_on(torch.nn.Flatten(), 0.5, "frozen", "cosine")
    axis = x0_hat[0] / x0_hat[0].norm()
    reflection = 2 * torch.outer(axis, axis) - torch.eye(dimension, dtype=D)
    added = [field(game, a, b)[0] - (b - a)[0] for a, b in ((x0, x0_hat), (x0 @ reflection, x0_hat @ reflection))]
    return {"along": float(along.max()), "reflected": float((added[0] + added[1]).norm() / added[0].norm())}


# ---- Two players: linear encoder, inner products ---------------------------------------------------------------------


def saddle(sigma: float = 1.0) -> dict[str, Any]:
    """The game of inner products: value at its saddle point, and what each player gains by leaving it.

    Data N(0, diag(s^2)); ``x0_hat = diag(a) x_t``; encoder ``e = W x`` with |W| = 1. ``inner_gap`` is the population's.
    """
    scales = torch.tensor([2.0, 1.0, 0.5], dtype=D)
    kappa = scales**2 / (scales**2 + sigma**2)
    top = torch.zeros(3, 3, dtype=D)
    top[0, 0] = 1.0
    value = float(inner_gap(scales, sigma, kappa, top))
    formula = float(scales[0] ** 4 * (1 - kappa[0] ** 2))
    draws = torch.Generator().manual_seed(0)
    encoders, denoisers = [], []
    for _ in range(2000):
        w = torch.randn(3, 3, generator=draws, dtype=D)
        w = w / w.norm()
        encoders.append(float(inner_gap(scales, sigma, kappa, w.T @ w)) / value)
        gains = kappa * (1 + 0.5 * torch.randn(3, generator=draws, dtype=D))
        denoisers.append(float(inner_gap(scales, sigma, gains, w.T @ w) - inner_gap(scales, sigma, kappa, w.T @ w)))
    return {
        "value": value,
        "formula": formula,
        "best_other_encoder": max(encoders),
        "least_gain_of_other_denoisers": min(denoisers),
        "without_bound": [float(inner_gap(scales, sigma, kappa, size**2 * top)) for size in (1.0, 2.0, 4.0)],
        **climb(scales, sigma, kappa),
    }


def inner_gap(scales: torch.Tensor, sigma: float, gains: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
    """``E (x_i' M x_j - x_hat_i' M x_hat_j)^2`` over independent pairs, M = W'W, in closed form.

    ``sum_kl M_kl^2 (s_k^2 s_l^2 (1 - 2 a_k a_l) + a_k^2 a_l^2 v_k v_l)`` with v = s^2 + sigma^2.
    """
    signal, total = scales**2, scales**2 + sigma**2
    product = torch.outer(gains, gains)
    terms = torch.outer(signal, signal) * (1 - 2 * product) + product**2 * torch.outer(total, total)
    return (metric**2 * terms).sum()


def climb(scales: torch.Tensor, sigma: float, kappa: torch.Tensor, steps: int = 4000) -> dict[str, float]:
    """Both players at once from random starts: descent on denoising error plus gap, ascent of the normalised encoder."""
    draws = torch.Generator().manual_seed(1)
    gains = torch.rand(3, generator=draws, dtype=D, requires_grad=True)
    w = torch.randn(2, 3, generator=draws, dtype=D)
    w = (w / w.norm()).requires_grad_()
    for _ in range(steps):
        error = (scales**2 * (1 - gains) ** 2 + gains**2 * sigma**2).sum()
        gap = inner_gap(scales, sigma, gains, w.T @ w)
        (down,) = torch.autograd.grad(error + gap, gains, retain_graph=True)
        (up,) = torch.autograd.grad(gap, w)
        with torch.no_grad():
            gains -= 0.005 * down
            w += 0.005 * up
            w /= w.norm()
    return {
        "gains_error": float((gains.detach() - kappa).abs().max()),
        "outside_top_direction": float(w.detach()[:, 1:].norm()),
    }


def balanced_inner_products(ratio: float = 0.5) -> dict[str, float]:
    """Inner products at the posterior mean of a skewed posterior: the mean structure gradient, by its weights.

    x0 of one image is (u, v), u = -1 or 2 with odds of 2 to 1 and v = -1 or 1 with equal odds; the other image is known to be
    (1, 0). With a fixed weight the mean gradient vanishes; balanced, it is ``ratio |2 sqrt(2) - sqrt(5)| / 3``. Both in total
    posterior standard deviations, here sqrt(3).
    """
    game = game_on(torch.nn.Flatten(), ratio, "frozen", inner_products)
    x0_hat = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=D)
    fixed, balanced = torch.zeros(2, dtype=D), torch.zeros(2, dtype=D)
    for u, odds in ((-1.0, 1 / 3), (2.0, 1 / 6)):
        for v in (-1.0, 1.0):
            x0 = torch.tensor([[u, v], [1.0, 0.0]], dtype=D)
            balanced += odds * field(game, x0, x0_hat)[0]
            leaf = x0_hat.clone().requires_grad_()
            fixed += odds * torch.autograd.grad(structure_gap(*inner_products(x0, leaf)), leaf)[0][0]
    return {
        "fixed_weight": float(fixed.norm()) / math.sqrt(3),
        "balanced": float(balanced.norm()) / math.sqrt(3),
        "formula": ratio * (2 * math.sqrt(2) - math.sqrt(5)) / 3 / math.sqrt(3),
    }


def inner_products(e: torch.Tensor, e_hat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products within each set [B, d]: a relation of one's own."""
    return e @ e.mT, e_hat @ e_hat.mT
