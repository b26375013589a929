"""Resizing without aliasing and without haloes, by the same filter for pictures (Pillow) and for arrays (torch).

The filter is Hamming's: a windowed sinc cut at its first zero, so no weight is negative and no value leaves the range of the
pixels that it is made of. Filters with negative lobes (bicubic, Lanczos) draw lighter and darker lines beside every line of a
drawing; docs/formats.md has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from PIL import Image
from torch.nn import functional

FILTER = Image.Resampling.HAMMING

ArrayResize = Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]

_CHUNK = 4096  # images resized at a time, so that the float copy stays small


def resize_picture(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes a picture of mode L, RGB or RGBA (there, colours are weighted by their opacity) to (width, height)."""
    return image.resize(size, FILTER)


def resize_array(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What `resize_picture` does, for many images at once; equal up to rounding.

    Args:
        images: [N, C, H, W], uint8; C = 4 is taken as RGBA.
        size: (width, height).

    Returns:
        [N, C, height, width], uint8.
    """
    width, height = size
    rows, columns = filter_weights(images.shape[2], height), filter_weights(images.shape[3], width)

    def resized(part: torch.Tensor) -> torch.Tensor:
        values = part.float()
        if values.shape[1] == 4:
            values = torch.cat([values[:, :3] * (values[:, 3:] / 255), values[:, 3:]], dim=1)  # premultiplied
        values = rows @ values @ columns.T  # [n, C, height, width]
        if values.shape[1] == 4:
            alpha = values[:, 3:] / 255
            values = torch.cat([values[:, :3] / alpha.clamp(min=1e-6), values[:, 3:]], dim=1)
        return values.round().clamp(0, 255).to(torch.uint8)

    return _in_chunks(resized, images)


def resize_bicubic(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Antialiased bicubic, which overshoots at edges: as digits and Fashion-MNIST were resized for the stored results.

    Args and result as of `resize_array`.
    """

    def resized(part: torch.Tensor) -> torch.Tensor:
        values = functional.interpolate(part.float(), size=size[::-1], mode="bicubic", antialias=True)
        return values.round().clamp(0, 255).to(torch.uint8)

    return _in_chunks(resized, images)


def filter_weights(length: int, target: int) -> torch.Tensor:
    """The matrix [target, length] that resizes one axis; each row sums to 1 and no entry is negative.

    Output pixel i is centred at ``(i + 1/2) * length / target``; the filter is stretched by that factor where it shrinks, so
    that it averages all pixels that it covers.
    """
    scale = length / target
    stretch = max(scale, 1.0)
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale  # [target]
    places = torch.arange(length, dtype=torch.float64) + 0.5  # [length]
    offsets = (places - centres[:, None]) / stretch  # [target, length]
    weights = torch.sinc(offsets) * (0.54 + 0.46 * torch.cos(math.pi * offsets))
    weights = torch.where(offsets.abs() < 1, weights.clamp(min=0), 0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _in_chunks(resize: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return torch.cat([resize(part) for part in images.split(_CHUNK)])
