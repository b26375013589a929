"""Bringing two fingerprints into register, so that a cropped copy can be compared with its original."""

from __future__ import annotations

import torch
from torch.nn import functional

_STEPS = 8
_OVERLAP = 0.8  # of the area; with less in common, two images are no copies
_DAMPING = 1e-3
_LARGEST_STEP = 0.1  # in halves of the image, or of the scale
_SCALES, _SHIFTS = (0.8, 1.25), (-0.25, 0.25)
_CHUNK = 1024  # pairs at a time


def difference_in_register(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """How much two images differ at best when one is scaled and shifted, in each direction alone, onto the other.

    Gauss-Newton steps on scale, shift, brightness and contrast (Lucas and Kanade 1981; Baker and Matthews 2004, forward
    additive).

    Args:
        first, second: fingerprints [M, S, S], float32.

    Returns:
        One minus the correlation over what both show [M]; 1 where that is less than four fifths of the first.
    """
    chunks = zip(first.split(_CHUNK), second.split(_CHUNK), strict=True)
    found = [_register(a, b) for a, b in chunks]
    return torch.cat(found) if found else torch.zeros(0)


def _register(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    count, side = first.shape[:2]
    places = torch.linspace(-1, 1, side) * (1 - 1 / side)  # centres of pixels
    y, x = torch.meshgrid(places, places, indexing="ij")
    channels = torch.stack([second, *_slopes(second)], dim=1)  # [M, 3, S, S]
    scale, shift = torch.ones(count, 2), torch.zeros(count, 2)
    best = torch.ones(count)
    for step in range(_STEPS + 1):
        at_x = scale[:, 0, None, None] * x + shift[:, 0, None, None]  # [M, S, S]
        at_y = scale[:, 1, None, None] * y + shift[:, 1, None, None]
        inside = ((at_x.abs() <= 1) & (at_y.abs() <= 1)).float()
        warped, slope_x, slope_y = functional.grid_sample(
            channels, torch.stack([at_x, at_y], dim=-1), mode="bicubic", padding_mode="border", align_corners=False
        ).unbind(1)
        a, b = _centred(first, inside), _centred(warped, inside)
        product, power = (a * b).sum((1, 2)), (b * b).sum((1, 2)).clamp_min(1e-12)
        difference = 1 - product / ((a * a).sum((1, 2)) * power).sqrt().clamp_min(1e-12)
        enough = inside.mean((1, 2)) >= _OVERLAP
        best = torch.where(enough, torch.minimum(best, difference), best)
        if step == _STEPS:
            break
        gain = (product / power)[:, None, None]
        columns = [
            gain * slope_x * x,
            gain * slope_y * y,
            gain * slope_x,
            gain * slope_y,
            warped,
            torch.ones_like(warped),
        ]
        jacobian = (torch.stack(columns, dim=-1) * inside[..., None]).flatten(1, 2)  # [M, S * S, 6]
        move = _solved(jacobian, (a - gain * b).flatten(1)).clamp(-_LARGEST_STEP, _LARGEST_STEP)
        scale = (scale + move[:, :2]).clamp(*_SCALES)
        shift = (shift + move[:, 2:4]).clamp(*_SHIFTS)
    return best


def _slopes(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives along x and y, per half of the image's side."""
    padded = functional.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    half = images.shape[-1] / 2
    along_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2 * half
    along_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2 * half
    return along_x, along_y


def _centred(images: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Less their mean over what is inside, and 0 outside."""
    mean = (images * inside).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1)
    return (images - mean[:, None, None]) * inside


def _solved(jacobian: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Damped least squares [M, 6]."""
    normal = jacobian.transpose(1, 2) @ jacobian
    diagonal = torch.diagonal(normal, dim1=1, dim2=2)
    normal = normal + torch.diag_embed(_DAMPING * diagonal + 1e-9)
    return torch.linalg.solve(normal, (jacobian.transpose(1, 2) @ rest[..., None]))[..., 0]
