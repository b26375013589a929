"""Fixed sine-cosine positions of patches, as the published diffusion transformers have them."""

from __future__ import annotations

from functools import lru_cache

import torch

_HALF_PRECISION = 5e-3  # bfloat16 keeps numbers of at most 1 to 2e-3


def positions_like(positions: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Sine-cosine positions of another grid [1, T, D], with the width, device and dtype of `positions`."""
    return _kept_positions(positions.shape[-1], grid, positions.device, positions.dtype)


@lru_cache(maxsize=64)  # a few shapes come again and again
def _kept_positions(width: int, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return sincos_positions(width, grid).unsqueeze(0).to(device, dtype)


def are_sincos(positions: torch.Tensor, grid: tuple[int, int]) -> bool:
    """Whether positions [1, T, D] are `sincos_positions` of a grid, as far as a checkpoint in half precision keeps them."""
    known = sincos_positions(positions.shape[-1], grid)
    table = positions[0].detach().float().cpu()
    return table.shape == known.shape and torch.allclose(table, known, rtol=0, atol=_HALF_PRECISION)


def sincos_positions(width: int, grid: tuple[int, int], over: tuple[int, int] | None = None) -> torch.Tensor:
    """Fixed 2-D sine-cosine positions; the first half of the channels encodes the column, the second the row.

    Args:
        width: channels, divisible by 4.
        grid: rows and columns of patches.
        over: the grid whose units the positions are in, spread over the same image; None = `grid` itself.

    Returns:
        [rows * columns, width], float32.
    """
    over = grid if over is None else over
    places = [
        (torch.arange(new, dtype=torch.float64) + 0.5) * (old / new) - 0.5 for new, old in zip(grid, over, strict=True)
    ]
    rows, columns = torch.meshgrid(*places, indexing="ij")
    quarter = width // 4
    omega = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    parts = []
    for coordinate in (columns, rows):
        angles = coordinate.flatten()[:, None] * omega  # [T, width / 4]
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()
