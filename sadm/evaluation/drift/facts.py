"""What an engineer sees in a photograph without a network: brightness, contrast, sharpness, colour."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from sadm.data import ImageSet

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601
_AT_ONCE = 256
_LEAST = 1.0  # grey level below which there is no contrast to be sharp in
NAMES = ("brightness", "contrast", "sharpness", "saturation", "warmth", "tint")


def image_facts(images: ImageSet) -> dict[str, np.ndarray]:
    """One number for each image [N], by name; in grey levels of 255 unless said otherwise.

    brightness: mean grey level. contrast: standard deviation of the grey levels. sharpness: mean absolute difference of
    neighbouring pixels by the contrast, without unit, so that a weaker contrast alone is no blur. In colour images, too,
    saturation: mean of the largest less the smallest channel; warmth: red less blue; tint: green less the mean of both.
    """
    found: dict[str, list[torch.Tensor]] = {}
    for start in range(0, len(images), _AT_ONCE):
        pixels = images.images[start : start + _AT_ONCE].float()  # [n, C, H, W]
        for name, values in _of(pixels).items():
            found.setdefault(name, []).append(values)
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def _of(pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    colour = pixels.shape[1] >= 3
    rgb = pixels[:, :3]
    grey = (rgb * torch.tensor(_GREY).view(3, 1, 1)).sum(1, keepdim=True) if colour else pixels[:, :1]
    contrast = grey.flatten(1).std(1, correction=0)
    found = {
        "brightness": grey.flatten(1).mean(1),
        "contrast": contrast,
        "sharpness": _differences(grey) / contrast.clamp_min(_LEAST),
    }
    if colour:
        red, green, blue = rgb.flatten(2).mean(2).unbind(1)
        found["saturation"] = (rgb.amax(1) - rgb.amin(1)).flatten(1).mean(1)
        found["warmth"], found["tint"] = red - blue, green - (red + blue) / 2
    return found


def _differences(grey: torch.Tensor) -> torch.Tensor:
    across, down = grey.diff(dim=3).abs(), grey.diff(dim=2).abs()
    means = [part.flatten(1).mean(1) for part in (across, down) if part.numel()]
    return torch.stack(means).mean(0) if means else torch.zeros(len(grey))


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images [N, C, H, W] behind a Gaussian blur of a standard deviation in pixels, the border repeated."""
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).expand(images.shape[1], 1, -1)
    wide = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(wide, weights[:, :, None, :], groups=images.shape[1])
    return functional.conv2d(rows, weights[:, :, :, None], groups=images.shape[1])
