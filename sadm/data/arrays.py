"""Images that are in memory already: the same fitting as for pictures, many at once."""

from __future__ import annotations

import torch
from torch.nn import functional

from sadm.data.resampling import ArrayResize

_LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in 1/65536, as Pillow computes it


def to_channels(images: torch.Tensor, channels: int | None) -> torch.Tensor:
    """Grey, RGB or RGBA images [N, 1 | 3 | 4, H, W], uint8, with as many channels as asked for; None = as they are.

    Transparency is composited on white where it can't be kept, and is none where there was none.
    """
    if channels in (None, images.shape[1]):
        return images
    if images.shape[1] == 4:
        alpha = images[:, 3:].int()
        images = ((images[:, :3].int() * alpha + 255 * (255 - alpha) + 127) // 255).to(torch.uint8)
    if channels == 1 and images.shape[1] == 3:
        weights = torch.tensor(_LUMA, dtype=torch.int64).view(1, 3, 1, 1)
        return (((images * weights).sum(dim=1, keepdim=True) + 0x8000) >> 16).to(torch.uint8)
    if channels == 1:
        return images
    colours = images.expand(-1, 3, -1, -1)
    if channels == 3:
        return colours.contiguous()
    return torch.cat([colours, torch.full_like(colours[:, :1], 255)], dim=1)


def square(images: torch.Tensor, side: int, resize: ArrayResize) -> torch.Tensor:
    """The central squares of [N, C, H, W], resized to `side`."""
    height, width = images.shape[-2:]
    shorter = min(height, width)
    top, left = (height - shorter) // 2, (width - shorter) // 2
    cut = images[..., top : top + shorter, left : left + shorter]
    return cut if shorter == side else resize(cut, (side, side))


def padded(images: torch.Tensor, side: int, value: int | None, resize: ArrayResize) -> torch.Tensor:
    """Whole images [N, C, H, W], resized so that the longer side is `side`, and padded to a square.

    Args:
        images: uint8.
        side: in pixels.
        value: of the padding; None = the outermost pixels go on.
        resize: how to resize.
    """
    height, width = images.shape[-2:]
    size = contained(width, height, side)
    if size != (width, height):
        images = resize(images, size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    margins = (left, side - size[0] - left, top, side - size[1] - top)
    if value is None:
        return functional.pad(images.float(), margins, mode="replicate").to(torch.uint8)
    opaque = functional.pad(images, margins, value=value)
    if images.shape[1] == 4:
        opaque[:, 3:] = functional.pad(images[:, 3:], margins, value=255)
    return opaque


def contained(width: int, height: int, side: int) -> tuple[int, int]:
    """The size (width, height) whose longer side is `side`, with the aspect ratio of `width` to `height`."""
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))
