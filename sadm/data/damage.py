"""Damage as old drawings and bad scans have it, made on sound images: pairs from which a network learns to restore."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from sadm.core.errors import UserError
from sadm.core.seeds import derive_seed, generator

Draw = Callable[[float, float], float]
"""A number between two, drawn evenly."""


class Damage:
    """Damages images at random, each in its own way.

    Each kind befalls an image with probability 1/2, at a strength of its own; the order is that of a paper's life: it fades,
    is stained, folded and torn, and is then scanned out of focus, at a low resolution, with noise.

    Args:
        kinds: names in `KINDS`.
        strength: 1 = up to what makes an image barely legible; in (0, 1].

    Raises:
        UserError: no kind, an unknown one, or a strength out of range.
    """

    def __init__(self, kinds: Sequence[str] = (), strength: float = 1.0) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise UserError(f"'{unknown[0]}' is no kind of damage; there are {', '.join(KINDS)}.")
        if not 0 < strength <= 1:
            raise UserError(f"the strength of damage is above 0 and at most 1, got {strength}.")
        self.kinds = tuple(kind for kind in KINDS if not kinds or kind in kinds)
        self.strength = strength

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        """Damaged images.

        Args:
            images: [N, C, H, W], floating point in [-1, 1].
            seeds: one for each; the same seed does the same to the same image.

        Returns:
            [N, C, H, W], in [-1, 1], as much damaged as it may be; an image that nothing befell is as it was.
        """
        if len(seeds) != len(images):
            raise ValueError(f"{len(images)} images but {len(seeds)} seeds; expected one for each")
        return torch.stack([self._one(image, seed) for image, seed in zip(images, seeds, strict=True)])

    def _one(self, image: torch.Tensor, seed: int) -> torch.Tensor:
        x = (image + 1) / 2  # [C, H, W] in [0, 1]: black to white
        for kind in self.kinds:
            draws = generator(seed, "damage", kind)
            befalls, much = torch.rand(2, generator=draws).tolist()
            if befalls < 0.5:
                x = KINDS[kind](x, self.strength * (0.2 + 0.8 * much), draws)
        return (2 * x - 1).clamp(-1, 1)


def damage_seeds(seed: int, step: int, batch: int, share: slice) -> list[int]:
    """Seeds of the damage of a training step, one for each place in this process's share of the batch."""
    return [derive_seed(seed, "damage", step, place) for place in range(*share.indices(batch))]


def _fade(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Everything comes nearer to the brightest value, in some places more."""
    uneven = 0.7 + 0.3 * _field(x, draws, cells=2)
    paper = x.amax()
    return paper + (x - paper) * (1 - 0.75 * much * uneven)


def _stain(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Cloudy patches that swallow light."""
    cloud = _field(x, draws, cells=3)
    return x * (1 - 0.7 * much * torch.sigmoid(12 * (cloud - 0.55)))


def _fold(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Thin straight lines from border to border, brighter or darker than what they cross."""
    height, width = x.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for _ in range(1 + int(2.99 * much * float(torch.rand((), generator=draws)))):
        angle, y, across, dark = torch.rand(4, generator=draws).tolist()
        away = (columns - across * width) * math.sin(math.pi * angle) - (rows - y * height) * math.cos(math.pi * angle)
        line = (1 - away.abs() / (0.5 + 0.02 * min(height, width))).clamp(0, 1)  # [H, W]
        x = x + line * (0.3 + 0.7 * much) * ((0.0 if dark < 0.5 else 1.0) - x)
    return x


def _tear(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """A part is missing: a ragged patch without anything, black, grey or white."""
    field = _field(x, draws, cells=5) + 0.6 * _spot(x, draws)
    share = 0.02 + 0.2 * much
    edge = torch.quantile(field.flatten(), 1 - share)
    shade = int(torch.randint(3, (), generator=draws)) / 2
    return torch.where(field > edge, torch.full_like(x, shade), x)


def _blur(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Out of focus: a Gaussian of up to a twentieth of the shorter side."""
    sigma = 0.3 + (0.05 * min(x.shape[1:]) - 0.3) * much if min(x.shape[1:]) > 6 else 0.3
    reach = max(1, min(math.ceil(3 * sigma), min(x.shape[1:]) - 1))
    steps = torch.arange(-reach, reach + 1, dtype=x.dtype)
    kernel = torch.exp(-((steps / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(len(x), 1, -1)  # [C, 1, 2 reach + 1]
    padded = functional.pad(x[None], (reach,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernel[:, :, :, None], groups=len(x))
    return functional.conv2d(rows, kernel[:, :, None, :], groups=len(x))[0]


def _coarse(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Scanned at a half to a quarter of the resolution, and enlarged again."""
    factor = 1 + 3 * much
    size = [max(2, round(side / factor)) for side in x.shape[1:]]
    small = functional.interpolate(x[None], size=size, mode="area")
    return functional.interpolate(small, size=x.shape[1:], mode="bilinear", align_corners=False)[0]


def _grain(x: torch.Tensor, much: float, draws: torch.Generator) -> torch.Tensor:
    """Noise of the sensor, and dust."""
    noisy = x + 0.2 * much * torch.randn(x.shape, generator=draws)
    dust = torch.rand(x.shape[1:], generator=draws)
    return torch.where(dust < 0.015 * much, 0.0, torch.where(dust > 1 - 0.015 * much, 1.0, noisy))


KINDS: dict[str, Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]] = {
    "fade": _fade,
    "stain": _stain,
    "fold": _fold,
    "tear": _tear,
    "blur": _blur,
    "coarse": _coarse,
    "grain": _grain,
}
"""What can happen to an image [C, H, W] in [0, 1], at a strength in (0, 1]."""


def _field(x: torch.Tensor, draws: torch.Generator, cells: int) -> torch.Tensor:
    """A smooth random field [1, H, W] in [0, 1], with about `cells` hills along a side."""
    coarse = torch.rand(1, 1, cells + 1, cells + 1, generator=draws)
    return functional.interpolate(coarse, size=x.shape[1:], mode="bicubic", align_corners=True)[0].clamp(0, 1)


def _spot(x: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    """1 at a random point [1, H, W], falling to 0 half the image away."""
    height, width = x.shape[1:]
    y, across = torch.rand(2, generator=draws).tolist()
    rows, columns = torch.arange(height)[:, None] / height - y, torch.arange(width)[None] / width - across
    return (1 - 2 * (rows**2 + columns**2).sqrt()).clamp_min(0)[None]
