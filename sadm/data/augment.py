"""Augmentation that does not leak into samples: the network is told what was done to each image, and sampling asks for none.

Source: Karras et al. 2022 (EDM, arXiv 2206.00364), appendix F.2, after Karras et al. 2020 (arXiv 2006.06676). Other than there,
strengths are bounds in plain units, shifts are whole pixels so that they blur nothing, and values stay in [-1, 1].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from sadm.core.errors import UserError
from sadm.core.seeds import generator
from sadm.data.warping import Warp, warp

Amounts = dict[str, torch.Tensor]  # see `Augmenter._amounts`


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How often and how much; 0 = off. An image gets any number of these at once, in this order.

    Attributes:
        probability: of each transformation but the flips, for each image.
        flip_x: 1 = every second image is mirrored left to right; in [0, 1].
        flip_y: 1 = every second image is mirrored top to bottom; in [0, 1].
        stretch: the ratio of width to height is multiplied by up to 1 + stretch, or divided; the area stays.
        scale: enlarged by up to 1 + scale, or reduced.
        rotation: up to so many degrees, to either side; 180 = any angle.
        shift: up to this share of the side, in whole pixels, at least one.
        saturation: multiplied by up to 1 + saturation, or divided; colour images alone.
        hue: turned by up to so many degrees, to either side; colour images alone.
        contrast: multiplied by up to 1 + contrast, or divided, about the middle grey.
        brightness: up to this share of the range from black to white is added or taken away.

    Raises:
        UserError: a value outside of its range.
    """

    probability: float = 0.12
    flip_x: float = 0.0
    flip_y: float = 0.0
    stretch: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    shift: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    contrast: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= LARGEST.get(name, 1.0):
                raise UserError(
                    f"augmentation: {name} is {value}; expected a number from 0 (off) to {LARGEST.get(name, 1):g}."
                )


LARGEST = {"rotation": 180.0, "hue": 180.0}
"""Bounds of the strengths; of all others, 1."""

COLUMNS = {
    "flip_x": ("flip_x",),
    "flip_y": ("flip_y",),
    "stretch": ("stretch",),
    "scale": ("scale",),
    "rotation": ("rotation_cos", "rotation_sin"),
    "shift": ("shift_x", "shift_y"),
    "saturation": ("saturation",),
    "hue": ("hue_cos", "hue_sin"),
    "contrast": ("contrast",),
    "brightness": ("brightness",),
}
"""Names of the columns of `Cond.augment` that tell of each transformation; see `Augmenter.names`."""

CHANNELS = {"saturation": (3,), "hue": (3,), "contrast": (1, 3), "brightness": (1, 3)}
"""Channels that images must have; a fourth is no colour."""

OCTAVES = {"stretch": 0.2, "scale": 0.2, "saturation": 1.0, "contrast": 0.5}
SHIFT_UNIT, BRIGHTNESS_UNIT = 0.125, 0.1
"""What a column of 1 means, in log2 of a factor, in sides and in the range from black to white."""


class Augmenter:
    """Draws what is done to the images of a batch, does it, and says so.

    Image i of a batch depends on its own row of `draws` alone, bit for bit, and the rows on (seed, step, position in the batch):
    whoever works on a part of a batch takes the part's rows. Which transformations are on changes nothing in the others.

    Args:
        settings: what to do.
        channels: of the images: 1 = grey, 3 = colour.

    Raises:
        UserError: a transformation that such images can't have.
    """

    def __init__(self, settings: Augmentation, channels: int) -> None:
        self.settings = settings
        self.kinds = tuple(kind for kind in COLUMNS if getattr(settings, kind) > 0)
        for kind in self.kinds:
            if channels not in CHANNELS.get(kind, (channels,)):
                needed = " or ".join(map(str, CHANNELS[kind]))
                raise UserError(
                    f"augmentation: {kind} can't be changed in images of {channels} channel{'s' if channels > 1 else ''}; "
                    f"expected {needed}. Set {kind} to 0, or train with --data.channels 3."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of `augment` mean, for the transformations that are on.

        All are of order one, do not depend on the strengths, and are 0 where nothing was done:

        - flip_x, flip_y: 1 = mirrored;
        - stretch, scale: log2 of the factor, over 0.2; saturation: log2 of the factor; contrast: log2 of the factor, over 0.5;
        - rotation_cos, rotation_sin, hue_cos, hue_sin: cosine less 1, and sine; counter-clockwise, red to green;
        - shift_x, shift_y: to the right and down, in eighths of the image's side;
        - brightness: what was added, in tenths of the range from black to white.
        """
        return tuple(name for kind in self.kinds for name in COLUMNS[kind])

    @staticmethod
    def draws(seed: int, step: int, batch: int) -> torch.Tensor:
        """Uniform numbers in [0, 1) for a whole batch: [batch, transformations, 3], float64."""
        return torch.rand(batch, len(COLUMNS), 3, generator=generator(seed, "augment", step), dtype=torch.float64)

    def __call__(self, x0: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Augments images.

        Args:
            x0: images [B, C, H, W], float32 in [-1, 1].
            draws: their rows of what `draws` gives [B, transformations, 3].

        Returns:
            The images [B, C, H, W] in [-1, 1], bit for bit as they were where nothing was drawn; and what was done to each
            [B, k], float32, by `names`: a row of zeros = nothing.
        """
        amounts = self._amounts(draws, (x0.shape[3], x0.shape[2]))
        told = [column for kind in self.kinds for column in _told(kind, amounts[kind], (x0.shape[3], x0.shape[2]))]
        augment = torch.stack(told, dim=1).float() if told else torch.zeros(len(x0), 0)  # [B, k]
        result = x0.clone()
        for kinds, change in STAGES:
            rows = torch.cat([amounts[kind] for kind in kinds], dim=1).any(dim=1).nonzero().flatten()
            if len(rows):
                result[rows] = change(result[rows], {kind: amounts[kind][rows] for kind in kinds}).clamp(-1, 1)
        return result, augment

    def _amounts(self, draws: torch.Tensor, sides: tuple[int, int]) -> Amounts:
        """By transformation, how much of it each image gets: [B, 1], of shift [B, 2]; float64, 0 = nothing.

        Flips are 0 or 1; angles in radians; factors as log2; shifts in pixels; brightness as a share of the range.
        """
        amounts: Amounts = {}
        for slot, kind in enumerate(COLUMNS):
            strength, probability = getattr(self.settings, kind), self.settings.probability
            if not strength:
                amounts[kind] = torch.zeros(len(draws), 2 if kind == "shift" else 1, dtype=torch.float64)
                continue
            coin, first, second = draws[:, slot, :, None].unbind(1)  # each [B, 1]
            if kind in ("flip_x", "flip_y"):
                amount, probability = torch.ones_like(coin), strength / 2
            elif kind == "shift":
                largest = torch.tensor([max(1, round(strength * side)) for side in sides])
                amount = (torch.cat([first, second], dim=1) * (2 * largest + 1)).floor() - largest  # [B, 2]
            else:
                amount = (2 * first - 1) * _bound(kind, strength)
            amounts[kind] = torch.where(coin < probability, amount, 0.0)
        return amounts


def _bound(kind: str, strength: float) -> float:
    """The largest amount of a transformation."""
    if kind in OCTAVES:
        return math.log2(1 + strength)
    return math.radians(strength) if kind in ("rotation", "hue") else strength


def _told(kind: str, amount: torch.Tensor, sides: tuple[int, int]) -> list[torch.Tensor]:
    """The columns [B] that tell of one transformation."""
    if kind in ("rotation", "hue"):
        return [_each(math.cos, amount)[:, 0] - 1, _each(math.sin, amount)[:, 0]]
    if kind == "shift":
        return [amount[:, axis] / (SHIFT_UNIT * side) for axis, side in enumerate(sides)]
    return [amount[:, 0] / (BRIGHTNESS_UNIT if kind == "brightness" else OCTAVES.get(kind, 1.0))]


def _moved(x0: torch.Tensor, amounts: Amounts) -> torch.Tensor:
    ratio, scale, angle = amounts["stretch"], amounts["scale"], amounts["rotation"]
    stretch = _power_of_two(torch.cat([scale + ratio / 2, scale - ratio / 2], dim=1))  # [B, 2]
    turn = torch.cat([_each(math.cos, angle), _each(math.sin, angle)], dim=1)  # [B, 2]
    return warp(x0, Warp(stretch, turn, amounts["shift"]))


def _recoloured(x0: torch.Tensor, amounts: Amounts) -> torch.Tensor:
    """Turns and stretches what is left of a colour without its mean over the channels: a rotation about the grey axis."""
    angle = amounts["hue"]
    grey = ((x0[:, 0] + x0[:, 1] + x0[:, 2]) / 3)[:, None]  # [B, 1, H, W]
    across = x0.roll(1, dims=1) - x0.roll(-1, dims=1)  # the cross product with (1, 1, 1)
    along_cos = (x0 - grey) * _by_image(_each(math.cos, angle))
    along_sin = across * _by_image(_each(math.sin, angle) / math.sqrt(3))
    return grey + (along_cos + along_sin) * _by_image(_power_of_two(amounts["saturation"]))


def _relit(x0: torch.Tensor, amounts: Amounts) -> torch.Tensor:
    black_to_white = 2
    added = _by_image(black_to_white * amounts["brightness"])
    return x0 * _by_image(_power_of_two(amounts["contrast"])) + added


STAGES: tuple[tuple[tuple[str, ...], Callable[[torch.Tensor, Amounts], torch.Tensor]], ...] = (
    (("flip_x",), lambda x0, amounts: x0.flip(3)),
    (("flip_y",), lambda x0, amounts: x0.flip(2)),
    (("stretch", "scale", "rotation", "shift"), _moved),
    (("saturation", "hue"), _recoloured),
    (("contrast", "brightness"), _relit),
)
"""Which transformations are done together, in the order in which they are done, to the images that get any of them."""


def _by_image(values: torch.Tensor) -> torch.Tensor:
    return values.float()[:, :, None, None]  # [B, 1, 1, 1]


def _power_of_two(octaves: torch.Tensor) -> torch.Tensor:
    return _each(lambda value: 2.0**value, octaves)


def _each(function: Callable[[float], float], values: torch.Tensor) -> torch.Tensor:
    """A function of every value by itself: torch's cosine can differ in its last bit with a value's place in the tensor."""
    return torch.tensor([function(value) for value in values.flatten().tolist()], dtype=torch.float64).view(
        values.shape
    )
