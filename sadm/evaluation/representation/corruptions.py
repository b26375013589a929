"""Corrupted images, to see whether features hold: one strength each, after Hendrycks & Dietterich 2019 (arXiv 1903.12261)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from sadm.core.seeds import generator

NOISE = 0.3  # standard deviation, of a range from -1 to 1
BLUR = 1 / 16  # standard deviation of the Gaussian, as a share of the side
CONTRAST = 0.4  # what is left of it
SHIFT = 1 / 8  # of the side, diagonally
_REACH = 3  # standard deviations of the Gaussian


def noisy(x: torch.Tensor) -> torch.Tensor:
    """With Gaussian noise, the same at every call."""
    return (x + NOISE * torch.randn(x.shape, generator=generator("corruption", "noise"))).clamp(-1, 1)


def blurred(x: torch.Tensor) -> torch.Tensor:
    """Smoothed by a Gaussian; edge pixels go on beyond the edge."""
    for axis in (2, 3):
        width = BLUR * x.shape[axis]
        reach = max(1, math.ceil(_REACH * width))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width) ** 2)
        kernel = (taps / taps.sum()).reshape((-1, 1) if axis == 2 else (1, -1)).expand(x.shape[1], 1, -1, -1)
        padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        x = F.conv2d(F.pad(x, padding, mode="replicate"), kernel, groups=x.shape[1])
    return x


def flattened(x: torch.Tensor) -> torch.Tensor:
    """With less contrast about each image's mean grey."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + CONTRAST * (x - mean)


def shifted(x: torch.Tensor) -> torch.Tensor:
    """Moved to the right and down by an eighth of the side, at least one pixel; edge pixels go on beyond the edge."""
    down, right = (max(1, round(SHIFT * side)) for side in x.shape[2:])
    return F.pad(x, (right, 0, down, 0), mode="replicate")[:, :, : x.shape[2], : x.shape[3]]


CORRUPTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "clean": lambda x: x,
    "noise": noisy,
    "blur": blurred,
    "contrast": flattened,
    "shift": shifted,
}
"""From images [N, C, H, W] in [-1, 1] to the same shape and range, by name."""
