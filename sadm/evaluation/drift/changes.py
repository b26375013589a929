"""Changes of known kind and size, to find out which drift would be seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch.nn import functional

from sadm.data import ImageSet, to_uint8
from sadm.evaluation.drift.facts import blurred

Change = Callable[[torch.Tensor, float], torch.Tensor]
"""From images [N, C, H, W] in [-1, 1] and a size to changed images, not yet clamped."""


def brighter(images: torch.Tensor, size: float) -> torch.Tensor:
    """By a share of the range from black to white."""
    return images + 2 * size


def flatter(images: torch.Tensor, size: float) -> torch.Tensor:
    """Less contrast, by a share, about mid-grey."""
    return images * (1 - size)


def blurry(images: torch.Tensor, size: float) -> torch.Tensor:
    """Gaussian blur, standard deviation in pixels."""
    return blurred(images, size)


def moved(images: torch.Tensor, size: float) -> torch.Tensor:
    """To the right by a share of the width, at least one pixel, the border repeated."""
    pixels = min(max(1, round(size * images.shape[3])), images.shape[3] - 1)
    return functional.pad(images, (pixels, 0, 0, 0), mode="replicate")[..., : images.shape[3]] if pixels else images


def overturned(images: torch.Tensor, size: float) -> torch.Tensor:
    """A share of the images, the first ones, is turned by 180 degrees."""
    count = round(size * len(images))
    return torch.cat([images[:count].flip((2, 3)), images[count:]])


KINDS: dict[str, tuple[Change, tuple[float, ...]]] = {
    "brighter": (brighter, (0.01, 0.02, 0.05, 0.1, 0.2)),
    "flatter": (flatter, (0.05, 0.1, 0.2, 0.4)),
    "blurry": (blurry, (0.3, 0.5, 0.75, 1.0, 2.0)),
    "moved": (moved, (0.03, 0.06, 0.12, 0.25)),
    "overturned": (overturned, (0.05, 0.1, 0.2, 0.5, 1.0)),
}
"""By name, a change and sizes of it, the smallest first."""
BY_SHARE = ("overturned",)
"""Kinds whose size is the share of images that are changed, as a whole."""


def changed(images: ImageSet, kind: str, size: float) -> ImageSet:
    """Images of a set after a change, rounded to bytes; nothing but their pixels differs."""
    change, _ = KINDS[kind]
    return dataclasses.replace(images, images=to_uint8(change(images.floats(), size).clamp(-1, 1)), shaped=None)
