"""One training step's denoising, made up, for tests of signals."""

from __future__ import annotations

import dataclasses

import torch

from sadm.core.conditions import Cond
from sadm.diffusion import Denoised

SIGMA_DATA = 0.6


def made_up(
    batch: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32, classes: int = 3, **taps: torch.Tensor
) -> tuple[Denoised, torch.Tensor]:
    """A denoised batch [batch, 1, 5, 4] with EDM's loss weights, and a denoising gradient; half of the labels are dropped."""
    draws = torch.Generator().manual_seed(seed)
    x0, noise, error, g_dsm = torch.randn(4, batch, 1, 5, 4, generator=draws, dtype=dtype)
    sigma = torch.randn(batch, generator=draws, dtype=dtype).exp()
    label = torch.randint(0, classes, (batch,), generator=draws)
    dropped = Cond(label).with_label_dropped(torch.arange(batch) % 2 == 0, classes)
    weight = (sigma.square() + SIGMA_DATA**2) / (sigma * SIGMA_DATA).square()
    x_t = x0 + sigma.reshape(-1, 1, 1, 1) * noise
    return Denoised(x0, x_t, sigma, noise, dropped, x0 + 0.3 * error, weight, label, taps=taps), g_dsm


def as_dtype(denoised: Denoised, dtype: torch.dtype) -> Denoised:
    """The same step in another precision."""
    names = ("x0", "x_t", "sigma", "noise", "x0_hat", "weight")
    return dataclasses.replace(denoised, **{name: getattr(denoised, name).to(dtype) for name in names})


def numerical_gradient(function, x: torch.Tensor, step: float = 1e-6) -> torch.Tensor:
    """Central differences of a scalar function at x, float64, entry by entry."""
    gradient = torch.zeros_like(x)
    for place in range(x.numel()):
        shift = torch.zeros_like(x)
        shift.view(-1)[place] = step
        gradient.view(-1)[place] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def balanced_to_half(raw: torch.Tensor, g_dsm: torch.Tensor) -> torch.Tensor:
    """Each image's gradient at half the norm of its denoising gradient; the small eps of the balance included."""
    raw, norms = raw.flatten(1), [float(row.norm()) for row in raw]
    eps = 1e-3 * sorted(norms)[(len(norms) - 1) // 2]
    rows = [0.5 * float(g.norm()) / (norm + eps) * row for g, norm, row in zip(g_dsm, norms, raw, strict=True)]
    return torch.stack(rows).reshape(g_dsm.shape)
