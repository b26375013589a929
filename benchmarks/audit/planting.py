"""Copies of training images, changed in ways that a comparison of pixels would miss."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from sadm.core.seeds import generator
from sadm.data import to_floats, to_uint8

SHIFT = 1 / 14  # of the side, at most, and one pixel at least
QUALITY = 75  # of JPEG
_GAIN, _OFFSET, _TINT = (0.7, 1.1), 0.15, 0.1

Change = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def exact(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """As they are."""
    return images.clone()


def flipped(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Left to right, or upside down."""
    upright = torch.rand(len(images), 1, 1, 1, generator=draws) < 0.5
    return torch.where(upright, images.flip(-1), images.flip(-2))


def shifted(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """By up to `SHIFT`, down or up and right or left, the border repeated."""
    most = max(1, round(SHIFT * images.shape[-1]))
    padded = functional.pad(images, (most,) * 4, mode="replicate")
    height, width = images.shape[2:]
    moves = torch.randint(0, 2 * most + 1, (len(images), 2), generator=draws).tolist()
    return torch.stack(
        [
            image[:, down : down + height, right : right + width]
            for image, (down, right) in zip(padded, moves, strict=True)
        ]
    )


def recoloured(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """Another contrast and brightness, and a tint where there is colour; what leaves the range is cut off."""
    count, channels = images.shape[:2]
    low, high = _GAIN
    gain = low + (high - low) * torch.rand(count, 1, 1, 1, generator=draws)
    offset = _OFFSET * (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1)
    if channels > 1:
        gain = gain * (1 + _TINT * (2 * torch.rand(count, channels, 1, 1, generator=draws) - 1))
    return (gain * images + offset).clamp(-1, 1)


def recompressed(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """As JPEG."""
    return torch.stack([_jpeg(image) for image in to_uint8(images)])


def mixed(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """All of these, one after the other."""
    for change in (flipped, shifted, recoloured, recompressed):
        images = change(images, draws)
    return images


KINDS: dict[str, Change] = {
    "exact": exact,
    "flipped": flipped,
    "shifted": shifted,
    "re-coloured": recoloured,
    "re-compressed": recompressed,
    "all of these": mixed,
}


def copies(images: torch.Tensor, kind: str, seed: int) -> torch.Tensor:
    """Changed copies of `images` [N, C, H, W] in [-1, 1], rounded to bytes."""
    changed = KINDS[kind](images, generator(seed, "planted copies", kind))
    return to_floats(to_uint8(changed))


def _jpeg(image: torch.Tensor) -> torch.Tensor:
    pixels = image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "JPEG", quality=QUALITY)
    with Image.open(buffer) as decoded:
        found = np.atleast_3d(np.asarray(decoded))
    return to_floats(torch.from_numpy(found.copy()).permute(2, 0, 1))
