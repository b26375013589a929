"""Statement 7 of docs/theory.md, on another example than the page's: a network that is not linear, its head solved exactly."""

from __future__ import annotations

import torch
from theory_oracles import D, normal

from sadm.structure import gram_gap


def test_wherever_the_head_is_at_rest_the_denoiser_is_the_best_one() -> None:
    """At any stage of lowering the gap, the least-squares head over the layer is the least-squares denoiser."""
    x0 = normal(1, 400, 3) * torch.tensor([1.0, 2.0, 0.5], dtype=D)
    x_t, features = x0 + normal(2, 400, 3), (x0 @ normal(3, 3, 4)).tanh()
    best = x_t @ torch.linalg.lstsq(x_t, x0).solution
    layer = normal(4, 3, 5).requires_grad_()
    optimiser, gaps = torch.optim.Adam([layer], lr=0.03), []
    for _ in range(120):
        gap = gram_gap(features, x_t @ layer)
        optimiser.zero_grad()
        gap.backward()
        optimiser.step()
        gaps.append(float(gap.detach()))
        hidden = x_t @ layer.detach()
        torch.testing.assert_close(hidden @ torch.linalg.lstsq(hidden, x0).solution, best, rtol=1e-7, atol=1e-9)
    assert gaps[-1] < 0.7 * gaps[0]


def test_a_gap_at_the_output_does_move_it() -> None:
    """The denoising loss is at rest at the best denoiser, the gap there is not."""
    x0 = normal(1, 400, 3) * torch.tensor([1.0, 2.0, 0.5], dtype=D)
    x_t, encoder = x0 + normal(2, 400, 3), normal(3, 3, 3)
    matrix = torch.linalg.lstsq(x_t, x0).solution.requires_grad_()
    x0_hat = x_t @ matrix
    (of_loss,) = torch.autograd.grad((x0 - x0_hat).square().sum(1).mean(), matrix, retain_graph=True)
    (of_gap,) = torch.autograd.grad(gram_gap(x0 @ encoder, x0_hat @ encoder), matrix)
    assert float(of_loss.norm()) < 1e-10
    assert float(of_gap.norm()) > 1e-3
