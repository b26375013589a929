"""Nearest training images: a first look at whether anything was copied."""

from __future__ import annotations

import torch


def nearest_neighbours(
    images: torch.Tensor, training: torch.Tensor, chunk: int = 4096
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each image the nearest training image in pixels.

    Args:
        images: [N, C, H, W], float.
        training: [M, C, H, W], float.
        chunk: training images compared at a time; bounds the memory.

    Returns:
        Index of the nearest [N], int64, and root-mean-square difference of pixels [N].
    """
    flat = images.flatten(1)  # [N, P]
    best = torch.full((len(flat),), torch.inf)
    index = torch.zeros(len(flat), dtype=torch.int64)
    for start in range(0, len(training), chunk):
        part = training[start : start + chunk].flatten(1)  # [chunk, P]
        # Direct differences: the matrix-product form leaves a copied image at a distance other than 0.
        distance, position = torch.cdist(flat, part, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)  # [N]
        closer = distance < best
        best = torch.where(closer, distance, best)
        index = torch.where(closer, position + start, index)
    return index, best / flat.shape[1] ** 0.5
