"""Statement 7 of docs/theory.md: a gap in a hidden layer leaves the best denoiser alone; the same gap at x0_hat does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sadm.structure import gram_gap

COUNT, SIDE, WIDTH, SEEN, SIGMA = 512, 4, 6, 3, 1.0
WEIGHTS = (0.1, 1.0, 5.0)
STEPS = 400
D = torch.float64


def measure() -> list[dict[str, Any]]:
    """By weight of the gap: how far the denoiser at rest is from the best linear one, and the gap, in both places.

    Data N(0, diag(s^2)) in R^4, a linear encoder of 3 features, x0_hat = V W x_t with a hidden layer W x_t of 6.
    """
    draws = torch.Generator().manual_seed(0)
    spread = torch.tensor([2.0, 1.0, 0.7, 0.4], dtype=D)
    x0 = spread * torch.randn(COUNT, SIDE, generator=draws, dtype=D)
    x_t = x0 + SIGMA * torch.randn(COUNT, SIDE, generator=draws, dtype=D)
    features = x0 @ torch.randn(SIDE, SEEN, generator=draws, dtype=D)
    encoder = torch.linalg.lstsq(x0, features).solution  # what sees x0 sees x0_hat
    start = torch.randn(SIDE, WIDTH, generator=draws, dtype=D) / SIDE**0.5
    best = torch.linalg.lstsq(x_t, x0).solution  # [4, 4]: on these points, what least squares gives
    rows = []
    for weight in WEIGHTS:
        hidden, head = start.clone(), torch.linalg.lstsq(x_t @ start, x0).solution

        def in_hidden_layer(w: torch.Tensor, v: torch.Tensor, weight: float = weight) -> torch.Tensor:
            return (x0 - x_t @ w @ v).square().sum(1).mean() + weight * gram_gap(features, x_t @ w)

        def at_the_output(a: torch.Tensor, weight: float = weight) -> torch.Tensor:
            return (x0 - x_t @ a).square().sum(1).mean() + weight * gram_gap(features, x_t @ a @ encoder)

        before = float(gram_gap(features, x_t @ hidden))
        hidden, head = at_rest(in_hidden_layer, hidden, head)
        (output,) = at_rest(at_the_output, best.clone())
        rows.append(
            {
                "weight": weight,
                "gap_before": before,
                "gap_after": float(gram_gap(features, x_t @ hidden)),
                "shift_hidden": float((hidden @ head - best).norm() / best.norm()),
                "shift_output": float((output - best).norm() / best.norm()),
            }
        )
    return rows


def at_rest(loss: Callable[..., torch.Tensor], *start: torch.Tensor) -> list[torch.Tensor]:
    """Where a quasi-Newton method comes to rest."""
    parameters = [tensor.clone(memory_format=torch.contiguous_format).requires_grad_() for tensor in start]
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=STEPS, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(*parameters)
        value.backward()
        return value

    for _ in range(20):
        optimiser.step(closure)
    return [parameter.detach() for parameter in parameters]
