"""Moves, turns and resizes images in one resampling, each image by itself: its pixels do not depend on the others in the batch.

That is why there are no matrix products here, nor torch's cosine or fused multiply-add: the last bit of those can depend on where
in a batch an image stands.
"""

from __future__ import annotations

import dataclasses
import math

import torch

_PIXELS_AT_A_TIME = 2**16  # bounds the memory, and keeps what is gathered from in the processor's cache


@dataclasses.dataclass(frozen=True)
class Warp:
    """What is done to each image, in this order, about its centre.

    Attributes:
        stretch: factors on width and height [B, 2], float64; above 1 = larger.
        turn: cosine and sine of the angle [B, 2], float64; counter-clockwise.
        shift: pixels to the right and down [B, 2], float64.
    """

    stretch: torch.Tensor
    turn: torch.Tensor
    shift: torch.Tensor

    def __getitem__(self, index: torch.Tensor | slice) -> Warp:
        """The same for a part of the batch."""
        return Warp(self.stretch[index], self.turn[index], self.shift[index])


def warp(images: torch.Tensor, by: Warp) -> torch.Tensor:
    """Images [B, C, H, W] float32 -> the same shape, resampled once.

    Cubic convolution (Keys 1981, a = -1/2), which gives a pixel back where it lands on one: whole shifts are exact, and quarter
    turns up to rounding. Where an image shrinks, it is smoothed first by the same kernel at the new spacing, against
    aliasing. Outside of an image is its mirror image, about the centre of its outermost pixels. Values can exceed those of the
    image a little.
    """
    count, _, height, width = images.shape
    at_a_time = max(1, _PIXELS_AT_A_TIME // (height * width))
    parts = []
    for start in range(0, count, at_a_time):
        part = slice(start, start + at_a_time)
        parts.append(_resampled(_smoothed(images[part], by.stretch[part]), *_sources(by[part], height, width)))
    return torch.cat(parts) if parts else images


def _sources(by: Warp, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where in the image each new pixel comes from: columns and rows [B, H W], float64."""
    (cos, sin), (right, down) = by.turn.T[:, :, None, None], by.shift.T[:, :, None, None]  # each [B, 1, 1]
    across = torch.arange(width, dtype=torch.float64) - (width - 1) / 2 - right  # [B, 1, W]
    along = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2)[:, None] - down  # [B, H, 1]
    # Rows run downwards, so that this turns the grid clockwise and what is seen on it counter-clockwise.
    columns = (cos * across - sin * along) / by.stretch[:, :1, None] + (width - 1) / 2  # [B, H, W]
    rows = (sin * across + cos * along) / by.stretch[:, 1:, None] + (height - 1) / 2
    return columns.flatten(1), rows.flatten(1)


def _resampled(images: torch.Tensor, columns: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The images' values [B, C, H, W] at columns and rows [B, H W], each from the 4 x 4 pixels around."""
    count, channels, height, width = images.shape
    pixels = images.flatten(2)  # [B, C, H W]
    across, weights_across = _taps(columns, width)
    along, weights_along = _taps(rows, height)
    total = torch.zeros_like(pixels)
    for row, weight_along in zip(along, weights_along, strict=True):
        start, line = row * width, torch.zeros_like(pixels)
        for column, weight_across in zip(across, weights_across, strict=True):
            index = (start + column)[:, None].expand(count, channels, -1)
            line += pixels.gather(2, index) * weight_across
        total += line * weight_along
    return total.view_as(images)


def _taps(position: torch.Tensor, size: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The four pixels around each position [B, P] on an axis of `size` pixels [B, P], and their weights [B, 1, P]."""
    floor = position.floor()
    first, t = floor.long() - 1, (position - floor).float()[:, None]  # t in [0, 1)
    lowest = int(first.min())
    mirrored = _mirrored(torch.arange(lowest, int(first.max()) + 4), size)
    taps = [mirrored[first + (offset - lowest)] for offset in range(4)]
    # `_cubic` at 1 + t, t, 1 - t and 2 - t.
    square = t * t
    cube = square * t
    weights = [
        square - 0.5 * (cube + t),
        1.5 * cube - 2.5 * square + 1,
        2 * square - 1.5 * cube + 0.5 * t,
        0.5 * (cube - square),
    ]
    return taps, weights


def _smoothed(images: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
    """The images, without what would alias when their width and height are multiplied by `stretch` [B, 2]; others as they are."""
    for axis, factor in ((3, stretch[:, 0]), (2, stretch[:, 1])):
        spacing = factor.clamp(max=1)  # [B]
        smallest = float(spacing.min())
        if smallest == 1:
            continue
        reach = math.ceil(2 / smallest) - 1  # the widest kernel is zero from there on
        half = _cubic(spacing[:, None] * torch.arange(reach + 1))  # [B, reach + 1]
        total = half[:, :1]
        for distance in range(1, reach + 1):
            total = total + 2 * half[:, distance : distance + 1]
        weights = (half / total).float()[:, :, None, None, None].unbind(1)  # each [B, 1, 1, 1]
        size = images.shape[axis]
        padded = images.index_select(axis, _mirrored(torch.arange(-reach, size + reach), size))
        smooth = torch.zeros_like(images)
        for offset in range(-reach, reach + 1):
            smooth += padded.narrow(axis, reach + offset, size) * weights[abs(offset)]
        images = smooth
    return images


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys's kernel with a = -1/2 at distances >= 0 in pixels: 1 at 0; 0 at all other whole numbers, and from 2 on."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _mirrored(index: torch.Tensor, size: int) -> torch.Tensor:
    """Whole positions brought into [0, size) by mirroring at the outermost pixels, as often as needed."""
    if size == 1:
        return torch.zeros_like(index)
    period = 2 * (size - 1)
    inside = index.remainder(period)
    return torch.minimum(inside, period - inside)
