"""Bringing pixels to the resolution and the number of channels that were asked for."""

from __future__ import annotations

import dataclasses

import torch
from PIL import Image
from torch.nn import functional

from sadm.core.errors import UserError

_CHUNK = 4096  # images resized at a time, so that the float copy stays small


@dataclasses.dataclass(frozen=True)
class Fit:
    """How images are brought to one shape.

    Attributes:
        resolution: side in pixels; each image is cropped to its central square and resized with an antialiasing filter
            (also upwards). None keeps images as they are.
        channels: 1 (grey) or 3 (RGB); None lets the source decide.

    Raises:
        UserError: a value outside these.
    """

    resolution: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        if self.resolution is not None and self.resolution < 1:
            raise UserError(
                f"--data.resolution is {self.resolution}; expected a positive number of pixels, such as 64, "
                "or nothing to keep the images' own size."
            )
        if self.channels not in (None, 1, 3):
            raise UserError(
                f"--data.channels is {self.channels}; expected 1 (grey) or 3 (RGB), or nothing to decide from the "
                "images."
            )

    def grey_array(self, images: torch.Tensor) -> torch.Tensor:
        """Fits grey images that are already in memory.

        Args:
            images: [N, 1, H, W], uint8.

        Returns:
            [N, C, H', W'], uint8.
        """
        if self.resolution is not None:
            images = _square(images)
            if images.shape[-1] != self.resolution:
                images = torch.cat([_resize(part, self.resolution) for part in images.split(_CHUNK)])
        return images.repeat(1, self.channels or 1, 1, 1)

    def picture(self, image: Image.Image) -> Image.Image:
        """Fits one Pillow image of mode L or RGB; channels are only ever reduced here, from RGB to L."""
        if self.channels == 1 and image.mode != "L":
            image = image.convert("L")
        if self.resolution is None:
            return image
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        square = image.crop((left, top, left + side, top + side))
        target = (self.resolution, self.resolution)
        return square.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _square(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def _resize(images: torch.Tensor, side: int) -> torch.Tensor:
    resized = functional.interpolate(images.float(), size=(side, side), mode="bicubic", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)  # bicubic overshoots at edges
