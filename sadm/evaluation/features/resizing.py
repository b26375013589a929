"""Bringing images to the size that a network was made for, in the way that its users agreed on."""

from __future__ import annotations

import torch


def resize_as_tensorflow_1(x: torch.Tensor, side: int) -> torch.Tensor:
    """Bilinear interpolation of the four nearest pixels, as TensorFlow 1 did it: output i lies at input i * size / side.

    So the first pixels fall on each other, not the centres of the images, and nothing is averaged where images shrink. Every
    published FID was measured so.

    Args:
        x: [B, C, H, W], floating point.
        side: of the square output.

    Returns:
        [B, C, side, side].
    """
    return _resize_rows(_resize_rows(x, side).mT, side).mT


def _resize_rows(x: torch.Tensor, count: int) -> torch.Tensor:
    """The rows of `x` [B, C, H, W], resized to `count` of them."""
    size = x.shape[-2]
    places = torch.arange(count, dtype=torch.float32, device=x.device) * (size / count)
    below = places.floor().long().clamp(max=size - 1)
    above = (below + 1).clamp(max=size - 1)
    share = (places - below).to(x.dtype)[:, None]  # [count, 1]
    first = x.index_select(-2, below)
    return first + (x.index_select(-2, above) - first) * share
