"""Features at the places of a grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from sadm.structure.errors import StructureError


def on_grid(features: torch.Tensor, grid: tuple[int, int], image: tuple[int, int]) -> torch.Tensor:
    """Features averaged to the places of a grid (repeated, where they are coarser).

    Args:
        features: a map [B, d, H', W'], tokens [B, P, d] that run row by row over patches of the image, or vectors [B, d].
        grid: rows and columns of the T places.
        image: height and width of the image.

    Returns:
        [B, T, d], contiguous; vectors stay [B, d].

    Raises:
        StructureError: another shape.
    """
    if features.ndim not in (2, 3, 4):
        raise StructureError(f"expected features [B, d, H, W], [B, P, d] or [B, d], got {tuple(features.shape)}")
    if features.ndim == 3:
        features = features.mT.unflatten(2, patch_grid(features.shape[1], image))  # [B, d, rows, columns]
    if features.ndim == 2:
        return features
    if features.shape[2:] != grid:
        features = F.adaptive_avg_pool2d(features, grid)
    return features.flatten(2).mT.contiguous()  # [B, T, d]


def patch_grid(patches: int, image: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of `patches` square patches of an image of that height and width."""
    wanted = math.log(image[0] / image[1])
    divisors = [rows for rows in range(1, patches + 1) if patches % rows == 0]
    rows = min(divisors, key=lambda rows: abs(math.log(rows * rows / patches) - wanted))
    return rows, patches // rows
