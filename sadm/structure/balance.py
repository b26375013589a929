"""Stability by construction: the structure gradient of each image is held to a share of its denoising gradient."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from sadm.structure.errors import StructureError

RELATIVE_EPS = 1e-3
IMAGE, BATCH = "image", "batch"
BALANCES = (IMAGE, BATCH)
"""What is held to the ratio: each image's gradient, or that of all images together."""

Ratio = float | Callable[[torch.Tensor], torch.Tensor]
"""One for all images, or noise levels [B] to one for each image [B]; always in [0, 1)."""


def ratios_at(ratio: Ratio, sigma: torch.Tensor) -> float | torch.Tensor:
    """The ratio, or those of images at noise levels sigma [B] where it is a callable: [B].

    Raises:
        StructureError: a ratio outside [0, 1), or a callable that does not give one for each image.
    """
    if not callable(ratio):
        _refuse_ratio(0 <= ratio < 1, ratio)
        return ratio
    ratios = torch.as_tensor(ratio(sigma), device=sigma.device).detach()
    if ratios.shape != sigma.shape:
        raise StructureError(
            f"expected a ratio for each of {len(sigma)} images from the callable, got a tensor of shape {tuple(ratios.shape)}"
        )
    _refuse_ratio(bool(((ratios >= 0) & (ratios < 1)).all()), ratios)
    return ratios


def balance_coefficients(
    g_dsm: torch.Tensor, g_gap: torch.Tensor, ratio: float | torch.Tensor, k_max: float = math.inf
) -> torch.Tensor:
    """``k_i = min(k_max, ratio_i |g_dsm_i| / (|g_gap_i| + eps))``, eps relative to the median of ``|g_gap|``.

    ``k_max = 1`` is a pure clip; ``inf`` normalises every image to exactly its ratio. For a flexible denoiser at
    stationarity x0_hat is moved by at most ``ratio / sqrt(1 - ratio^2)`` times the total posterior standard deviation, the root
    of the covariance's trace; with shared weights and Adam that is a guide. The scaled field is the gradient of no scalar.

    Args:
        g_dsm: gradient of the denoising loss at x0_hat [B, ...].
        g_gap: gradient of the structure gap at x0_hat [B, ...].
        ratio: in [0, 1), for all images or for each [B].
        k_max: upper bound, > 0.

    Returns:
        [B], at least float32; an image without a structure gradient gets a finite value.

    Raises:
        StructureError: a ratio outside [0, 1), where the bound on the shift does not exist; neither one ratio nor one for
            each image; k_max <= 0.
    """
    dtype = torch.promote_types(g_gap.dtype, torch.float32)
    size_dsm = g_dsm.to(dtype).flatten(1).norm(dim=1)  # [B]
    size_gap = g_gap.to(dtype).flatten(1).norm(dim=1)  # [B]
    return coefficients_of_norms(size_dsm, size_gap, ratio, k_max)


def coefficients_of_norms(
    size_dsm: torch.Tensor,
    size_gap: torch.Tensor,
    ratio: float | torch.Tensor,
    k_max: float = math.inf,
    balance: str = IMAGE,
) -> torch.Tensor:
    """`balance_coefficients` from the norms of the gradients [B], at least float32, which several processes can share.

    With `balance` ``batch`` the norms of all images together take the place of each image's: one factor for all (times the
    ratios), which holds the whole gradient to the ratio and leaves open how far a single image is pulled.
    """
    if balance == BATCH:
        size_dsm, size_gap = (size.norm().expand_as(size) for size in (size_dsm, size_gap))
    dtype = size_gap.dtype
    ratios = torch.as_tensor(ratio, dtype=dtype, device=size_gap.device)
    _refuse_ratio(bool(((ratios >= 0) & (ratios < 1)).all()), ratio)
    if ratios.shape not in ((), size_gap.shape):
        raise StructureError(
            f"expected one ratio, or one for each of {len(size_gap)} images, got a tensor of shape {tuple(ratios.shape)}"
        )
    if not k_max > 0:
        raise StructureError(f"k_max must be positive, got {k_max}")
    eps = RELATIVE_EPS * size_gap.median() + torch.finfo(dtype).tiny
    # tiny / tiny is bounded, but |g_dsm| / tiny overflows where no image has a structure gradient: such k multiply zeros.
    k = (ratios * size_dsm / (size_gap + eps)).clamp(max=min(k_max, torch.finfo(dtype).max))
    return torch.where(size_gap > 0, k, torch.zeros_like(k))


def norms(gradient: torch.Tensor) -> torch.Tensor:
    """The norm of each image's gradient [B], at least float32."""
    return gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32)).norm(dim=1)


def within(pull: torch.Tensor, reaching: torch.Tensor, ratio: float) -> torch.Tensor:
    """A gradient, image by image scaled down to where its norm is `ratio` times that of another.

    Args:
        pull: [B, ...].
        reaching: [B, ...].
        ratio: > 0.

    Returns:
        [B, ...] in the type of `pull`; 0 for images of which nothing reaches the place.
    """
    size = norms(pull)  # [B]
    factor = (ratio * norms(reaching) / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp(max=1.0)
    return factor.to(pull.dtype).reshape(-1, *[1] * (pull.ndim - 1)) * pull


def check_balance(balance: str) -> None:
    """Refuses what is not in `BALANCES`.

    Raises:
        StructureError: an unknown name.
    """
    if balance not in BALANCES:
        raise StructureError(f"unknown balance {balance!r}; expected one of {', '.join(BALANCES)}")


def _refuse_ratio(fits: bool, ratio: float | torch.Tensor) -> None:
    if not fits:
        given = ratio.tolist() if isinstance(ratio, torch.Tensor) else ratio
        raise StructureError(
            f"ratio must lie in [0, 1), got {given}: at 1 the game could outweigh denoising without bound"
        )
